//! Reads the stream into the store. While a write fails a bounded queue fills, and then reading waits; after a
//! restart it goes on where the store stands.

use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::event::Event;
use crate::resume::Resume;
use crate::store::StatsStore;
use crate::wikimedia;
use crate::wikimedia::Counters;

/// Events are handed from reading to writing in pieces of at most so many, fewer where fewer have arrived.
const PIECE: usize = 50;

/// At most so many pieces wait; together they are written at once. With a full queue reading waits.
const PIECES: usize = 100;

/// The first wait before a write is tried again; it doubles up to the second.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Reads until shutdown.
///
/// # Errors
/// The stream's client can't be made.
pub async fn run(
    config: config::Serve,
    counters: Counters,
    store: StatsStore,
    shutdown: CancellationToken,
) -> Result<()> {
    let events = wikimedia::events(&config.stream, store.resume().await, counters.clone())?;
    consume(events, &store, &shutdown).await?;
    info!("reading ended: {counters}");
    Ok(())
}

type Piece = Vec<(Event, Resume)>;

/// Reading has a task of its own: it goes on while a slice is written, and the next slice is what came meanwhile.
async fn consume(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> Result<()> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let events = events.take_until(shutdown.clone().cancelled_owned());
    let reading = tokio::spawn(read(events, sender));
    let mut slice = Vec::new();
    while pieces.recv_many(&mut slice, PIECES).await > 0 {
        let (events, places): (Vec<Event>, Vec<Resume>) = slice.drain(..).flatten().unzip();
        if let Some(place) = places.last()
            && !record(&events, place, store, shutdown).await
        {
            // What waits must not be written either: the place would be after events that were not.
            break;
        }
    }
    drop(pieces);
    Ok(reading.await?)
}

async fn read(events: impl Stream<Item = (Event, Resume)>, sender: mpsc::Sender<Piece>) {
    let mut pieces = pin!(events.ready_chunks(PIECE));
    while let Some(piece) = pieces.next().await {
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

/// Tries until it is written. A shutdown ends the trying, with `false`: the events come again, for the place is not
/// written either.
async fn record(
    events: &[Event],
    place: &Resume,
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> bool {
    let mut wait = SHORTEST_WAIT;
    while let Err(error) = store.record(events, place).await {
        if shutdown.is_cancelled() {
            warn!(
                events = events.len(),
                "not written, to be read again: {error:#}"
            );
            return false;
        }
        warn!(
            events = events.len(),
            ?wait,
            "writing again, reading waits: {error:#}"
        );
        shutdown.run_until_cancelled(sleep(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;

    use super::*;

    fn endless(read: Arc<std::sync::atomic::AtomicUsize>) -> impl Stream<Item = (Event, Resume)> {
        stream::repeat_with(move || {
            read.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            (Event::default(), Resume::default())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn failed_write_is_tried_again_and_nothing_is_lost_or_doubled() {
        let store = StatsStore::Failing(Arc::default(), Arc::new(7.into()));
        let events = stream::iter(vec![
            (Event::default(), Resume::default());
            2 * PIECES * PIECE + 1
        ]);
        consume(events, &store, &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(
            store.snapshot().await.unwrap().messages,
            2 * (PIECES * PIECE) as u64 + 1
        );
    }

    #[tokio::test(start_paused = true)]
    async fn reading_waits_while_the_store_is_away_and_shutdown_ends_the_waiting() {
        let store = StatsStore::Failing(Arc::default(), Arc::new(u32::MAX.into()));
        let read = Arc::default();
        let shutdown = CancellationToken::new();
        let stop = async {
            sleep(Duration::from_secs(600)).await;
            shutdown.cancel();
        };
        let consumed = consume(endless(Arc::clone(&read)), &store, &shutdown);
        tokio::join!(consumed, stop).0.unwrap();
        // The slice that is being written, the one that waits, and a piece for which there is no room.
        let read = read.load(std::sync::atomic::Ordering::SeqCst);
        assert!(read <= PIECE * (2 * PIECES + 1), "{read} read");
        assert_eq!(store.snapshot().await.unwrap().messages, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_slice_given_up_at_shutdown_is_not_written() {
        // The try at once and the one at shutdown fail; the next one would not.
        let store = StatsStore::Failing(Arc::default(), Arc::new(2.into()));
        let shutdown = CancellationToken::new();
        let stop = async {
            sleep(SHORTEST_WAIT / 2).await;
            shutdown.cancel();
        };
        let consumed = consume(endless(Arc::default()), &store, &shutdown);
        tokio::join!(consumed, stop).0.unwrap();
        assert_eq!(store.snapshot().await.unwrap().messages, 0);
    }
}
