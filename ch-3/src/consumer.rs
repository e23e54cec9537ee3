//! Reads the stream into the store. While a write fails nothing is read: the stream waits, and goes on where the
//! store stands.

use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::event::Event;
use crate::store::StatsStore;
use crate::wikimedia;
use crate::wikimedia::Counters;
use crate::wikimedia::Resume;

/// At most so many events are written at once; fewer where fewer have arrived.
const SLICE: usize = 5000;

/// The first wait before a write is tried again; it doubles up to the second.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Reads until shutdown.
///
/// # Errors
/// The stream's client can't be made.
pub async fn run(
    config: config::Stream,
    store: StatsStore,
    shutdown: CancellationToken,
) -> Result<()> {
    let counters = Counters::default();
    let events = wikimedia::events(&config, store.resume().await, counters.clone())?;
    consume(events, &store, &shutdown).await;
    info!("reading ended: {counters}");
    Ok(())
}

async fn consume(
    events: impl Stream<Item = (Event, Resume)>,
    store: &StatsStore,
    shutdown: &CancellationToken,
) {
    let mut slices = pin!(events.take_until(shutdown.cancelled()).ready_chunks(SLICE));
    while let Some(slice) = slices.next().await {
        let (events, places): (Vec<Event>, Vec<Resume>) = slice.into_iter().unzip();
        if let Some(place) = places.last() {
            record(&events, place, store, shutdown).await;
        }
    }
}

/// Tries until it is written. A shutdown ends the trying: the events come again, for the place is not written either.
async fn record(
    events: &[Event],
    place: &Resume,
    store: &StatsStore,
    shutdown: &CancellationToken,
) {
    let mut wait = SHORTEST_WAIT;
    while let Err(error) = store.record(events, place).await {
        if shutdown.is_cancelled() {
            warn!(
                events = events.len(),
                "not written, to be read again: {error:#}"
            );
            return;
        }
        warn!(
            events = events.len(),
            ?wait,
            "writing again, reading waits: {error:#}"
        );
        shutdown.run_until_cancelled(sleep(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
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
        let events = stream::iter(vec![(Event::default(), Resume::default()); SLICE * 2 + 1]);
        consume(events, &store, &CancellationToken::new()).await;
        assert_eq!(
            store.snapshot().await.unwrap().messages,
            SLICE as u64 * 2 + 1
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
        tokio::join!(consume(endless(Arc::clone(&read)), &store, &shutdown), stop);
        assert_eq!(read.load(std::sync::atomic::Ordering::SeqCst), SLICE);
        assert_eq!(store.snapshot().await.unwrap().messages, 0);
    }
}
