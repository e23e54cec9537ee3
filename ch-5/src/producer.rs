//! The role `producer`: reads the stream, writes each event to the topic, and keeps its place in the stream behind
//! which everything is acknowledged. A full queue slows the reading; nothing is dropped.

mod deliveries;
#[cfg(test)]
mod tests;
mod tracker;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::message::ToBytes;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::ThreadedProducer;
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::cursor;
use crate::event;
use crate::event::Event;
use crate::producer::deliveries::CURSOR;
use crate::producer::deliveries::Callbacks;
use crate::producer::deliveries::Deliveries;
use crate::producer::deliveries::is_refusal;
use crate::wikimedia;
use crate::wikimedia::Counters;
use crate::wikimedia::Resume;

/// Events sent at once, where so many have arrived.
const SLICE: usize = 500;

/// Events sent and not acknowledged yet; with so many, reading waits.
const IN_FLIGHT_LIMIT: usize = 20_000;

/// How often the cursor is written.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// What the shutdown grants, of the 9 s that it has in all.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
const CURSOR_TIMEOUT: Duration = Duration::from_secs(2);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads until shutdown, and then until everything that was read is acknowledged.
///
/// # Errors
/// The cursor can't be read, or the broker did not take a message after all tries.
pub async fn run(config: config::Producer, shutdown: CancellationToken) -> Result<()> {
    let Some(resume) = shutdown.run_until_cancelled(cursor::read(&config)).await else {
        return Ok(());
    };
    let counters = Counters::default();
    let events = wikimedia::events(&config.stream, resume?, counters.clone())?;
    let result = produce(events, &config, &shutdown).await;
    info!("reading ended: {counters}");
    result
}

async fn produce(
    events: impl Stream<Item = (Event, Resume)>,
    config: &config::Producer,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut sender = Sender::new(config)?;
    let sent = sender.send_all(events, shutdown).await;
    if sent.is_ok() {
        sender.finish().await;
    }
    info!(
        acknowledged = sender.deliveries.acknowledged.load(Ordering::Relaxed),
        refused = sender.deliveries.refused.load(Ordering::Relaxed),
        "writing ended"
    );
    // Taking librdkafka down blocks, and can hang while the broker is away.
    _ = timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(sender))).await;
    sent
}

type Client = ThreadedProducer<Callbacks>;

struct Sender {
    topic: String,
    cursor_topic: String,
    broker: config::Broker,
    deliveries: Arc<Deliveries>,
    client: Client,
    /// Sends each message by itself; made when first needed.
    alone: Option<Client>,
}

impl Sender {
    fn new(config: &config::Producer) -> Result<Self> {
        let deliveries = Arc::default();
        Ok(Self {
            topic: config.broker.wikipedia_topic.clone(),
            cursor_topic: config.cursor_topic(),
            client: client(&config.broker, &deliveries, false)?,
            alone: None,
            broker: config.broker.clone(),
            deliveries,
        })
    }

    async fn send_all(
        &mut self,
        events: impl Stream<Item = (Event, Resume)>,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let events = events.take_until(shutdown.cancelled());
        let mut slices = pin!(events.ready_chunks(SLICE));
        let mut cursor = interval(CURSOR_INTERVAL);
        cursor.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deliveries = Arc::clone(&self.deliveries);
        loop {
            tokio::select! {
                () = deliveries.attention.notified() => self.attend().await?,
                _ = cursor.tick() => self.write_cursor()?,
                slice = slices.next() => {
                    let Some(slice) = slice else { return Ok(()) };
                    let room = self.drained_to(IN_FLIGHT_LIMIT - SLICE);
                    match shutdown.run_until_cancelled(room).await {
                        Some(room) => room?,
                        // They come again, for the cursor does not go past them.
                        None => return Ok(()),
                    }
                    self.send(slice).await?;
                }
            }
        }
    }

    /// Waits until no more than `limit` events are in flight.
    async fn drained_to(&mut self, limit: usize) -> Result<()> {
        loop {
            self.attend().await?;
            if self.deliveries.state().tracker.in_flight() <= limit {
                return Ok(());
            }
            self.deliveries.progress.notified().await;
        }
    }

    async fn send(&mut self, slice: Vec<(Event, Resume)>) -> Result<()> {
        let Some((_, place)) = slice.last() else {
            return Ok(());
        };
        let number = {
            let tracker = &mut self.deliveries.state().tracker;
            tracker.begin(slice.len(), place.clone())
        };
        let mut payload = Vec::new();
        for (event, _) in &slice {
            payload.clear();
            event.encode(&mut payload)?;
            let mut record = BaseRecord::with_opaque_to(&self.topic, number)
                .payload(&payload[..])
                .headers(headers(event));
            // One user's events share a partition, so that users add up over partitions. Without a user any will do.
            record.key = event.user.as_deref();
            let id = event.id.as_deref().unwrap_or("-");
            enqueue(&self.client, &self.deliveries, record, id).await?;
        }
        Ok(())
    }

    /// Sends again, each by itself, what was refused as part of a batch.
    ///
    /// # Errors
    /// What librdkafka has given up.
    async fn attend(&mut self) -> Result<()> {
        if let Some(error) = self.deliveries.state().failure.take() {
            return Err(plain(error).context("the broker did not take a message"));
        }
        let messages = self.deliveries.take_alone();
        if messages.is_empty() {
            return Ok(());
        }
        let client = match &mut self.alone {
            Some(client) => client,
            none => none.insert(client(&self.broker, &self.deliveries, true)?),
        };
        for (mut message, number) in messages {
            let headers = message.detach_headers().unwrap_or_else(OwnedHeaders::new);
            let mut record = BaseRecord::with_opaque_to(&self.topic, number).headers(headers);
            record.payload = message.payload();
            record.key = message.key();
            enqueue(client, &self.deliveries, record, "-").await?;
        }
        Ok(())
    }

    /// Writes the place, if it has moved.
    fn write_cursor(&self) -> Result<()> {
        let place = {
            let mut state = self.deliveries.state();
            if state.cursor_in_flight {
                return Ok(());
            }
            let place = state.tracker.take_place();
            state.cursor_in_flight = place.is_some();
            place
        };
        let Some(place) = place else { return Ok(()) };
        let record = BaseRecord::with_opaque_to(&self.cursor_topic, CURSOR);
        let value = place.to_string();
        match self.client.send(record.key(&self.topic).payload(&value)) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                let mut state = self.deliveries.state();
                state.cursor_in_flight = false;
                state.tracker.put_back(place);
                Ok(())
            }
            Err((error, _)) => Err(plain(error).context("cannot write the cursor")),
        }
    }

    /// At shutdown: waits for what is in flight, then writes the cursor. What does not get through is read again
    /// after the next start.
    async fn finish(&mut self) {
        if !matches!(timeout(FLUSH_TIMEOUT, self.drained_to(0)).await, Ok(Ok(()))) {
            let events = self.deliveries.state().tracker.in_flight();
            warn!(events, "not acknowledged in time, to be read again");
        }
        let deliveries = Arc::clone(&self.deliveries);
        let written = async {
            loop {
                // One that is in flight already may be older.
                if !deliveries.state().cursor_in_flight {
                    self.write_cursor()?;
                    if !deliveries.state().cursor_in_flight {
                        return anyhow::Ok(());
                    }
                }
                self.attend().await?;
                deliveries.progress.notified().await;
            }
        };
        match timeout(CURSOR_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the cursor stays behind: {error:#}"),
            Err(_) => warn!("the cursor stays behind: not acknowledged in time"),
        }
    }
}

fn client(config: &config::Broker, deliveries: &Arc<Deliveries>, alone: bool) -> Result<Client> {
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
        .context("cannot set up a producer; is REDPANDA_PROPERTIES right?")
}

fn headers(event: &Event) -> OwnedHeaders {
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
async fn enqueue<K, P>(
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
