//! The clients of librdkafka that the producer writes with: their settings, and how an event is handed to one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rdkafka::error::KafkaError;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::message::ToBytes;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::ThreadedProducer;
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::timeout;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::event;
use crate::event::Event;
use crate::producer::deliveries::Callbacks;
use crate::producer::deliveries::Deliveries;
use crate::producer::deliveries::is_refusal;

pub type Client = ThreadedProducer<Callbacks>;

/// `alone`: one that sends each message by itself.
pub fn client(
    config: &config::Broker,
    deliveries: &Arc<Deliveries>,
    alone: bool,
) -> Result<Client> {
    let settings = broker::settings(
        config,
        &[],
        &[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // As other clients do it, so that a user has the same partition whoever writes.
            ("partitioner", "murmur2_random"),
            ("batch.num.messages", if alone { "1" } else { "10000" }),
        ],
    );
    let callbacks = Callbacks {
        deliveries: Arc::clone(deliveries),
        alone,
        log: Log::default(),
    };
    settings
        .create_with_context(callbacks)
        .map_err(broker::unusable)
}

pub fn headers(event: &Event) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(2);
    let headers = match &event.id {
        Some(id) => headers.insert(Header {
            key: "id",
            value: Some(id),
        }),
        None => headers,
    };
    headers.insert(Header {
        key: "content-type",
        value: Some(event::CONTENT_TYPE),
    })
}

/// Hands a message to librdkafka, which copies it. Its queue has room for more than the limit in flight, unless the
/// messages are very long: then a delivery makes room.
pub async fn enqueue<K, P>(
    client: &Client,
    deliveries: &Deliveries,
    record: BaseRecord<'_, K, P, usize>,
    id: &str,
) -> Result<()>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
{
    let mut record = record;
    loop {
        record = match client.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, record)) if is_refusal(&error) => {
                deliveries.refuse(record.delivery_opaque, id, &error);
                return Ok(());
            }
            Err((error, _)) => return Err(plain(error).context("cannot send")),
        };
        // A delivery is told before its room is free, so that the last one may be told too early.
        _ = timeout(Duration::from_millis(10), deliveries.progress.notified()).await;
    }
}
