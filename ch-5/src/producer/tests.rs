//! The producer against a broker in this process, which has no admin API and can be told to fail.

mod away;
mod cursors;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::stream;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::message::Headers;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;

use super::*;

type Cluster = MockCluster<'static, DefaultProducerContext>;

const DEADLINE: Duration = Duration::from_secs(60);
const TOPIC: &str = "wikipedia.changes";
const CURSOR_TOPIC: &str = "wikipedia.changes.cursor";
const DENIED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

fn cluster(brokers: i32) -> Cluster {
    let cluster = MockCluster::new(brokers).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    cluster.create_topic(CURSOR_TOPIC, 1, 1).unwrap();
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

/// From the event `first` on; `read` counts them.
fn endless(first: usize, read: &Arc<AtomicUsize>) -> impl Stream<Item = (Event, Resume)> + use<> {
    let read = Arc::clone(read);
    stream::iter((first..).map(event)).inspect(move |_| _ = read.fetch_add(1, Ordering::SeqCst))
}

/// Where a cursor is there already.
async fn produce(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    config: &config::Producer,
    shutdown: &CancellationToken,
) -> Result<()> {
    produce_from(place(0), events, config, shutdown).await
}

async fn produce_from(
    resume: Resume,
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    config: &config::Producer,
    shutdown: &CancellationToken,
) -> Result<()> {
    let counters = Counters::default();
    let writer = Writer::new(config, &counters).unwrap();
    let produced = super::produce(events, resume, &writer, shutdown).await;
    writer.close().await;
    produced
}

async fn write_cursor(config: &config::Producer, numbers: std::ops::Range<usize>) {
    let counters = Counters::default();
    let writer = Writer::new(config, &counters).unwrap();
    for number in numbers {
        let written = cursor::write(&writer.client, config, &place(number)).await;
        written.unwrap();
    }
    writer.close().await;
}

/// All events gathered before the first is sent, so that they are one slice.
async fn gathered(events: impl Stream<Item = (Event, Resume)>) -> mpsc::Receiver<Record> {
    let (sender, records) = mpsc::channel(SLICE);
    read(events, sender).await.unwrap();
    records
}

/// Polls until it `holds`.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Polls until nothing more was read for fifty times. At least `least` events have been read then, and at no time more
/// than `most`.
async fn reading_stops(read: &AtomicUsize, least: usize, most: usize) {
    let (mut before, mut same) = (0, 0);
    until("reading stops", || {
        let now = read.load(Ordering::SeqCst);
        assert!(now <= most, "{now} events read");
        same = if now == before { same + 1 } else { 0 };
        before = now;
        now >= least && same >= 50
    })
    .await;
}

fn reader(cluster: &Cluster) -> BaseConsumer {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers());
    settings.set("group.id", "reader");
    // The answer to a commit would end the wait for a message.
    settings.set("enable.auto.commit", "false");
    settings.create().unwrap()
}

struct Written {
    partition: i32,
    key: Option<String>,
    event: Event,
    headers: Vec<(String, String)>,
}

/// All messages of the topic, up to the ends that its partitions have now.
fn written(cluster: &Cluster) -> Vec<Written> {
    let consumer = reader(cluster);
    let mut partitions = TopicPartitionList::new();
    let mut count = 0;
    for partition in 0..3 {
        let watermarks = consumer.fetch_watermarks(TOPIC, partition, DEADLINE);
        let (low, high) = watermarks.unwrap();
        assert_eq!(low, 0, "more than the 5 MiB that are kept of a partition");
        count += high;
        let begin = Offset::Beginning;
        partitions.add_partition_offset(TOPIC, partition, begin).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut messages = Vec::new();
    while messages.len() < count as usize {
        let message = consumer.poll(DEADLINE).expect("no message in time").unwrap();
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
    // The second time librdkafka's own queue is full again and again.
    for properties in [&[][..], &[("queue.buffering.max.messages", "100")]] {
        let cluster = cluster(1);
        let config = config(&cluster, properties);
        produce(events(2_000), &config, &CancellationToken::new()).await.unwrap();
        assert_eq!(copies(&cluster, 2_000), [1; 2_000]);
        let mut of_user: HashMap<String, (i32, usize)> = HashMap::new();
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
}

/// Three batches, one of each partition, are refused and sent again one by one; of these the first is refused for
/// good. All events are gathered before the first is sent, and so are one slice.
#[tokio::test(flavor = "multi_thread")]
async fn refused_message_is_passed_over_and_no_other_is_lost() {
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD,
    ] {
        let cluster = cluster(1);
        // So long that a busy machine too has a batch whole before it is sent.
        let config = config(&cluster, &[("linger.ms", "1000")]);
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 4]);
        let counters = Counters::default();
        let writer = Writer::new(&config, &counters).unwrap();
        let (mut records, mut reached) = (gathered(events(1_000)).await, place(0));
        let written = write_all(&mut records, &mut reached, &writer).await;
        written.unwrap();
        writer.close().await;
        let copies = copies(&cluster, 1_000);
        assert!(copies.iter().all(|copies| *copies <= 1));
        let refused = copies.iter().filter(|copies| **copies == 0).count();
        assert_eq!((refused, counters.refused.total()), (1, 1));
        assert_eq!(counters.acknowledged.total(), 999);
        assert_eq!(reached, place(1_000));
    }
}

/// The third one is longer than all that may be read ahead.
#[tokio::test(flavor = "multi_thread")]
async fn message_too_long_for_librdkafka_is_passed_over() {
    let cluster = cluster(1);
    let config = config(&cluster, &[("message.max.bytes", "1000")]);
    let long = |number, length| {
        let (mut event, place) = event(number);
        event.title = Some("x".repeat(length));
        (event, place)
    };
    let four = stream::iter([event(1), long(2, 5_000), long(3, BYTES + 1), event(4)]);
    let shutdown = CancellationToken::new();
    let produced = timeout(DEADLINE, produce(four, &config, &shutdown)).await;
    produced.expect("in time").unwrap();
    assert_eq!(copies(&cluster, 4), [1, 0, 0, 1]);
    assert_eq!(cursor::read(&config).await.unwrap(), place(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_that_lasts_ends_the_producer_and_the_cursor_stays() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    write_cursor(&config, 10..11).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[DENIED; 100]);
    let more = stream::iter((11..=20).map(event)).chain(stream::pending());
    let shutdown = CancellationToken::new();
    let producing = produce_from(place(10), more, &config, &shutdown);
    let produced = timeout(DEADLINE, producing).await;
    let error = produced.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("authorization"), "{error:#}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(cursor::read(&config).await.unwrap(), place(10));
}

/// The stream has ended before the first answer, so that it comes while the producer finishes.
#[tokio::test(flavor = "multi_thread")]
async fn failure_after_the_last_event_is_an_error_too() {
    let cluster = cluster(1);
    let config = config(&cluster, &[]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[DENIED; 100]);
    let produced = produce(events(20), &config, &CancellationToken::new()).await;
    let error = produced.unwrap_err();
    assert!(format!("{error:#}").contains("authorization"), "{error:#}");
}
