//! The cursor: when it is written, and how it is found again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn cursor_follows_while_the_stream_goes_on_and_when_it_falls_silent() {
    let (_cluster, config) = setup(1, "");
    let paced = events(1..=2_000).then(async |event| {
        sleep(Duration::from_millis(1)).await;
        event
    });
    let shutdown = CancellationToken::new();
    let watching = async {
        let (begun, mut cursors) = (Instant::now(), Vec::new());
        while cursors.last() != Some(&place(2_000)) {
            assert!(begun.elapsed() < DEADLINE, "{cursors:?}");
            cursors.push(read_cursor(&config).await);
        }
        shutdown.cancel();
        cursors
    };
    let silent = paced.chain(stream::pending());
    let producing = produce(Resume::default(), silent, &config, &shutdown);
    let (produced, cursors) = tokio::join!(producing, watching);
    produced.unwrap();
    let ends = [Resume::default(), place(1), place(2_000)];
    assert!(cursors.iter().any(|cursor| !ends.contains(cursor)), "{cursors:?}");
}

/// The broker accepts only the first message. It must be the cursor, and not an event.
#[tokio::test(flavor = "multi_thread")]
async fn first_cursor_is_written_before_the_first_event_and_brings_it_again() {
    let (cluster, config) = setup(1, "");
    let mut answers = [DENIED; 100];
    answers[0] = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.request_errors(RDKafkaApiKey::Produce, &answers);
    let events = events(1..=20).map(|(event, place)| {
        let id = place.last_event_id.unwrap();
        let seen = serde_json::json!({"last_event_id": id, "seen": ["a"]});
        (event, seen.to_string().parse().unwrap())
    });
    assert_denied(produce(Resume::default(), events, &config, &CancellationToken::new()).await);
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(read_cursor(&config).await, place(1));
}

/// One of three partitions has no leader: its events stay open, while later ones of the others are acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_never_after_an_event_that_is_open() {
    let (cluster, config) = setup(2, "");
    cluster.create_topic(CURSOR_TOPIC, 1, 1).unwrap();
    for (topic, partition, leader) in
        [(TOPIC, 0, 1), (TOPIC, 1, 2), (TOPIC, 2, 1), (CURSOR_TOPIC, 0, 1)]
    {
        cluster.partition_leader(topic, partition, Some(leader)).unwrap();
    }
    write_cursors(&config, [place(10)]).await;
    cluster.broker_down(2).unwrap();
    let (shutdown, reader) = (CancellationToken::new(), reader(&config));
    let stop = async {
        let acknowledged = || end(&reader, 0) + end(&reader, 2) > 0;
        until("later events are acknowledged", acknowledged).await;
        shutdown.cancel();
    };
    let more = events(11..=1_000).chain(stream::pending());
    let producing = produce(place(10), more, &config, &shutdown);
    let producing = async { tokio::join!(producing, stop).0 };
    timeout(DEADLINE, producing).await.expect("in time").unwrap();
    assert_eq!(read_cursor(&config).await, place(10));
}

/// The topic has several partitions, as if a broker has made it that creates topics automatically.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_found_before_those_of_other_topics_and_in_a_topic_of_many_partitions() {
    let (cluster, mut config) = setup(1, "");
    cluster.create_topic(CURSOR_TOPIC, 16, 1).unwrap();
    config.cursor_topic = Some(CURSOR_TOPIC.to_owned());
    for (topic, count) in [(TOPIC, 4), ("other", 120)] {
        config.broker.wikipedia_topic = topic.to_owned();
        write_cursors(&config, (0..count).map(place)).await;
    }
    assert_eq!(read_cursor(&config).await, place(119));
    config.broker.wikipedia_topic = TOPIC.to_owned();
    assert_eq!(read_cursor(&config).await, place(3));
}

/// The topic is there, but the broker has not heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_cursor_topic_is_not_taken_for_an_empty_one() {
    let (cluster, config) = setup(1, "");
    write_cursors(&config, [place(3)]).await;
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(CURSOR_TOPIC, unknown).unwrap();
    let mut reading = pin!(read_cursor(&config));
    let read = timeout(Duration::from_secs(1), &mut reading).await;
    assert!(read.is_err(), "{read:?} while the topic is unknown");
    let known = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error(CURSOR_TOPIC, known).unwrap();
    assert_eq!(reading.await, place(3));
}
