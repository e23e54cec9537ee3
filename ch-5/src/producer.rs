//! The role `producer`: reads the stream and writes its events to the topic, slice by slice. The cursor follows what is
//! acknowledged. While the broker is away, a bounded queue fills, and then reading waits; nothing is dropped. After five
//! minutes without the broker, the producer ends with an error.

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
use crate::resume::Resume;
use crate::retry;
use crate::wikimedia;

/// Reading passes the events to writing in pieces of at most this many. A piece has fewer if fewer have arrived.
const PIECE: usize = 50;

/// The most pieces in a slice, and in the queue that becomes the next one. While the queue is full, reading waits.
const PIECES: usize = 400;

/// The most bytes that the events which wait or are not acknowledged yet may hold, see `Record::size`. 40,000 usual events
/// hold 55 MB.
const BYTES: usize = 64 * 1024 * 1024;

/// About what a message needs beside its texts: 72 bytes here, and the rest in librdkafka.
const MESSAGE: usize = 600;

/// The most that a place needs beside the ids in it, which are those of records.
const PLACE: usize = 8 * 1024;

/// The room for a usual event as a message, in bytes.
const PAYLOAD: usize = 384;

/// How long a slice may take before `/ready` says that something is wrong.
const STALL: Duration = Duration::from_secs(5);

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
    let writer = Writer::new(&config, &counters, &health)?;
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
    let reading = cursor::read(writer.config, cursor::READ_TIMEOUT);
    let Some(resume) = shutdown.run_until_cancelled(reading).await.transpose()? else {
        return Ok(());
    };
    writer.health.is_whole();
    let counters = writer.counters.stream.clone();
    let events = wikimedia::events(&writer.config.stream, resume.clone(), counters)?;
    produce(events, resume, writer, shutdown).await
}

/// Reading has a task of its own. It goes on while a slice is on its way, and what it reads becomes the next slice.
async fn produce(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    mut place: Resume,
    writer: &Writer<'_>,
    shutdown: &CancellationToken,
) -> Result<()> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let events = events.take_until(shutdown.clone().cancelled_owned());
    let reading = tokio::spawn(read(events, sender));
    retry::in_time(shutdown, write_all(&mut pieces, &mut place, writer)).await?;
    drop(pieces);
    reading.await??;
    let Ok(written) = timeout(CURSOR_TIMEOUT, writer.write_cursor(&place)).await else {
        warn!("the cursor stays where it was: not acknowledged in time");
        return Ok(());
    };
    written
}

/// Events that were read together.
struct Piece {
    records: Vec<Record>,
    /// The id of the first event that has one.
    first_id: Option<Arc<str>>,
    /// The place after the last event.
    place: Resume,
    /// Its share of `BYTES`, which is free again when the piece is dropped.
    _bytes: OwnedSemaphorePermit,
}

/// An event as it is sent.
struct Record {
    payload: Vec<u8>,
    user: Option<String>,
    id: Option<String>,
}

impl Record {
    /// About what it holds, in bytes. librdkafka has a copy of it, and its id is also in a place.
    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_deref().map_or(0, str::len);
        let copied = self.payload.len() + length(&self.user);
        self.payload.capacity() + copied + length(&self.user) + 3 * length(&self.id) + MESSAGE
    }
}

async fn read(
    events: impl Stream<Item = (Event, Resume)>,
    sender: mpsc::Sender<Piece>,
) -> Result<()> {
    let bytes = Arc::new(Semaphore::new(BYTES));
    let mut pieces = pin!(events.ready_chunks(PIECE));
    while let Some(piece) = pieces.next().await {
        let first_id = piece.iter().find_map(|(_, place)| place.last_event_id.clone());
        let (mut records, mut last, mut size) = (Vec::with_capacity(piece.len()), None, PLACE);
        for (event, place) in piece {
            let mut payload = Vec::with_capacity(PAYLOAD);
            event.encode(&mut payload)?;
            let record = Record { payload, user: event.user, id: event.id };
            size += record.size();
            records.push(record);
            last = Some(place);
        }
        // A piece that is larger than the limit waits until it is the only one.
        let permits = u32::try_from(size.min(BYTES))?;
        let _bytes = Arc::clone(&bytes).acquire_many_owned(permits).await?;
        let place = last.unwrap_or_default();
        if sender.send(Piece { records, first_id, place, _bytes }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes slice after slice until the reading has ended. All events up to `place` are acknowledged.
async fn write_all(
    pieces: &mut mpsc::Receiver<Piece>,
    place: &mut Resume,
    writer: &Writer<'_>,
) -> Result<()> {
    let mut slice = Vec::new();
    let (mut moved, mut cursor_due) = (false, Instant::now() + CURSOR_INTERVAL);
    loop {
        tokio::select! {
            _ = pieces.recv_many(&mut slice, PIECES) => {}
            // Also while the stream is silent.
            () = sleep_until(cursor_due), if moved => {
                writer.write_cursor(place).await?;
                (moved, cursor_due) = (false, Instant::now() + CURSOR_INTERVAL);
                continue;
            }
        }
        // If the producer died before its first cursor, a restart would begin with the newest event, and lose those in
        // between. So the id of the first event is written as the cursor before this event is sent; it comes again then.
        if place.last_event_id.is_none()
            && let Some(id) = slice.iter().find_map(|piece| piece.first_id.as_deref())
        {
            writer.write_cursor(&id.parse().map_err(anyhow::Error::msg)?).await?;
        }
        writer.write(slice.iter().flat_map(|piece| &piece.records)).await?;
        let Some(last) = slice.pop() else {
            return Ok(());
        };
        (*place, moved) = (last.place, true);
        slice.clear();
    }
}

type Client = FutureProducer<Log>;

struct Writer<'a> {
    config: &'a config::Producer,
    counters: &'a Counters,
    health: &'a Health,
    client: Client,
    /// Its batches have only one message. It is made when it is needed for the first time.
    alone: OnceCell<Client>,
}

impl<'a> Writer<'a> {
    fn new(
        config: &'a config::Producer,
        counters: &'a Counters,
        health: &'a Health,
    ) -> Result<Self> {
        let client = client(&config.broker, "10000")?;
        Ok(Self { config, counters, health, client, alone: OnceCell::new() })
    }

    async fn write_cursor(&self, place: &Resume) -> Result<()> {
        cursor::write(&self.client, self.config, place).await
    }

    /// Returns when each event of the slice is acknowledged, or refused for good.
    ///
    /// # Errors
    /// What librdkafka has given up.
    async fn write(&self, slice: impl Iterator<Item = &Record>) -> Result<()> {
        let mut writing = pin!(self.write_each(slice));
        if let Ok(written) = timeout(STALL, &mut writing).await {
            return written;
        }
        self.health.lacks("the broker does not acknowledge messages");
        let written = writing.await;
        self.health.is_whole();
        written
    }

    async fn write_each(&self, slice: impl Iterator<Item = &Record>) -> Result<()> {
        let refused = self.send(&self.client, slice).await?;
        if refused.is_empty() {
            return Ok(());
        }
        // A whole batch is refused because of one message, or of its size, so each is sent again by itself.
        let alone = async || client(&self.config.broker, "1");
        let alone = self.alone.get_or_try_init(alone).await?;
        let refused = refused.into_iter().map(|(record, _)| record);
        for (record, reason) in self.send(alone, refused).await? {
            self.counters.refused.add();
            let id = record.id.as_deref().unwrap_or("-");
            error!(id, "the broker does not take the event, passed over: {reason}");
        }
        Ok(())
    }

    /// Hands all records to librdkafka before it waits for the first to be acknowledged, so that a user's events stay
    /// in their order. Returns those that were refused.
    async fn send<'r>(
        &self,
        client: &Client,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<Vec<(&'r Record, KafkaError)>> {
        let mut open = VecDeque::new();
        let mut refused = Vec::new();
        for record in records {
            let mut sent = client.send_result(self.message(record));
            while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) = sent
            {
                match open.pop_front() {
                    Some((record, sent)) => refused.extend(self.delivered(record, sent).await?),
                    // The last delivery has been reported, and its room is free in a moment.
                    None => sleep(Duration::from_millis(1)).await,
                }
                sent = client.send_result(back);
            }
            open.push_back((record, sent.map_err(|(error, _)| error)));
        }
        for (record, sent) in open {
            refused.extend(self.delivered(record, sent).await?);
        }
        Ok(refused)
    }

    /// Waits until the record is acknowledged, or returns it if it is refused.
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
            Err(error) if REFUSALS.map(Some).contains(&error.rdkafka_error_code()) => {
                Ok(Some((record, error)))
            }
            Err(error) => Err(plain(error).context("the broker did not take a message")),
        }
    }

    fn message<'m>(&'m self, record: &'m Record) -> FutureRecord<'m, str, [u8]> {
        let id = record.id.as_deref().map(|id| ("id", id));
        let mut headers = OwnedHeaders::new();
        for (key, value) in id.into_iter().chain([("content-type", event::CONTENT_TYPE)]) {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let topic = &self.config.broker.wikipedia_topic;
        let message = FutureRecord::to(topic).payload(&record.payload[..]).headers(headers);
        // All events of a user are in one partition, so that the numbers of users can be added up over the partitions.
        FutureRecord { key: record.user.as_deref(), ..message }
    }

    /// Dropping a client blocks the thread, and may never end while the broker is away.
    async fn close(self) {
        let clients = (self.client, self.alone);
        _ = timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(clients))).await;
    }
}

fn client(config: &config::Broker, messages_in_a_batch: &str) -> Result<Client> {
    let fixed = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        // Most other clients use it too, so that a user has the same partition whichever program writes.
        ("partitioner", "murmur2_random"),
        ("batch.num.messages", messages_in_a_batch),
    ];
    broker::settings(config, &[], &fixed)
        .create_with_context(Log::default())
        .map_err(broker::unusable)
}
