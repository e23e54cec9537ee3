//! Tests the producer with a broker in the same process. It has no admin API, and a test can make it fail.

mod away;
mod cursors;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::stream;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::message::Headers;
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::sleep;

use super::*;
use crate::queue::PIECE;
use crate::queue::PIECES;

type Cluster = MockCluster<'static, DefaultProducerContext>;

const DEADLINE: Duration = Duration::from_secs(60);
const SLICE: usize = PIECES * PIECE;
const TOPIC: &str = "wikipedia.changes";
const CURSOR_TOPIC: &str = "wikipedia.changes.cursor";
const DENIED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

fn setup(brokers: i32, properties: &str) -> (Cluster, config::Producer) {
    let cluster = MockCluster::new(brokers).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let options = ["--redpanda-broker", &servers, "--redpanda-properties", properties];
    (cluster, config::for_test(&options))
}

fn writer(config: &config::Producer) -> Writer {
    Writer::new(config.clone(), Counters::default(), Health::default()).unwrap()
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

fn events(numbers: RangeInclusive<usize>) -> impl Stream<Item = (Event, Resume)> {
    stream::iter(numbers.map(event))
}

/// `read` counts the events that are taken from `events`.
fn counted<T>(events: impl Stream<Item = T>, read: Arc<AtomicUsize>) -> impl Stream<Item = T> {
    events.inspect(move |_| _ = read.fetch_add(1, Ordering::SeqCst))
}

async fn produce(
    resume: Resume,
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    config: &config::Producer,
    shutdown: &CancellationToken,
) -> Result<()> {
    let writer = writer(config);
    let produced = super::produce(events, resume, &writer, shutdown).await;
    writer.close().await;
    produced
}

async fn write_cursors(config: &config::Producer, places: impl IntoIterator<Item = Resume>) {
    let writer = writer(config);
    for place in places {
        writer.write_cursor(&place).await.unwrap();
    }
    writer.close().await;
}

async fn read_cursor(config: &config::Producer) -> Resume {
    cursor::read(config).await.unwrap()
}

fn assert_denied(written: Result<()>) {
    let error = format!("{:#}", written.unwrap_err());
    assert!(error.contains("authorization"), "{error}");
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

fn reader(config: &config::Producer) -> BaseConsumer {
    // The answer to a commit would end the wait for a message.
    let ours = [("group.id", "reader"), ("enable.auto.commit", "false")];
    broker::settings(&config.broker, &ours).create().unwrap()
}

/// The offset after the last message of a partition.
fn end(reader: &BaseConsumer, partition: i32) -> i64 {
    let (begin, end) = reader.fetch_watermarks(TOPIC, partition, DEADLINE).unwrap();
    assert_eq!(begin, 0, "more than the 5 MiB that are kept of a partition");
    end
}

/// All messages of the topic, up to the ends that its partitions have now.
fn written(config: &config::Producer) -> Vec<OwnedMessage> {
    let reader = reader(config);
    let count: i64 = (0..3).map(|partition| end(&reader, partition)).sum();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(TOPIC, 0, 2);
    partitions.set_all_offsets(Offset::Beginning).unwrap();
    reader.assign(&partitions).unwrap();
    let message = |_| reader.poll(DEADLINE).expect("no message in time").unwrap().detach();
    (0..count).map(message).collect()
}

fn decoded(message: &OwnedMessage) -> Event {
    Event::decode(message.payload().unwrap()).unwrap()
}

/// For each of the events 1 to `count`, how many times it is in the topic.
fn copies(config: &config::Producer, count: usize) -> Vec<usize> {
    let mut copies = vec![0; count];
    for message in written(config) {
        copies[decoded(&message).id.unwrap().parse::<usize>().unwrap() - 1] += 1;
    }
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_written_in_order_by_user_and_the_cursor_after_them() {
    const COUNT: usize = 10_000;
    let (_cluster, config) = setup(1, "");
    produce(place(0), events(1..=COUNT), &config, &CancellationToken::new()).await.unwrap();
    assert_eq!(copies(&config, COUNT), [1; COUNT]);
    let mut of_user: HashMap<String, (i32, usize)> = HashMap::new();
    for message in written(&config) {
        let event = decoded(&message);
        assert_eq!(message.key(), event.user.as_deref().map(str::as_bytes));
        let id = event.id.unwrap();
        let headers = message.headers().unwrap().iter();
        let headers: Vec<_> = headers.map(|header| (header.key, header.value)).collect();
        let json = b"application/json";
        assert_eq!(headers, [("id", Some(id.as_bytes())), ("content-type", Some(json))]);
        if let Some(user) = event.user {
            let (partition, number) = (message.partition(), id.parse().unwrap());
            let before = of_user.insert(user, (partition, number));
            assert!(before.is_none_or(|before| before.0 == partition && before.1 < number));
        }
    }
    assert_eq!(read_cursor(&config).await, place(COUNT));
}

/// Three batches, one of each partition, are refused and sent again one by one; of these the first is refused for good.
#[tokio::test(flavor = "multi_thread")]
async fn refused_message_is_passed_over_and_no_other_is_lost() {
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD,
    ] {
        // Long enough for a complete batch, even on a busy machine.
        let (cluster, config) = setup(1, "linger.ms=1000");
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 4]);
        let writer = writer(&config);
        let events: Vec<Event> = (1..=1_000).map(|number| event(number).0).collect();
        writer.write(&events).await.unwrap();
        let copies = copies(&config, 1_000);
        assert!(copies.iter().all(|copies| *copies <= 1));
        let refused = copies.iter().filter(|copies| **copies == 0).count();
        assert_eq!((refused, writer.counters.refused.total()), (1, 1));
        assert_eq!(writer.counters.acknowledged.total(), 999);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_too_long_for_librdkafka_is_passed_over() {
    let (_cluster, config) = setup(1, "message.max.bytes=1000");
    let (mut long, place_of_long) = event(2);
    long.title = Some("x".repeat(5_000));
    let three = stream::iter([event(1), (long, place_of_long), event(3)]);
    produce(place(0), three, &config, &CancellationToken::new()).await.unwrap();
    assert_eq!(copies(&config, 3), [1, 0, 1]);
    assert_eq!(read_cursor(&config).await, place(3));
}

/// The second time the stream ends before the first answer, so that the answer comes while the producer finishes.
#[tokio::test(flavor = "multi_thread")]
async fn failure_that_lasts_ends_the_producer_and_the_cursor_stays() {
    for rest in [stream::pending().boxed(), stream::empty().boxed()] {
        let (cluster, config) = setup(1, "");
        write_cursors(&config, [place(10)]).await;
        cluster.request_errors(RDKafkaApiKey::Produce, &[DENIED; 100]);
        let (more, shutdown) = (events(11..=20).chain(rest), CancellationToken::new());
        let producing = produce(place(10), more, &config, &shutdown);
        assert_denied(timeout(DEADLINE, producing).await.expect("in time"));
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        assert_eq!(read_cursor(&config).await, place(10));
    }
}

#[tokio::test(start_paused = true)]
async fn stream_that_is_silent_is_told_also_at_the_first_start() {
    for from in [place(0), Resume::default()] {
        let (writer, shutdown) = (writer(&config::for_test(&[])), CancellationToken::new());
        let producing = super::produce(stream::pending(), from, &writer, &shutdown);
        assert!(timeout(2 * SILENCE, producing).await.is_err());
        assert!(writer.health.lacking().as_ref().unwrap().contains("no event for a minute"));
    }
}
