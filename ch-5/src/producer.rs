//! The role `producer`: reads the stream and writes its events to the topic, slice by slice. The cursor follows what is
//! acknowledged. While the broker is away, a bounded queue fills, and then reading waits; nothing is dropped. After five
//! minutes without the broker, the producer ends with an error.

#[cfg(test)]
mod tests;

use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use rdkafka::error::KafkaError;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::counter::Counter;
use crate::cursor;
use crate::event;
use crate::event::Event;
use crate::health::Health;
use crate::queue::Queue;
use crate::resume::Resume;
use crate::retry;
use crate::wikimedia;

/// How long a slice may take before `/ready` says that something is wrong.
const STALL: Duration = Duration::from_secs(5);

/// How long the stream may bring nothing before `/ready` says so. Usually it brings thirty events a second.
const SILENCE: Duration = Duration::from_secs(60);

/// The shortest time between two writes of the cursor.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last cursor and closing may take. It begins after `WRITE_TIMEOUT`, and together
/// they are shorter than the 9 s of the shutdown.
const CURSOR_TIMEOUT: Duration = Duration::from_secs(2);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Errors that are caused by the message, or by another one of its batch, and not by the connection or the broker.
const REFUSALS: [RDKafkaErrorCode; 5] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::MessageBatchTooLarge,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::InvalidRecord,
    RDKafkaErrorCode::InvalidDifferentRecord,
];

/// The numbers of events that were read, acknowledged and refused. Clones share the same counters.
#[derive(Clone, Default)]
pub struct Counters {
    pub stream: wikimedia::Counters,
    pub acknowledged: Counter,
    /// The broker can never take them, and the producer goes on without them.
    pub refused: Counter,
}

/// Reads until the shutdown, and then waits until everything that was read is acknowledged.
///
/// # Errors
/// The cursor can't be read, or the broker did not take a message after all tries.
pub async fn run(
    config: config::Producer,
    counters: Counters,
    health: Health,
    shutdown: CancellationToken,
) -> Result<()> {
    health.lacks("the cursor has not been read yet");
    let writer = Writer::new(config, counters.clone(), health)?;
    let written = async {
        let reading = cursor::read(&writer.config);
        let Some(resume) = shutdown.run_until_cancelled(reading).await.transpose()? else {
            return Ok(());
        };
        writer.health.is_whole();
        let (stream, counters) = (&writer.config.stream, counters.stream.clone());
        let events = wikimedia::events(stream, resume.clone(), counters)?;
        produce(events, resume, &writer, &shutdown).await
    };
    let written = written.await;
    info!("reading ended: {}", counters.stream);
    let (acknowledged, refused) = (counters.acknowledged.total(), counters.refused.total());
    info!(acknowledged, refused, "writing ended");
    writer.close().await;
    written
}

async fn produce(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    mut place: Resume,
    writer: &Writer,
    shutdown: &CancellationToken,
) -> Result<()> {
    retry::in_time(shutdown, write_all(events, &mut place, writer, shutdown)).await?;
    timeout(CURSOR_TIMEOUT, writer.write_cursor(&place)).await.unwrap_or_else(|_| {
        warn!("the cursor stays where it was: not acknowledged in time");
        Ok(())
    })
}

/// Writes slice after slice until the reading has ended. All events up to `place` are acknowledged.
async fn write_all(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    place: &mut Resume,
    writer: &Writer,
    shutdown: &CancellationToken,
) -> Result<()> {
    let silent = "the stream has brought no event for a minute";
    let mut events = Box::pin(events.peekable());
    // If the producer died before its first cursor, a restart would begin with the newest event, and lose those in between.
    // So the id of the first event is written as the cursor before this event is sent; it comes again then.
    if place.last_event_id.is_none() {
        let first = writer.watched(SILENCE, silent, events.as_mut().peek());
        let first = shutdown.run_until_cancelled(first).await.flatten();
        if let Some(id) = first.and_then(|(_, place)| place.last_event_id.as_ref()) {
            writer.write_cursor(&id.parse().map_err(anyhow::Error::msg)?).await?;
        }
    }
    let mut queue = Queue::of(events, shutdown);
    let (mut moved, mut cursor_due) = (false, Instant::now() + CURSOR_INTERVAL);
    loop {
        tokio::select! {
            slice = writer.watched(SILENCE, silent, queue.slice()) => {
                let Some((events, last)) = slice else {
                    return queue.end().await;
                };
                writer.write(&events).await?;
                (*place, moved) = (last, true);
            }
            // Also while the stream is silent.
            () = sleep_until(cursor_due), if moved => {
                writer.write_cursor(place).await?;
                (moved, cursor_due) = (false, Instant::now() + CURSOR_INTERVAL);
            }
        }
    }
}

type Client = FutureProducer<Log>;

struct Writer {
    config: config::Producer,
    counters: Counters,
    health: Health,
    client: Client,
    /// Its batches have only one message. It is made when it is needed for the first time.
    alone: OnceCell<Client>,
}

impl Writer {
    fn new(config: config::Producer, counters: Counters, health: Health) -> Result<Self> {
        let client = client(&config.broker, "10000")?;
        Ok(Self { config, counters, health, client, alone: OnceCell::new() })
    }

    async fn write_cursor(&self, place: &Resume) -> Result<()> {
        let writing = cursor::write(&self.client, &self.config, place);
        self.watched(STALL, "the broker does not acknowledge the cursor", writing).await
    }

    /// Returns when each event is acknowledged, or refused for good.
    ///
    /// # Errors
    /// What librdkafka has given up.
    async fn write(&self, events: &[Event]) -> Result<()> {
        self.watched(STALL, "the broker does not acknowledge events", self.write_each(events)).await
    }

    /// Waits for `work`. When it takes longer than `wait`, `/ready` says what is `missing` until it is done.
    async fn watched<T>(&self, wait: Duration, missing: &str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = timeout(wait, &mut work).await {
            return done;
        }
        self.health.lacks(missing);
        let done = work.await;
        self.health.is_whole();
        done
    }

    async fn write_each(&self, events: &[Event]) -> Result<()> {
        let refused = self.send(&self.client, events).await?;
        if refused.is_empty() {
            return Ok(());
        }
        // A whole batch is refused because of one message, or of its size, so each is sent again by itself.
        let alone = async || client(&self.config.broker, "1");
        let alone = self.alone.get_or_try_init(alone).await?;
        let refused = refused.into_iter().map(|(event, _)| event);
        for (event, reason) in self.send(alone, refused).await? {
            self.counters.refused.add();
            let id = event.id.as_deref().unwrap_or("-");
            error!(id, "the broker does not take the event, passed over: {reason}");
        }
        Ok(())
    }

    /// Hands all events to librdkafka before it waits for the first to be acknowledged, so that a user's events stay in
    /// their order. The queue of librdkafka has room for all of them. Returns those that were refused.
    async fn send<'e>(
        &self,
        client: &Client,
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Result<Vec<(&'e Event, KafkaError)>> {
        let (mut sent, mut refused) = (Vec::new(), Vec::new());
        for event in events {
            let payload = event.encode()?;
            let delivery = client.send_result(self.message(event, &payload));
            sent.push((event, delivery.map_err(|(error, _)| error)));
        }
        for (event, delivery) in sent {
            let delivered = match delivery {
                Ok(delivery) => delivery.await?.map_err(|(error, _)| error),
                Err(error) => Err(error),
            };
            match delivered {
                Ok(_) => _ = self.counters.acknowledged.add(),
                Err(error) if REFUSALS.map(Some).contains(&error.rdkafka_error_code()) => {
                    refused.push((event, error));
                }
                Err(error) => return Err(plain(error).context("the broker did not take a message")),
            }
        }
        Ok(refused)
    }

    fn message<'m>(&'m self, event: &'m Event, payload: &'m [u8]) -> FutureRecord<'m, str, [u8]> {
        let id = event.id.as_deref().map(|id| ("id", id));
        let mut headers = OwnedHeaders::new();
        for (key, value) in id.into_iter().chain([("content-type", event::CONTENT_TYPE)]) {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let topic = &self.config.broker.wikipedia_topic;
        let message = FutureRecord::to(topic).payload(payload).headers(headers);
        // All events of a user are in one partition, so that the numbers of users can be added up over the partitions.
        FutureRecord { key: event.user.as_deref(), ..message }
    }

    /// Dropping a client blocks the thread, and may never end while the broker is away.
    async fn close(self) {
        let clients = (self.client, self.alone);
        _ = timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(clients))).await;
    }
}

fn client(config: &config::Broker, messages_in_a_batch: &str) -> Result<Client> {
    let ours = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        // Most other clients use it too, so that a user has the same partition whichever program writes.
        ("partitioner", "murmur2_random"),
        ("batch.num.messages", messages_in_a_batch),
    ];
    broker::settings(config, &ours).create_with_context(Log::default()).map_err(broker::unusable)
}
