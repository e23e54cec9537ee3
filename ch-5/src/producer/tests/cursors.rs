//! The cursor: when it is written, and how it is found again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn cursor_follows_while_the_stream_goes_on() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    let paced = stream::iter((1..).map(event)).then(async |event| {
        sleep(Duration::from_millis(1)).await;
        event
    });
    let shutdown = CancellationToken::new();
    let watching = async {
        let begun = Instant::now();
        for number in 1..=2 {
            let before = cursor::read(&config).await.unwrap();
            while cursor::read(&config).await.unwrap() == before {
                assert!(begun.elapsed() < DEADLINE, "cursor {number} is missing");
            }
        }
        shutdown.cancel();
    };
    let producing = produce_from(Resume::default(), paced, &config, &shutdown);
    tokio::join!(producing, watching).0.unwrap();
}

/// The topic takes the first message, which has to be the cursor, and no event.
#[tokio::test(flavor = "multi_thread")]
async fn first_cursor_is_written_before_the_first_event_and_brings_it_again() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    let resume = cursor::read(&config).await.unwrap();
    assert_eq!(resume, Resume::default());
    let mut answers = [DENIED; 100];
    answers[0] = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.request_errors(RDKafkaApiKey::Produce, &answers);
    let without_id = (Event::default(), Resume::default());
    let events = (1..=20).map(|number| {
        let seen = format!(r#"{{"last_event_id":"[{{\"timestamp\":{number}}}]","seen":["a"]}}"#);
        (event(number).0, seen.parse().unwrap())
    });
    let events = stream::iter(std::iter::once(without_id).chain(events));
    let counters = Counters::default();
    let writer = Writer::new(&config, &counters).unwrap();
    let (mut records, mut reached) = (gathered(events).await, resume);
    let written = write_all(&mut records, &mut reached, &writer).await;
    writer.close().await;
    let error = written.unwrap_err();
    assert!(format!("{error:#}").contains("authorization"), "{error:#}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(cursor::read(&config).await.unwrap(), place(1));
}

/// One of three partitions has no leader: its events stay open, while later ones of the others are acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_never_after_an_event_that_is_open() {
    let cluster = cluster(2);
    let partitions = [(TOPIC, 0), (TOPIC, 1), (TOPIC, 2), (CURSOR_TOPIC, 0)];
    for ((topic, partition), leader) in partitions.into_iter().zip([1, 2, 1, 1]) {
        let led = cluster.partition_leader(topic, partition, Some(leader));
        led.unwrap();
    }
    let config = config(&cluster, &[]);
    write_cursor(&config, 10..11).await;
    cluster.broker_down(2).unwrap();
    let shutdown = CancellationToken::new();
    let more = stream::iter((11..=1_000).map(event)).chain(stream::pending());
    let stop = async {
        let reader = reader(&cluster);
        let high = |partition| {
            let watermarks = reader.fetch_watermarks(TOPIC, partition, DEADLINE);
            watermarks.unwrap().1
        };
        until("later events are acknowledged", || high(0) + high(2) > 0).await;
        shutdown.cancel();
    };
    let producing = produce_from(place(10), more, &config, &shutdown);
    let producing = async { tokio::join!(producing, stop).0 };
    let produced = timeout(DEADLINE, producing).await;
    produced.expect("in time").unwrap();
    assert_eq!(cursor::read(&config).await.unwrap(), place(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_found_before_those_of_other_topics() {
    let cluster = cluster(1);
    let mine = config(&cluster, &[]);
    let mut other = config(&cluster, &[]);
    other.broker.wikipedia_topic = "other".to_owned();
    other.cursor_topic = Some(mine.cursor_topic());
    write_cursor(&mine, 0..4).await;
    write_cursor(&other, 0..120).await;
    assert_eq!(cursor::read(&mine).await.unwrap(), place(3));
    assert_eq!(cursor::read(&other).await.unwrap(), place(119));
}

/// As a broker makes it that creates topics by itself.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_found_also_where_its_topic_has_many_partitions() {
    let cluster = cluster(1);
    let mut config = config(&cluster, &[]);
    config.cursor_topic = Some("many".to_owned());
    cluster.create_topic("many", 16, 1).unwrap();
    for topic in [TOPIC, "other"] {
        config.broker.wikipedia_topic = topic.to_owned();
        write_cursor(&config, 3..4).await;
        assert_eq!(cursor::read(&config).await.unwrap(), place(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_cursor_topic_is_made_and_empty() {
    let cluster = cluster(1);
    let mut config = config(&cluster, &[]);
    config.cursor_topic = Some("missing".to_owned());
    let resume = cursor::read(&config).await.unwrap();
    assert_eq!(resume, Resume::default());
    produce_from(resume, events(3), &config, &CancellationToken::new()).await.unwrap();
    assert_eq!(cursor::read(&config).await.unwrap(), place(3));
}

/// The topic is there, but the broker has not heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_cursor_topic_is_not_taken_for_an_empty_one() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    write_cursor(&config, 3..4).await;
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(CURSOR_TOPIC, unknown).unwrap();
    let read = cursor::read_within(&config, Duration::from_secs(3)).await;
    let error = format!("{:#}", read.unwrap_err());
    assert!(error.contains(CURSOR_TOPIC) && error.contains("Unknown partition"), "{error}");
    let mut reading = pin!(cursor::read(&config));
    let read = timeout(Duration::from_secs(1), &mut reading).await;
    assert!(read.is_err(), "{read:?} while the topic is unknown");
    let known = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error(CURSOR_TOPIC, known).unwrap();
    assert_eq!(reading.await.unwrap(), place(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_that_cannot_be_read_is_an_error_in_time() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    cluster.broker_down(1).unwrap();
    let reading = cursor::read_within(&config, Duration::from_secs(1));
    let read = timeout(Duration::from_secs(4), reading).await;
    assert!(read.expect("in time").is_err());
}
