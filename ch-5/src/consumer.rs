//! Reads the topic into the store. While a write fails nothing is read; an offset is committed when what stands before
//! it is written, so that a restart, or another member of the group, goes on there.

mod group;
#[cfg(test)]
mod kafka_tests;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::future::ready;
use rdkafka::consumer::Consumer;
use tokio::task::spawn_blocking;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use tracing::info;
use tracing::warn;

use crate::config;
pub use crate::consumer::group::Counters;
use crate::consumer::group::Received;
use crate::consumer::group::consumer;
use crate::event::Event;
use crate::store::StatsStore;

/// At most so many events are written at once, fewer where fewer have arrived.
const SLICE: usize = 500;

/// The first wait before a write is tried again; it doubles up to the second.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What the shutdown grants, of the 9 s that it has in all: to writing the last slice, then to the last commit and to
/// leaving the group.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads until shutdown.
///
/// # Errors
/// The consumer can't be made, or must not go on. What passes is logged and ridden out.
pub async fn run(
    config: config::Consumer,
    counters: Counters,
    store: StatsStore,
    shutdown: CancellationToken,
) -> Result<()> {
    let topic = config.broker.wikipedia_topic.as_str();
    let consumer = consumer(&config, counters.clone())?;
    consumer.subscribe(&[topic]).context("cannot subscribe")?;
    let group = consumer.context();
    let messages = consumer
        .stream()
        .filter_map(|message| ready(group.received(message)));
    let written = |partition, next_offset: i64| {
        // This takes the offset of a message, and commits the next one.
        if let Err(error) = consumer.store_offset(topic, partition, next_offset - 1) {
            // The partition was taken away: its new owner reads on from the last commit.
            debug!(partition, next_offset, "offset not stored: {error}");
        }
    };
    let consumed = consume(messages, &group.generation, written, &store, &shutdown);
    let result = in_time(consumed, &shutdown).await;
    info!(
        messages = counters.messages.total(),
        skipped = counters.skipped.total(),
        "reading ended"
    );
    // It commits, leaves the group, and throws away what it has fetched: all of that blocks.
    if timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(consumer)))
        .await
        .is_err()
    {
        warn!("the group was not left in time; its others wait until this member is missed");
    }
    result
}

/// After the signal `consumed` has time to write what it took; what a slow store does not take comes again.
async fn in_time(
    consumed: impl Future<Output = Result<()>>,
    shutdown: &CancellationToken,
) -> Result<()> {
    let late = async {
        shutdown.cancelled().await;
        sleep(WRITE_TIMEOUT).await;
    };
    tokio::select! {
        result = consumed => result,
        () = late => {
            warn!("the last slice is not written in time, to be read again");
            Ok(())
        }
    }
}

/// Writes what comes, and calls `written` with the next offset of a partition when all before it is written.
async fn consume(
    messages: impl Stream<Item = Result<Received>>,
    generation: &AtomicU64,
    written: impl Fn(i32, i64),
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> Result<()> {
    let messages = messages.take_until(shutdown.cancelled());
    let mut slices = pin!(messages.ready_chunks(SLICE));
    let mut known = generation.load(Ordering::SeqCst);
    while let Some(slice) = slices.next().await {
        let current = generation.load(Ordering::SeqCst);
        if current != known {
            store.forget().await;
            known = current;
        }
        let mut partitions: BTreeMap<i32, (Vec<Event>, i64)> = BTreeMap::new();
        for message in slice {
            let message = message?;
            // What was polled before the last change comes again, here or to the new owner.
            if message.generation == current {
                let (events, next_offset) = partitions.entry(message.partition).or_default();
                events.extend(message.event);
                *next_offset = message.offset + 1;
            }
        }
        for (partition, (events, next_offset)) in partitions {
            if !record(partition, &events, next_offset, store, shutdown).await {
                return Ok(());
            }
            written(partition, next_offset);
        }
        // A full topic never has this task wait, and others have something to do too.
        yield_now().await;
    }
    Ok(())
}

/// Tries until it is written. A shutdown ends the trying, with `false`: the events come again, for the offset is not
/// committed either.
async fn record(
    partition: i32,
    events: &[Event],
    next_offset: i64,
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> bool {
    let mut wait = SHORTEST_WAIT;
    while let Err(error) = store.record(partition, events, next_offset).await {
        if shutdown.is_cancelled() {
            warn!(
                events = events.len(),
                "not written, to be read again: {error:#}"
            );
            return false;
        }
        warn!(
            partition,
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
    use std::sync::Mutex;

    use futures_util::stream;

    use super::*;

    fn message(generation: u64, partition: i32, offset: i64) -> Result<Received> {
        Ok(Received {
            generation,
            partition,
            offset,
            event: Some(Event::default()),
        })
    }

    fn endless(read: Arc<std::sync::atomic::AtomicUsize>) -> impl Stream<Item = Result<Received>> {
        stream::repeat_with(move || {
            let offset = read.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            message(0, 0, offset as i64)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn failed_write_is_tried_again_and_nothing_is_lost_or_doubled() {
        let store = StatsStore::Failing(Arc::default(), Arc::new(7.into()));
        let offsets = 0..2 * SLICE as i64 + 1;
        let events = stream::iter(offsets.map(|offset| message(0, (offset % 3) as i32, offset)));
        let committed = Mutex::new(BTreeMap::new());
        let written = |partition, next_offset| {
            committed.lock().unwrap().insert(partition, next_offset);
        };
        let generation = AtomicU64::new(0);
        consume(
            events,
            &generation,
            written,
            &store,
            &CancellationToken::new(),
        )
        .await
        .unwrap();
        assert_eq!(
            store.snapshot(1).await.unwrap().messages,
            2 * SLICE as u64 + 1
        );
        let last = 2 * SLICE as i64;
        let expected = [last - 2, last - 1, last].map(|offset| ((offset % 3) as i32, offset + 1));
        assert_eq!(*committed.lock().unwrap(), expected.into());
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
        let generation = AtomicU64::new(0);
        let written = |_, _| panic!("not written");
        let messages = endless(Arc::clone(&read));
        let consumed = consume(messages, &generation, written, &store, &shutdown);
        tokio::join!(consumed, stop).0.unwrap();
        let read = read.load(std::sync::atomic::Ordering::SeqCst);
        assert!(read <= SLICE, "{read} read");
        assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
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
        let generation = AtomicU64::new(0);
        let two = stream::iter([message(0, 0, 0), message(0, 1, 0)]).chain(stream::pending());
        let written = |_, _| panic!("not written");
        let consumed = consume(two, &generation, written, &store, &shutdown);
        tokio::join!(consumed, stop).0.unwrap();
        assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_hangs_does_not_hold_up_the_shutdown() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let hanging = std::future::pending();
        tokio::time::timeout(2 * WRITE_TIMEOUT, in_time(hanging, &shutdown))
            .await
            .unwrap()
            .unwrap();
    }

    /// The second message was polled before a change of the assignment, and is sent again after it.
    #[tokio::test]
    async fn what_was_polled_before_a_rebalance_is_dropped_and_the_totals_are_forgotten() {
        let store = StatsStore::Memory(Arc::default());
        let generation = AtomicU64::new(1);
        let later = async {
            generation.store(2, Ordering::SeqCst);
            message(1, 0, 1)
        };
        let messages = stream::iter([message(1, 0, 0)])
            .chain(stream::once(async {
                // Ends the first slice.
                yield_now().await;
                later.await
            }))
            .chain(stream::iter([message(2, 0, 0), message(2, 0, 1)]));
        let committed = Mutex::new(Vec::new());
        let written = |_, next_offset| committed.lock().unwrap().push(next_offset);
        consume(
            messages,
            &generation,
            written,
            &store,
            &CancellationToken::new(),
        )
        .await
        .unwrap();
        assert_eq!(*committed.lock().unwrap(), [1, 2]);
        assert_eq!(store.snapshot(1).await.unwrap().messages, 2);
    }
}
