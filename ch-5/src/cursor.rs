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
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::info;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::wikimedia::Resume;

pub const PARTITION: i32 = 0;

/// How long the reading may take; beginning without the place would lose events.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a topic that was just created may not be known to all brokers yet.
const CREATION_TIMEOUT: Duration = Duration::from_secs(5);

/// So many messages at the end are looked at first, and all others only where the key is not among them.
const TAIL: i64 = 100;

/// The place that the producer of `config.broker.wikipedia_topic` has written last; the default one where there is
/// none, or no such topic.
///
/// # Errors
/// The broker does not give it in time, or it can't be understood.
pub async fn read(config: &config::Producer) -> Result<Resume> {
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
        ],
    );
    let consumer: BaseConsumer<Log> = settings
        .create_with_context(Log::default())
        .context("cannot set up a client; is REDPANDA_PROPERTIES right?")?;
    let (topic, key) = (cursor_topic.clone(), config.broker.wikipedia_topic.clone());
    let value = spawn_blocking(move || newest(&consumer, &topic, &key))
        .await?
        .with_context(|| format!("cannot read the cursor in topic {cursor_topic}"))?;
    let Some(value) = value else {
        info!(cursor_topic, "no cursor, beginning now");
        return Ok(Resume::default());
    };
    let resume: Resume = value
        .parse()
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("bad cursor in topic {cursor_topic}: {value:?}"))?;
    info!(cursor_topic, %resume, "going on after the cursor");
    Ok(resume)
}

fn newest(consumer: &BaseConsumer<Log>, topic: &str, key: &str) -> Result<Option<String>> {
    let deadline = Instant::now() + READ_TIMEOUT;
    let Some((low, high)) = watermarks(consumer, topic, deadline)? else {
        return Ok(None);
    };
    let tail = (high - TAIL).max(low);
    // A tail without the key is the tail of other producers, which share the topic.
    match newest_since(consumer, topic, key, tail, high, deadline)? {
        None if tail > low => newest_since(consumer, topic, key, low, high, deadline),
        newest => Ok(newest),
    }
}

/// The first offset and the one after the last; `None` where there is no such topic.
fn watermarks(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    deadline: Instant,
) -> Result<Option<(i64, i64)>> {
    let creation = Instant::now() + CREATION_TIMEOUT;
    loop {
        let error = match consumer.fetch_watermarks(topic, PARTITION, Duration::from_secs(5)) {
            Ok(watermarks) => return Ok(Some(watermarks)),
            Err(error) => error,
        };
        let unknown = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::UnknownTopicOrPartition
            )
        );
        if unknown && Instant::now() > creation {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Err(plain(error));
        }
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
            bail!("read up to offset {next} of {end} within {READ_TIMEOUT:?}");
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
