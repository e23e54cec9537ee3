//! What all subcommands share: the settings of librdkafka, and a reader that knows the partitions of a topic.

use std::mem::ManuallyDrop;
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

/// For one question to the broker.
pub const ANSWER: Duration = Duration::from_secs(10);

pub fn settings(broker: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", broker);
    settings.set("client.id", "lab-broker");
    // To look at a topic must not create it.
    settings.set("allow.auto.create.topics", "false");
    settings.set_log_level(RDKafkaLogLevel::Emerg);
    settings
}

/// A reader that joins no group. Never dropped: that can hang while a broker is away, and the process ends anyway.
pub type Reader = ManuallyDrop<BaseConsumer>;

/// `group` matters for the committed offsets alone.
pub fn reader(broker: &str, group: Option<&str>) -> Result<Reader> {
    let mut settings = settings(broker);
    settings.set("group.id", group.unwrap_or("lab-broker"));
    settings.set("enable.auto.commit", "false");
    settings.set("enable.partition.eof", "true");
    Ok(ManuallyDrop::new(settings.create()?))
}

/// A partition's first offset, and the one behind its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
}

/// # Errors
/// The broker does not answer, or has no such topic.
pub fn watermarks(reader: &Reader, broker: &str, name: &str) -> Result<Vec<Watermarks>> {
    let metadata =
        reader.fetch_metadata(Some(name), ANSWER).map_err(|error| unanswered(broker, &error))?;
    let Some(topic) = metadata.topics().first() else {
        bail!("broker {broker} says nothing of topic {name}");
    };
    if let Some(error) = topic.error() {
        ensure!(
            error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            "broker {broker} has no topic {name}"
        );
        bail!("topic {name}: {}", rdkafka::types::RDKafkaErrorCode::from(error));
    }
    let mut partitions: Vec<i32> = topic.partitions().iter().map(|p| p.id()).collect();
    partitions.sort_unstable();
    partitions
        .into_iter()
        .map(|partition| {
            let (low, high) = reader
                .fetch_watermarks(name, partition, ANSWER)
                .map_err(|error| anyhow!("topic {name}, partition {partition}: {error}"))?;
            Ok(Watermarks { partition, low, high })
        })
        .collect()
}

pub fn unanswered(broker: &str, error: &KafkaError) -> anyhow::Error {
    anyhow!("broker {broker} does not answer: {error}")
}
