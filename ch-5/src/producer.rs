//! The role `producer`: reads the stream, writes each event to the topic, and keeps the place in the stream up to which
//! everything is acknowledged. While the broker is away a bounded queue fills, and then reading waits; nothing is
//! dropped.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use rdkafka::error::KafkaError;
use rdkafka::message::Header;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::DeliveryFuture;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::OnceCell;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio::try_join;
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
use crate::resume::Resume;
use crate::wikimedia;

/// At most so many events wait while others are on their way; together they are the next slice. With a full queue
/// reading waits.
const SLICE: usize = 20_000;

/// At most so many bytes of events have been read and are not acknowledged. 40,000 usual events have 10 MB.
const BYTES: usize = 16 * 1024 * 1024;

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
    let writer = Writer::new(&config, &counters)?;
    let written = read_and_write(&writer, &shutdown).await;
    info!("reading ended: {}", counters.stream);
    info!(
        acknowledged = counters.acknowledged.total(),
        refused = counters.refused.total(),
        "writing ended"
    );
    writer.close().await;
    written
}

async fn read_and_write(writer: &Writer<'_>, shutdown: &CancellationToken) -> Result<()> {
    let reading = cursor::read(writer.config);
    let Some(resume) = shutdown.run_until_cancelled(reading).await else {
        return Ok(());
    };
    let resume = resume?;
    let counters = writer.counters.stream.clone();
    let events = wikimedia::events(&writer.config.stream, resume.clone(), counters)?;
    produce(events, resume, writer, shutdown).await
}

/// Reading has a task of its own: it goes on while a slice is on its way, and the next slice is what came meanwhile.
async fn produce(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    resume: Resume,
    writer: &Writer<'_>,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut place = resume;
    let (sender, mut records) = mpsc::channel(SLICE);
    let events = events.take_until(shutdown.clone().cancelled_owned());
    let reading = tokio::spawn(read(events, sender));
    let overdue = async {
        shutdown.cancelled().await;
        sleep(FLUSH_TIMEOUT).await;
    };
    tokio::select! {
        written = write_all(&mut records, &mut place, writer) => written?,
        () = overdue => warn!("not acknowledged in time, to be read again"),
    }
    drop(records);
    reading.await??;
    let Ok(written) = timeout(CURSOR_TIMEOUT, writer.write_cursor(&place)).await else {
        warn!("the cursor stays where it was: not acknowledged in time");
        return Ok(());
    };
    written
}

/// An event as it is sent.
struct Record {
    payload: Vec<u8>,
    user: Option<String>,
    id: Option<String>,
    /// After it.
    place: Resume,
    /// Given back with the record.
    _bytes: OwnedSemaphorePermit,
}

async fn read(
    events: impl Stream<Item = (Event, Resume)>,
    sender: mpsc::Sender<Record>,
) -> Result<()> {
    let bytes = Arc::new(Semaphore::new(BYTES));
    let mut events = pin!(events);
    while let Some((event, place)) = events.next().await {
        let mut payload = Vec::new();
        event.encode(&mut payload)?;
        // One that is longer than the limit waits until it is the only one.
        let length = u32::try_from(payload.len().min(BYTES))?;
        let record = Record {
            payload,
            user: event.user,
            id: event.id,
            place,
            _bytes: Arc::clone(&bytes).acquire_many_owned(length).await?,
        };
        if sender.send(record).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes slice after slice until the reading has ended. All events up to `place` are acknowledged.
async fn write_all(
    records: &mut mpsc::Receiver<Record>,
    place: &mut Resume,
    writer: &Writer<'_>,
) -> Result<()> {
    let mut slice = Vec::new();
    let mut cursor_written = Instant::now();
    loop {
        let due = cursor_written.elapsed() >= CURSOR_INTERVAL;
        let cursor = async {
            if due {
                writer.write_cursor(place).await?;
            }
            anyhow::Ok(())
        };
        let next = async {
            records.recv_many(&mut slice, SLICE).await;
            if place.last_event_id.is_none() {
                begin(&slice, writer).await?;
            }
            writer.write(&slice).await
        };
        // The cursor holds up nothing: the next slice is on its way at the same time.
        try_join!(cursor, next)?;
        if due {
            cursor_written = Instant::now();
        }
        let Some(last) = slice.pop() else {
            return Ok(());
        };
        *place = last.place;
        slice.clear();
    }
}

/// The first cursor, before anything is sent: without one a restart would begin at its own time, and what was read
/// before would be lost. It has seen nothing, so that the first event comes again too.
async fn begin(slice: &[Record], writer: &Writer<'_>) -> Result<()> {
    let mut ids = slice.iter().map(|record| &record.place.last_event_id);
    let Some(id) = ids.find_map(Option::as_deref) else {
        return Ok(());
    };
    let first = id.parse().map_err(anyhow::Error::msg)?;
    writer.write_cursor(&first).await
}

type Client = FutureProducer<Log>;

struct Writer<'a> {
    config: &'a config::Producer,
    counters: &'a Counters,
    client: Client,
    /// Sends each message by itself; made when first needed.
    alone: OnceCell<Client>,
}

impl<'a> Writer<'a> {
    fn new(config: &'a config::Producer, counters: &'a Counters) -> Result<Self> {
        Ok(Self {
            config,
            counters,
            client: client(&config.broker, "10000")?,
            alone: OnceCell::new(),
        })
    }

    async fn write_cursor(&self, place: &Resume) -> Result<()> {
        cursor::write(&self.client, self.config, place).await
    }

    /// Returns when all of the slice is acknowledged, or passed over.
    ///
    /// # Errors
    /// What librdkafka has given up.
    async fn write(&self, slice: &[Record]) -> Result<()> {
        let refused = self.send(&self.client, slice.iter().collect()).await?;
        if refused.is_empty() {
            return Ok(());
        }
        // A whole batch is refused for one message, or for its length, so each is sent again by itself.
        let made = async { client(&self.config.broker, "1") };
        let alone = self.alone.get_or_try_init(|| made).await?;
        let refused = refused.into_iter().map(|(record, _)| record).collect();
        for (record, reason) in self.send(alone, refused).await? {
            self.counters.refused.add();
            let id = record.id.as_deref().unwrap_or("-");
            error!(id, "the broker does not take the event, passed over: {reason}");
        }
        Ok(())
    }

    /// Hands all records to librdkafka, which copies them, before it waits for what becomes of the first: so a user's
    /// events stay in their order. Returns those that were refused.
    async fn send<'r>(
        &self,
        client: &Client,
        records: Vec<&'r Record>,
    ) -> Result<Vec<(&'r Record, KafkaError)>> {
        let mut open = VecDeque::new();
        let mut refused = Vec::new();
        for record in records {
            let mut message = self.message(record);
            loop {
                match client.send_result(message) {
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                        message = again;
                    }
                    sent => {
                        open.push_back((record, sent.map_err(|(error, _)| error)));
                        break;
                    }
                }
                match open.pop_front() {
                    Some((record, sent)) => refused.extend(self.delivered(record, sent).await?),
                    // A delivery is told a moment before its room is free.
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        }
        for (record, sent) in open {
            refused.extend(self.delivered(record, sent).await?);
        }
        Ok(refused)
    }

    /// Waits until the record is acknowledged; gives it back where it is refused.
    async fn delivered<'r>(
        &self,
        record: &'r Record,
        sent: Result<DeliveryFuture, KafkaError>,
    ) -> Result<Option<(&'r Record, KafkaError)>> {
        let delivered = match sent {
            Ok(delivery) => delivery.await?.map_err(|(error, _)| error),
            Err(error) => Err(error),
        };
        match delivered {
            Ok(_) => {
                self.counters.acknowledged.add();
                Ok(None)
            }
            Err(error) if is_refusal(&error) => Ok(Some((record, error))),
            Err(error) => Err(plain(error).context("the broker did not take a message")),
        }
    }

    fn message<'m>(&'m self, record: &'m Record) -> FutureRecord<'m, str, [u8]> {
        let mut headers = OwnedHeaders::new_with_capacity(2);
        if let Some(id) = &record.id {
            headers = headers.insert(Header { key: "id", value: Some(id) });
        }
        let headers =
            headers.insert(Header { key: "content-type", value: Some(event::CONTENT_TYPE) });
        let topic = &self.config.broker.wikipedia_topic;
        let mut message = FutureRecord::to(topic).payload(&record.payload[..]).headers(headers);
        // One user's events share a partition, so that users add up over partitions. Without a user any will do.
        message.key = record.user.as_deref();
        message
    }

    /// Taking librdkafka down blocks, and can hang while the broker is away.
    async fn close(self) {
        let clients = (self.client, self.alone);
        _ = timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(clients))).await;
    }
}

fn client(config: &config::Broker, messages_in_a_batch: &str) -> Result<Client> {
    let fixed = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        // As other clients do it, so that a user has the same partition whoever writes.
        ("partitioner", "murmur2_random"),
        ("batch.num.messages", messages_in_a_batch),
    ];
    broker::settings(config, &[], &fixed)
        .create_with_context(Log::default())
        .map_err(broker::unusable)
}

/// Whether a message is at fault, this one or another of its batch, and not the way to the broker.
fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidDifferentRecord
        )
    )
}
