//! Reads the stream into the store. While writes fail, a bounded queue fills, and then reading stops. After a restart,
//! reading goes on after the place that is in the store.

use std::pin::pin;

use anyhow::Result;
use anyhow::anyhow;
use futures_util::Stream;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config;
use crate::event::Event;
use crate::resume::Resume;
use crate::retry;
use crate::store::StatsStore;
use crate::wikimedia;
use crate::wikimedia::Counters;

/// Reading passes the events to writing in pieces of at most this many. A piece has fewer if fewer have arrived.
const PIECE: usize = 50;

/// The most pieces in the queue. All that are in it are written together. While it is full, reading waits.
const PIECES: usize = 100;

/// Reads until shutdown.
///
/// # Errors
/// The stream's client can't be made, or the place in the store is not one.
pub async fn run(
    config: config::Serve,
    counters: Counters,
    store: StatsStore,
    shutdown: CancellationToken,
) -> Result<()> {
    let consumed = async {
        let loaded = retry::until_shutdown(&shutdown, || store.load());
        let Some(cursor) = loaded.await else {
            return Ok(());
        };
        let events = wikimedia::events(&config.stream, place(cursor)?, counters.clone())?;
        consume(events, &store, &shutdown).await
    };
    let result = retry::in_time(&shutdown, consumed).await;
    info!("reading ended: {counters}");
    result
}

/// The place where reading goes on.
fn place(cursor: Option<String>) -> Result<Resume> {
    let Some(cursor) = cursor else {
        return Ok(Resume::default());
    };
    cursor.parse().map_err(|error| anyhow!("bad cursor in the store: {error}"))
}

/// Events that were read together, and the place after the last of them.
type Piece = (Vec<Event>, Resume);

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
        let (events, places): (Vec<Vec<Event>>, Vec<Resume>) = slice.drain(..).unzip();
        let events: Vec<Event> = events.into_iter().flatten().collect();
        let Some(place) = places.last() else {
            continue;
        };
        let record = || store.record(&events, place);
        if retry::until_shutdown(shutdown, record).await.is_none() {
            // The queue is not written either: the place would then be after events that are not counted.
            break;
        }
    }
    drop(pieces);
    Ok(reading.await?)
}

async fn read(events: impl Stream<Item = (Event, Resume)>, sender: mpsc::Sender<Piece>) {
    let mut pieces = pin!(events.ready_chunks(PIECE));
    while let Some(piece) = pieces.next().await {
        let (events, mut places): (Vec<Event>, Vec<Resume>) = piece.into_iter().unzip();
        let place = places.pop().unwrap_or_default();
        if sender.send((events, place)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;
    use crate::retry::SHORTEST_WAIT;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Consumes until the end of `events`, or a shutdown after `wait`.
    async fn consumed(
        events: impl Stream<Item = (Event, Resume)> + Send + 'static,
        store: &StatsStore,
        wait: Duration,
    ) {
        let shutdown = CancellationToken::new();
        let consumed = consume(events, store, &shutdown);
        let stop = async {
            sleep(wait).await;
            shutdown.cancel();
        };
        tokio::join!(consumed, stop).0.unwrap();
    }

    fn endless(read: Arc<AtomicUsize>) -> impl Stream<Item = (Event, Resume)> {
        stream::repeat_with(move || {
            read.fetch_add(1, Ordering::SeqCst);
            (Event::default(), Resume::default())
        })
    }

    /// Trying again would not help, and beginning now would lose events.
    #[test]
    fn bad_cursor_in_the_store_is_an_error() {
        assert_eq!(place(None).unwrap(), Resume::default());
        let resume: Resume = r#"[{"timestamp":5}]"#.parse().unwrap();
        assert_eq!(place(Some(resume.to_string())).unwrap(), resume);
        for cursor in ["", "null", "5", "[1", "{}"] {
            let error = place(Some(cursor.to_owned())).unwrap_err().to_string();
            assert!(error.starts_with("bad cursor in the store: "), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_write_is_tried_again_and_nothing_is_lost_or_doubled() {
        let store = StatsStore::failing(0, 7);
        let events = vec![(Event::default(), Resume::default()); 2 * PIECES * PIECE + 1];
        consumed(stream::iter(events), &store, HOUR).await;
        let counted = store.snapshot().await.unwrap().messages;
        assert_eq!(counted, 2 * (PIECES * PIECE) as u64 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn reading_waits_while_the_store_is_away_and_shutdown_ends_the_waiting() {
        let store = StatsStore::failing(0, u32::MAX);
        let read = Arc::default();
        consumed(endless(Arc::clone(&read)), &store, HOUR).await;
        // The slice that is being written, the one that waits, and a piece for which there is no room.
        let read = read.load(Ordering::SeqCst);
        assert!(read <= PIECE * (2 * PIECES + 1), "{read} read");
        assert_eq!(store.snapshot().await.unwrap().messages, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_slice_given_up_at_shutdown_is_not_written() {
        // The try at once and the one at shutdown fail; the next one would not.
        let store = StatsStore::failing(0, 2);
        consumed(endless(Arc::default()), &store, SHORTEST_WAIT / 2).await;
        assert_eq!(store.snapshot().await.unwrap().messages, 0);
    }
}
