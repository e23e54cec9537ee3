//! Writes and reads the cursor: the place in the stream up to which all events are acknowledged. It is in a topic of
//! its own, of which only the first partition is used: the newest message whose key is the name of the events' topic.
//! Compaction deletes most of the older ones.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::util::Timeout;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::info;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::resume::Resume;
use crate::retry;

const PARTITION: i32 = 0;

/// How long the broker may take to answer a question, and to send all messages of the topic.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(20);

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
/// It could not be read for two minutes, or it can't be parsed. Beginning without it would lose events.
pub async fn read(config: &config::Producer) -> Result<Resume> {
    let cursor_topic = config.cursor_topic();
    let service = format!("cursor in topic {cursor_topic} (CURSOR_TOPIC)");
    let Some(value) = retry::at_start(&service, || newest(config)).await? else {
        info!(cursor_topic, "no cursor, beginning now");
        return Ok(Resume::default());
    };
    let resume: Resume = value.parse().map_err(anyhow::Error::msg).with_context(|| {
        format!("bad cursor in topic {cursor_topic} (CURSOR_TOPIC sets another): {value:?}")
    })?;
    let last_event_id = resume.last_event_id.as_deref();
    info!(cursor_topic, last_event_id, "going on after the cursor");
    Ok(resume)
}

/// The value of the newest message whose key is the name of the events' topic.
async fn newest(config: &config::Producer) -> Result<Option<String>> {
    let (topic, key) = (config.cursor_topic(), config.broker.wikipedia_topic.clone());
    let ours = [
        // The consumer joins no group, but without the name of one librdkafka hands out no messages.
        ("group.id", topic.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        // If the broker has no admin API, nothing has created the topic. Then asking for its metadata does so, as the first
        // message would.
        ("allow.auto.create.topics", "true"),
    ];
    let consumer: BaseConsumer<Log> = broker::settings(&config.broker, &ours)
        .create_with_context(Log::default())
        .map_err(broker::unusable)?;
    let reading = spawn_blocking(move || {
        let value = poll(&consumer, &topic, &key);
        // Dropping the consumer can block while the broker is away, and nothing has to wait for it.
        drop(spawn_blocking(move || drop(consumer)));
        value
    });
    reading.await?
}

fn poll(consumer: &BaseConsumer<Log>, topic: &str, key: &str) -> Result<Option<String>> {
    consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT).map_err(plain)?;
    // An unknown topic is an error, and not an empty one: it may exist, and the broker has not heard of it yet.
    let watermarks = consumer.fetch_watermarks(topic, PARTITION, ANSWER_TIMEOUT);
    let (_, end) = watermarks.map_err(plain)?;
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, PARTITION, Offset::Beginning).map_err(plain)?;
    consumer.assign(&partitions).map_err(plain)?;
    let deadline = Instant::now() + READ_TIMEOUT;
    let (mut next, mut newest) = (0, None);
    while next < end {
        ensure!(Instant::now() < deadline, "only read up to offset {next} of {end} in time");
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
    Ok(newest)
}
