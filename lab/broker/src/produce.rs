//! `produce`: writes the records on stdin, in their order, and counts the acknowledgements.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use serde_json::json;

use crate::client::settings;
use crate::record::Record;

const QUEUE_POLL: Duration = Duration::from_millis(10);
const FLUSH: Duration = Duration::from_secs(60);

/// What the delivery reports say.
#[derive(Clone, Default)]
struct Reports {
    acknowledged: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => _ = self.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err((error, message)) => {
                let bytes = message.payload_len();
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert_with(|| format!("a record of {bytes} bytes: {error}"));
            }
        }
    }
}

pub fn run(broker: &str, topic: &str, codec: &str) -> Result<()> {
    let mut settings = settings(broker);
    settings.set("compression.type", codec);
    settings.set("enable.idempotence", "true");
    // Java's partitioner, which the chapters use as well: a user's events stay in one partition.
    settings.set("partitioner", "murmur2_random");
    // The broker is to judge what is too large.
    settings.set("message.max.bytes", "100000000");
    settings.set("message.timeout.ms", "30000");
    let reports = Reports::default();
    let producer: BaseProducer<Reports> = settings.create_with_context(reports.clone())?;
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let record: Record = serde_json::from_str(&line.context("cannot read stdin")?)
            .with_context(|| format!("line {} is no record", number + 1))?;
        send(&producer, topic, &record)?;
        producer.poll(Duration::ZERO);
    }
    let flushed = producer.flush(FLUSH);
    if let Some(failure) = &*reports.failure.lock().unwrap_or_else(PoisonError::into_inner) {
        bail!("topic {topic} has not taken all: {failure}");
    }
    flushed.map_err(|error| anyhow!("broker {broker} has not acknowledged all: {error}"))?;
    let acknowledged = reports.acknowledged.load(Ordering::Relaxed);
    println!("{}", json!({ "acknowledged": acknowledged }));
    Ok(())
}

fn send(producer: &BaseProducer<Reports>, topic: &str, record: &Record) -> Result<()> {
    ensure!(record.offset.is_none(), "only the broker gives offsets");
    let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
    if let Some(key) = &record.key {
        message = message.key(&key.0);
    }
    if let Some(value) = &record.value {
        message = message.payload(&value.0);
    }
    if let Some(partition) = record.partition {
        message = message.partition(partition);
    }
    let headers = record.headers.iter();
    message = message.headers(headers.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(&value.0) })
    }));
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                message = refused;
                producer.poll(QUEUE_POLL);
            }
            Err((error, _)) => return Err(anyhow!("topic {topic}: {error}")),
        }
    }
}
