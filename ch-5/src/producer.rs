//! The role `producer`: reads the stream, writes each event to the topic, and keeps its place in the stream behind
//! which everything is acknowledged. A full queue slows the reading; nothing is dropped.

mod client;
mod deliveries;
#[cfg(test)]
mod tests;
mod tracker;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::warn;

use crate::broker::plain;
use crate::config;
use crate::counter::Counter;
use crate::cursor;
use crate::event::Event;
use crate::producer::client::Client;
use crate::producer::client::client;
use crate::producer::client::enqueue;
use crate::producer::client::headers;
use crate::producer::deliveries::CURSOR;
use crate::producer::deliveries::Deliveries;
use crate::resume::Resume;
use crate::wikimedia;

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

/// What was read from the stream, and what became of the events. Clones count together.
#[derive(Clone, Default)]
pub struct Counters {
    pub stream: wikimedia::Counters,
    pub acknowledged: Counter,
    /// Passed over: the broker would never take them.
    pub refused: Counter,
}

/// Reads until shutdown, and then until everything that was read is acknowledged.
///
/// # Errors
/// The cursor can't be read, or the broker did not take a message after all tries.
pub async fn run(
    config: config::Producer,
    counters: Counters,
    shutdown: CancellationToken,
) -> Result<()> {
    let Some(resume) = shutdown.run_until_cancelled(cursor::read(&config)).await else {
        return Ok(());
    };
    let resume = resume?;
    let events = wikimedia::events(&config.stream, resume.clone(), counters.stream.clone())?;
    let result = produce(events, &resume, &config, &counters, &shutdown).await;
    info!("reading ended: {}", counters.stream);
    result
}

async fn produce(
    events: impl Stream<Item = (Event, Resume)>,
    resume: &Resume,
    config: &config::Producer,
    counters: &Counters,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut sender = Sender::new(config, resume, counters)?;
    let mut sent = sender.send_all(events, shutdown).await;
    if sent.is_ok() {
        sent = sender.finish().await;
    }
    info!(
        acknowledged = counters.acknowledged.total(),
        refused = counters.refused.total(),
        "writing ended"
    );
    // Taking librdkafka down blocks, and can hang while the broker is away.
    _ = timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(sender))).await;
    sent
}

struct Sender {
    topic: String,
    cursor_topic: String,
    /// Whether there is a cursor.
    begun: bool,
    broker: config::Broker,
    deliveries: Arc<Deliveries>,
    client: Client,
    /// Sends each message by itself; made when first needed.
    alone: Option<Client>,
}

impl Sender {
    fn new(config: &config::Producer, resume: &Resume, counters: &Counters) -> Result<Self> {
        let deliveries = Arc::new(Deliveries {
            counters: counters.clone(),
            ..Deliveries::default()
        });
        Ok(Self {
            topic: config.broker.wikipedia_topic.clone(),
            cursor_topic: config.cursor_topic(),
            begun: resume.last_event_id.is_some(),
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
                    let sent = async {
                        self.drained_to(IN_FLIGHT_LIMIT - SLICE).await?;
                        self.begin(&slice).await?;
                        self.send(slice).await
                    };
                    match shutdown.run_until_cancelled(sent).await {
                        Some(sent) => sent?,
                        // What is not sent comes again, for the cursor does not go past it.
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    /// The first cursor, before anything is sent: without one a restart would begin at its own time, and what was read
    /// before would be lost. It has seen nothing, so that the first event comes again too.
    async fn begin(&mut self, slice: &[(Event, Resume)]) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        let mut ids = slice.iter().map(|(_, place)| &place.last_event_id);
        let Some(id) = ids.find_map(Option::as_deref) else {
            return Ok(());
        };
        let first = id.parse().map_err(anyhow::Error::msg)?;
        self.deliveries.state().tracker.put_back(first);
        self.cursor_written().await?;
        self.begun = true;
        Ok(())
    }

    /// Waits until no more than `limit` events are in flight.
    async fn drained_to(&mut self, limit: usize) -> Result<()> {
        loop {
            self.attend().await?;
            {
                let mut state = self.deliveries.state();
                state.awaited = limit;
                if state.tracker.in_flight() <= limit {
                    return Ok(());
                }
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
        let value = place.to_string();
        let record = BaseRecord::with_opaque_to(&self.cursor_topic, CURSOR)
            .partition(cursor::PARTITION)
            .key(&self.topic)
            .payload(&value);
        match self.client.send(record) {
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
    ///
    /// # Errors
    /// What librdkafka has given up.
    async fn finish(&mut self) -> Result<()> {
        match timeout(FLUSH_TIMEOUT, self.drained_to(0)).await {
            Ok(drained) => drained?,
            Err(_) => {
                let events = self.deliveries.state().tracker.in_flight();
                warn!(events, "not acknowledged in time, to be read again");
            }
        }
        let written = timeout(CURSOR_TIMEOUT, self.cursor_written()).await;
        written.unwrap_or_else(|_| {
            warn!("the cursor stays behind: not acknowledged in time");
            Ok(())
        })
    }

    /// Writes the place, and waits until it is acknowledged.
    async fn cursor_written(&mut self) -> Result<()> {
        let deliveries = Arc::clone(&self.deliveries);
        loop {
            // One that is in flight already may be older.
            if !deliveries.state().cursor_in_flight {
                self.write_cursor()?;
                if !deliveries.state().cursor_in_flight {
                    return Ok(());
                }
            }
            self.attend().await?;
            deliveries.progress.notified().await;
        }
    }
}
