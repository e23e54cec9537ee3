//! Reads the stream into the store. While writes fail, a bounded queue fills, and then reading stops. After a restart,
//! reading goes on after the place that is in the store.

use anyhow::Result;
use anyhow::anyhow;
use futures_util::Stream;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config;
use crate::event::Event;
use crate::health::Health;
use crate::queue::Queue;
use crate::resume::Resume;
use crate::retry;
use crate::store::StatsStore;
use crate::wikimedia;
use crate::wikimedia::Counters;

/// Reads until shutdown.
///
/// # Errors
/// The stream's client can't be made, or the place in the store is not one.
pub async fn run(
    config: config::Serve,
    counters: Counters,
    store: StatsStore,
    health: Health,
    shutdown: CancellationToken,
) -> Result<()> {
    health.lacks("the totals have not been loaded yet");
    let consumed = async {
        let loaded = retry::until_shutdown(&shutdown, || store.load());
        let Some(cursor) = loaded.await else {
            return Ok(());
        };
        health.is_whole();
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

async fn consume(
    events: impl Stream<Item = (Event, Resume)> + Send + 'static,
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut queue = Queue::of(events, shutdown);
    while let Some((events, place)) = queue.slice().await {
        let record = || store.record(&events, &place);
        if retry::until_shutdown(shutdown, record).await.is_none() {
            // The queue is not written either: the place would then be after events that are not counted.
            break;
        }
    }
    queue.end().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use futures_util::stream;
    use tokio::time::sleep;
    use tokio::time::timeout;

    use super::*;
    use crate::auth::EXAMPLE_HASH;
    use crate::auth::EXAMPLE_SECRET;
    use crate::queue::PIECE;
    use crate::queue::PIECES;
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
    async fn role_is_not_ready_while_the_totals_cannot_be_loaded() {
        let options = ["--jwt-secret", EXAMPLE_SECRET, "--admin-username", "admin"];
        let options = [&options[..], &["--admin-password-hash", EXAMPLE_HASH]].concat();
        let (store, health) = (StatsStore::failing(u32::MAX, 0), Health::default());
        let shutdown = CancellationToken::new();
        let config = config::for_test(&options);
        let running = run(config, Counters::default(), store, health.clone(), shutdown);
        assert!(timeout(HOUR, running).await.is_err());
        let missing = health.ready().await.unwrap_err().to_string();
        assert_eq!(missing, "the totals have not been loaded yet");
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
