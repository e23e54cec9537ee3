//! The producer's place in the stream, kept in a topic of its own: the newest message with the name of the events'
//! topic as its key is the `Resume` to go on from. Compaction leaves little more than that one. Of a topic that was
//! made with more partitions only the first is used.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::Timeout;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::info;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::resume::Resume;

const PARTITION: i32 = 0;

/// How long the reading may take; beginning without the place would lose events.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// So many messages at the end are looked at first, and all others only where the key is not among them.
const TAIL: i64 = 100;

/// Writes `place`, and returns when it is acknowledged. Before the stream's first `id:` there is no place to go on from.
///
/// # Errors
/// What librdkafka has given up.
pub async fn write(
    client: &FutureProducer<Log>,
    config: &config::Producer,
    place: &Resume,
) -> Result<()> {
    if place.last_event_id.is_none() {
        return Ok(());
    }
    let (topic, value) = (config.cursor_topic(), place.to_string());
    let record = FutureRecord::to(&topic)
        .partition(PARTITION)
        .key(&config.broker.wikipedia_topic)
        .payload(&value);
    match client.send(record, Timeout::Never).await {
        Ok(_) => Ok(()),
        Err((error, _)) => Err(plain(error).context("cannot write the cursor")),
    }
}

/// The place that the producer of `config.broker.wikipedia_topic` has written last; the default one where there is
/// none.
///
/// # Errors
/// The broker does not give it in time, or it can't be understood.
pub async fn read(config: &config::Producer) -> Result<Resume> {
    read_within(config, READ_TIMEOUT).await
}

/// As `read`, but as long as `limit`.
pub async fn read_within(config: &config::Producer, limit: Duration) -> Result<Resume> {
    let deadline = Instant::now() + limit;
    let cursor_topic = config.cursor_topic();
    let settings = broker::settings(
        &config.broker,
        &[],
        &[
            // Nothing is joined and nothing committed, but without a group librdkafka hands out no messages.
            ("group.id", &cursor_topic),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            // Where what was to be read first has been deleted meanwhile.
            ("auto.offset.reset", "earliest"),
            // See `watermarks`.
            ("allow.auto.create.topics", "true"),
        ],
    );
    let consumer: BaseConsumer<Log> =
        settings.create_with_context(Log::default()).map_err(broker::unusable)?;
    let (topic, key) = (cursor_topic.clone(), config.broker.wikipedia_topic.clone());
    let reading = spawn_blocking(move || {
        let value = newest(&consumer, &topic, &key, deadline);
        // Taking it down can block while the broker is away, and nothing waits for that.
        drop(spawn_blocking(move || drop(consumer)));
        value
    });
    let value = reading
        .await?
        .with_context(|| format!("cannot read the cursor in topic {cursor_topic}"))?;
    let Some(value) = value else {
        info!(cursor_topic, "no cursor, beginning now");
        return Ok(Resume::default());
    };
    let resume: Resume = value.parse().map_err(anyhow::Error::msg).with_context(|| {
        format!("bad cursor in topic {cursor_topic} (CURSOR_TOPIC sets another): {value:?}")
    })?;
    info!(cursor_topic, %resume, "going on after the cursor");
    Ok(resume)
}

fn newest(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    key: &str,
    deadline: Instant,
) -> Result<Option<String>> {
    let (low, high) = watermarks(consumer, topic, deadline)?;
    let tail = (high - TAIL).max(low);
    // A tail without the key is the tail of other producers, which share the topic.
    match newest_since(consumer, topic, key, tail, high, deadline)? {
        None if tail > low => newest_since(consumer, topic, key, low, high, deadline),
        newest => Ok(newest),
    }
}

/// The first offset and the one after the last. A topic that is not known is never taken for an empty one: it may be
/// there, and a broker has not heard of it yet. Where it is truly missing, because the broker has no admin API to make
/// it by, asking for its metadata makes it, as the first message would; and then it is known, and empty.
fn watermarks(consumer: &BaseConsumer<Log>, topic: &str, deadline: Instant) -> Result<(i64, i64)> {
    let mut cause = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match consumer.fetch_watermarks(topic, PARTITION, left.min(ATTEMPT_TIMEOUT)) {
            Ok(watermarks) => return Ok(watermarks),
            Err(error) => error,
        };
        // The last attempt is cut short by the deadline, and tells less than those before it.
        let cause = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OperationTimedOut) => cause.get_or_insert(error),
            _ => cause.insert(error),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(plain(cause.clone()));
        }
        // Only for its effect; what is wrong with it is wrong with the next attempt too.
        _ = consumer.fetch_metadata(Some(topic), left.min(ATTEMPT_TIMEOUT));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn newest_since(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    key: &str,
    begin: i64,
    end: i64,
    deadline: Instant,
) -> Result<Option<String>> {
    let mut newest = None;
    let mut next = begin;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, PARTITION, Offset::Offset(begin))?;
    consumer.assign(&partitions)?;
    while next < end {
        if Instant::now() > deadline {
            bail!("the broker gave it up to offset {next} of {end}, then no more in time");
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                next = message.offset() + 1;
                if message.key() == Some(key.as_bytes()) {
                    let value = message.payload().map(String::from_utf8_lossy);
                    newest = value.map(|value| value.into_owned());
                }
            }
            // What is left before the end are marks of transactions, or offsets that compaction has emptied.
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            // The rest passes, or the deadline comes; it has been logged.
            Some(Err(_)) | None => {}
        }
    }
    Ok(newest)
}
