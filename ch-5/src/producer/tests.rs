//! The producer against a broker in this process, which has no admin API and can be told to fail.

use std::sync::atomic::Ordering;

use futures_util::stream;
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::message::Headers;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;
use tokio::time::sleep;

use super::*;

type Cluster = MockCluster<'static, DefaultProducerContext>;

const DEADLINE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("wikipedia.changes", 3, 1).unwrap();
    cluster
        .create_topic("wikipedia.changes.cursor", 1, 1)
        .unwrap();
    cluster
}

fn config(cluster: &Cluster, properties: &[(&str, &str)]) -> config::Producer {
    let mut broker = config::Broker::for_test(&[cluster.bootstrap_servers()]);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    broker.redpanda_properties.0 = properties.iter().map(owned).collect();
    config::Producer {
        http_addr: "127.0.0.1:0".parse().unwrap(),
        stream: config::Stream {
            wikipedia_stream_url: "http://127.0.0.1:9/".parse().unwrap(),
            user_agent: reqwest::header::HeaderValue::from_static("test/1.0 (test@example.org)"),
        },
        broker,
        cursor_topic: None,
    }
}

fn place(number: usize) -> Resume {
    format!(r#"[{{"timestamp":{number}}}]"#).parse().unwrap()
}

fn event(number: usize) -> (Event, Resume) {
    let event = Event {
        id: Some(number.to_string()),
        user: (!number.is_multiple_of(5)).then(|| format!("user {}", number % 7)),
        ..Event::default()
    };
    (event, place(number))
}

fn events(count: usize) -> impl Stream<Item = (Event, Resume)> {
    stream::iter((1..=count).map(event))
}

/// Where a cursor is there already.
async fn produce(
    events: impl Stream<Item = (Event, Resume)>,
    config: &config::Producer,
    shutdown: &CancellationToken,
) -> Result<()> {
    super::produce(events, &place(0), config, &Counters::default(), shutdown).await
}

struct Written {
    partition: i32,
    key: Option<String>,
    event: Event,
    headers: Vec<(String, String)>,
}

/// All messages of the topic, up to the ends that its partitions have now.
fn written(cluster: &Cluster) -> Vec<Written> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers());
    settings.set("group.id", "reader");
    // The answer to a commit would end the wait for a message.
    settings.set("enable.auto.commit", "false");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    let mut count = 0;
    for partition in 0..3 {
        let topic = "wikipedia.changes";
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, DEADLINE)
            .unwrap();
        assert_eq!(low, 0, "more than the 5 MiB that are kept of a partition");
        count += high;
        let begin = Offset::Beginning;
        partitions
            .add_partition_offset(topic, partition, begin)
            .unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut messages = Vec::new();
    while messages.len() < count as usize {
        let message = consumer
            .poll(DEADLINE)
            .expect("no message in time")
            .unwrap();
        let headers = message.headers().unwrap().iter();
        messages.push(Written {
            partition: message.partition(),
            key: text(message.key()),
            event: Event::decode(message.payload().unwrap()).unwrap(),
            headers: headers
                .map(|header| (header.key.to_owned(), text(header.value).unwrap()))
                .collect(),
        });
    }
    messages
}

/// As many of each of the events 1 to `count` as stand in the topic.
fn copies(cluster: &Cluster, count: usize) -> Vec<usize> {
    let mut copies = vec![0; count];
    for message in written(cluster) {
        copies[message.event.id.unwrap().parse::<usize>().unwrap() - 1] += 1;
    }
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_written_in_order_by_user_and_the_cursor_after_them() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    assert_eq!(cursor::read(&config).await.unwrap(), Resume::default());
    produce(events(2_000), &config, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(copies(&cluster, 2_000), [1; 2_000]);
    let mut of_user: std::collections::HashMap<String, (i32, usize)> = Default::default();
    for message in written(&cluster) {
        assert_eq!(message.key, message.event.user);
        let id = message.event.id.unwrap();
        let expected = [("id", id.as_str()), ("content-type", "application/json")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(message.headers, expected);
        if let Some(user) = message.key {
            let number = id.parse().unwrap();
            let before = of_user.insert(user, (message.partition, number));
            assert!(before.is_none_or(
                |(partition, before)| partition == message.partition && before < number
            ));
        }
    }
    assert_eq!(cursor::read(&config).await.unwrap(), place(2_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_found_behind_those_of_other_topics() {
    let cluster = cluster();
    let mine = config(&cluster, &[]);
    produce(events(3), &mine, &CancellationToken::new())
        .await
        .unwrap();
    let mut other = config(&cluster, &[]);
    other.broker.wikipedia_topic = "other".to_owned();
    other.cursor_topic = Some(mine.cursor_topic());
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: FutureProducer = settings.create().unwrap();
    for number in 0..120 {
        let value = place(number).to_string();
        let record = FutureRecord::to("wikipedia.changes.cursor")
            .key("other")
            .payload(&value);
        producer.send(record, DEADLINE).await.unwrap();
    }
    assert_eq!(cursor::read(&mine).await.unwrap(), place(3));
    assert_eq!(cursor::read(&other).await.unwrap(), place(119));
}

/// As a broker makes it that creates topics by itself.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_found_also_where_its_topic_has_many_partitions() {
    let cluster = cluster();
    let mut config = config(&cluster, &[]);
    config.cursor_topic = Some("many".to_owned());
    cluster.create_topic("many", 16, 1).unwrap();
    for topic in ["wikipedia.changes", "other"] {
        config.broker.wikipedia_topic = topic.to_owned();
        produce(events(3), &config, &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(cursor::read(&config).await.unwrap(), place(3));
    }
}

/// The topic takes the first message, which has to be the cursor, and no event.
#[tokio::test(flavor = "multi_thread")]
async fn first_cursor_is_written_before_the_first_event_and_brings_it_again() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    let resume = cursor::read(&config).await.unwrap();
    assert_eq!(resume, Resume::default());
    let taken = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    let mut answers = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 100];
    answers[0] = taken;
    cluster.request_errors(RDKafkaApiKey::Produce, &answers);
    let without_id = (Event::default(), Resume::default());
    let events = (1..=20).map(|number| {
        let seen = format!(r#"{{"last_event_id":"[{{\"timestamp\":{number}}}]","seen":["a"]}}"#);
        (event(number).0, seen.parse().unwrap())
    });
    let events = stream::iter(std::iter::once(without_id).chain(events)).chain(stream::pending());
    let shutdown = CancellationToken::new();
    let produced = timeout(
        DEADLINE,
        super::produce(events, &resume, &config, &Counters::default(), &shutdown),
    )
    .await;
    let error = produced.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("authorization"), "{error:#}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(cursor::read(&config).await.unwrap(), place(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_the_wait_for_the_first_cursor() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    cluster.broker_down(1).unwrap();
    let shutdown = CancellationToken::new();
    let read = std::sync::atomic::AtomicUsize::new(0);
    let endless =
        stream::iter((1..).map(event)).inspect(|_| _ = read.fetch_add(1, Ordering::SeqCst));
    let stop = async {
        sleep(Duration::from_millis(200)).await;
        shutdown.cancel();
    };
    let none = Resume::default();
    let counters = Counters::default();
    let producing = super::produce(endless, &none, &config, &counters, &shutdown);
    let both = async { tokio::join!(producing, stop).0 };
    let produced = timeout(Duration::from_secs(9), both).await;
    produced.expect("in time").unwrap();
    assert_eq!(read.into_inner(), SLICE, "sent without a cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_cursor_topic_is_made_and_empty() {
    let cluster = cluster();
    let mut config = config(&cluster, &[]);
    config.cursor_topic = Some("missing".to_owned());
    let resume = cursor::read(&config).await.unwrap();
    assert_eq!(resume, Resume::default());
    super::produce(
        events(3),
        &resume,
        &config,
        &Counters::default(),
        &CancellationToken::new(),
    )
    .await
    .unwrap();
    assert_eq!(cursor::read(&config).await.unwrap(), place(3));
}

/// The topic is there, but the broker has not heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_cursor_topic_is_not_taken_for_an_empty_one() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    produce(events(3), &config, &CancellationToken::new())
        .await
        .unwrap();
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    let known = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    let topic = config.cursor_topic();
    cluster.topic_error(&topic, unknown).unwrap();
    let read = cursor::read_within(&config, Duration::from_secs(3)).await;
    let error = format!("{:#}", read.unwrap_err());
    assert!(
        error.contains(&topic) && error.contains("Unknown partition"),
        "{error}"
    );
    let later = async {
        sleep(Duration::from_secs(1)).await;
        cluster.topic_error(&topic, known).unwrap();
    };
    let (read, ()) = tokio::join!(cursor::read(&config), later);
    assert_eq!(read.unwrap(), place(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_that_cannot_be_read_is_an_error_in_time() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    cluster.broker_down(1).unwrap();
    let reading = cursor::read_within(&config, Duration::from_secs(1));
    let read = timeout(Duration::from_secs(4), reading).await;
    assert!(read.expect("in time").is_err());
}

/// Three batches, one of each partition, are refused and sent again one by one; of these the first is refused for good.
#[tokio::test(flavor = "multi_thread")]
async fn refused_message_is_passed_over_and_no_other_is_lost() {
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
    ] {
        let cluster = cluster();
        // So long that a busy machine too has a batch whole before it is sent.
        let config = config(&cluster, &[("linger.ms", "1000")]);
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 4]);
        produce(events(1_000), &config, &CancellationToken::new())
            .await
            .unwrap();
        let copies = copies(&cluster, 1_000);
        assert!(copies.iter().all(|copies| *copies <= 1));
        let refused = copies.iter().filter(|copies| **copies == 0).count();
        assert_eq!(refused, 1);
        assert_eq!(cursor::read(&config).await.unwrap(), place(1_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_too_long_for_librdkafka_is_passed_over() {
    let cluster = cluster();
    let config = config(&cluster, &[("message.max.bytes", "1000")]);
    let mut long = event(2);
    long.0.title = Some("x".repeat(5_000));
    let three = stream::iter([event(1), long, event(3)]);
    produce(three, &config, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(copies(&cluster, 3), [1, 0, 1]);
    assert_eq!(cursor::read(&config).await.unwrap(), place(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_that_lasts_ends_the_producer_and_the_cursor_stays_behind() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    produce(events(10), &config, &CancellationToken::new())
        .await
        .unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 100]);
    let more = events(20).chain(stream::pending());
    let shutdown = CancellationToken::new();
    let produced = timeout(DEADLINE, produce(more, &config, &shutdown)).await;
    let error = produced.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("authorization"), "{error:#}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(cursor::read(&config).await.unwrap(), place(10));
}

/// The stream has ended before the first answer, so that it comes while the producer finishes.
#[tokio::test(flavor = "multi_thread")]
async fn failure_after_the_last_event_is_an_error_too() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 100]);
    let produced = produce(events(20), &config, &CancellationToken::new()).await;
    let error = produced.unwrap_err();
    assert!(format!("{error:#}").contains("authorization"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_is_away_slows_the_reading_and_nothing_is_lost() {
    let cluster = cluster();
    let config = config(&cluster, &[]);
    let count = IN_FLIGHT_LIMIT + IN_FLIGHT_LIMIT / 2;
    let read = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let reading = Arc::clone(&read);
    let events = events(count).inspect(move |_| _ = reading.fetch_add(1, Ordering::SeqCst));
    cluster.broker_down(1).unwrap();
    let shutdown = CancellationToken::new();
    let producing = produce(events, &config, &shutdown);
    let watching = async {
        let begun = Instant::now();
        while read.load(Ordering::SeqCst) < IN_FLIGHT_LIMIT {
            assert!(begun.elapsed() < DEADLINE, "reading stopped too early");
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(500)).await;
        let read = read.load(Ordering::SeqCst);
        assert!(read <= IN_FLIGHT_LIMIT + SLICE, "{read} read");
        cluster.broker_up(1).unwrap();
    };
    tokio::join!(producing, watching).0.unwrap();
    assert_eq!(copies(&cluster, count), vec![1; count]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_while_the_broker_is_away_is_in_time_and_moves_no_cursor() {
    // The second time librdkafka's own queue is full first.
    for properties in [&[][..], &[("queue.buffering.max.messages", "1000")]] {
        let cluster = cluster();
        let config = config(&cluster, properties);
        produce(events(10), &config, &CancellationToken::new())
            .await
            .unwrap();
        cluster.broker_down(1).unwrap();
        let shutdown = CancellationToken::new();
        let stop = async {
            sleep(Duration::from_millis(200)).await;
            shutdown.cancel();
        };
        let endless = stream::iter((11..).map(event));
        let producing = produce(endless, &config, &shutdown);
        let both = async { tokio::join!(producing, stop).0 };
        timeout(Duration::from_secs(9), both)
            .await
            .expect("in time")
            .unwrap();
        cluster.broker_up(1).unwrap();
        assert_eq!(cursor::read(&config).await.unwrap(), place(10));
    }
}
