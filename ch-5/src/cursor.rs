//! Writes and reads the cursor: the place in the stream up to which all events are acknowledged. It is in a topic of
//! its own, of which only the first partition is used: the newest message whose key is the name of the events' topic.
//! Compaction deletes most of the older ones.

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

/// How long the reading may take. Then the producer ends, because beginning without the cursor would lose events.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// This many messages at the end are read first, and all only if the key is not among them.
const TAIL: i64 = 100;

/// Writes `place`, and returns when it is acknowledged. Without an `id:` of the stream there is no place to write.
///
/// # Errors
/// librdkafka has tried for five minutes, or the broker refuses the message.
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
    let written = client.send(record, Timeout::Never).await;
    written.map(drop).map_err(|(error, _)| plain(error).context("cannot write the cursor"))
}

/// The cursor that was written last for `config.broker.wikipedia_topic`, or the default if there is none.
///
/// # Errors
/// The broker does not send it within `limit`, or it can't be parsed.
pub async fn read(config: &config::Producer, limit: Duration) -> Result<Resume> {
    let deadline = Instant::now() + limit;
    let cursor_topic = config.cursor_topic();
    let settings = broker::settings(
        &config.broker,
        &[],
        &[
            // The consumer joins no group, but without the name of one librdkafka hands out no messages.
            ("group.id", &cursor_topic),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            // If compaction has deleted the message to begin with, the oldest one is the first.
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
        // Dropping the consumer can block while the broker is away, and nothing has to wait for it.
        drop(spawn_blocking(move || drop(consumer)));
        value
    });
    let value = reading.await?;
    let failed = || format!("cannot read the cursor in topic {cursor_topic}");
    let Some(value) = value.with_context(failed)? else {
        info!(cursor_topic, "no cursor, beginning now");
        return Ok(Resume::default());
    };
    let resume: Resume = value.parse().map_err(anyhow::Error::msg).with_context(|| {
        format!("bad cursor in topic {cursor_topic} (CURSOR_TOPIC sets another): {value:?}")
    })?;
    info!(
        cursor_topic,
        last_event_id = resume.last_event_id.as_deref(),
        "going on after the cursor"
    );
    Ok(resume)
}

/// The value of the newest message with `key`.
fn newest(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    key: &str,
    deadline: Instant,
) -> Result<Option<String>> {
    let (low, high) = watermarks(consumer, topic, deadline)?;
    let mut begin = low.max(high - TAIL);
    loop {
        let (mut next, mut newest) = (begin, None);
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, PARTITION, Offset::Offset(begin))?;
        consumer.assign(&partitions)?;
        while next < high {
            if Instant::now() > deadline {
                bail!("the broker gave it up to offset {next} of {high}, then no more in time");
            }
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    next = message.offset() + 1;
                    if message.key() == Some(key.as_bytes()) {
                        let value = message.payload().map(String::from_utf8_lossy);
                        newest = value.map(|value| value.into_owned());
                    }
                }
                // Up to the end there are only markers of transactions, or messages that compaction has deleted.
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                // The error has been logged. It is temporary, or the deadline ends the loop.
                Some(Err(_)) | None => {}
            }
        }
        if newest.is_some() || begin == low {
            return Ok(newest);
        }
        // The last messages are those of other producers that use the same topic.
        begin = low;
    }
}

/// The first offset, and the one after the last message. An unknown topic is not an empty one: it may exist, and the
/// broker has not heard of it yet. If the broker has no admin API, nothing has created the topic; asking for its metadata
/// does so, as the first message would.
fn watermarks(consumer: &BaseConsumer<Log>, topic: &str, deadline: Instant) -> Result<(i64, i64)> {
    let left = || deadline.saturating_duration_since(Instant::now()).min(ATTEMPT_TIMEOUT);
    let mut cause = None;
    loop {
        let error = match consumer.fetch_watermarks(topic, PARTITION, left()) {
            Ok(watermarks) => return Ok(watermarks),
            Err(error) => error,
        };
        // The deadline cuts the last attempt short, so an earlier error says more about the cause.
        let cause = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OperationTimedOut) => cause.get_or_insert(error),
            _ => cause.insert(error),
        };
        if left().is_zero() {
            return Err(plain(cause.clone()));
        }
        // This is only done to create the topic. If it fails, the next attempt fails too and says why.
        _ = consumer.fetch_metadata(Some(topic), left());
        std::thread::sleep(Duration::from_millis(200));
    }
}
