//! Reads the topic into the store. While a write fails nothing is read; an offset is committed when what stands before
//! it is written, so that a restart, or another member of the group, goes on there.

mod group;
#[cfg(test)]
mod kafka_tests;

use std::collections::BTreeMap;
use std::collections::HashMap;
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
use crate::consumer::group::Received;
use crate::counter::Counter;
use crate::event::Event;
use crate::log_limit::LogLimit;
use crate::retry;
use crate::store::StatsStore;

/// At most so many messages are written at once, fewer where fewer have arrived.
const SLICE: usize = 500;

/// What the shutdown grants, of the 9 s that it has in all: to writing the last slice, then to the last commit and to
/// leaving the group.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Default)]
pub struct Counters {
    pub messages: Counter,
    /// Those of them that could not be decoded.
    pub skipped: Counter,
}

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
    let consumer = group::consumer(&config, &group::id(&config))?;
    consumer.subscribe(&[topic]).context("cannot subscribe")?;
    let group = consumer.context();
    let messages = consumer.stream().filter_map(|message| ready(group.received(message)));
    let written = |partition, next_offset: i64| {
        // This takes the offset of a message, and commits the next one.
        if let Err(error) = consumer.store_offset(topic, partition, next_offset - 1) {
            // The partition was taken away: its new owner reads on from the last commit.
            debug!(partition, next_offset, "offset not stored: {error}");
        }
    };
    let generation = &group.generation;
    let consumed = consume(messages, generation, written, &counters, &store, &shutdown);
    let result = in_time(consumed, &shutdown).await;
    info!(
        messages = counters.messages.total(),
        skipped = counters.skipped.total(),
        "reading ended"
    );
    // It commits, leaves the group, and throws away what it has fetched: all of that blocks.
    if timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(consumer))).await.is_err() {
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

/// What a slice holds of one partition.
#[derive(Default)]
struct Share {
    events: Vec<Event>,
    first_offset: i64,
    next_offset: i64,
}

/// Writes what comes, and calls `written` with the next offset of a partition when all before it is written.
async fn consume(
    messages: impl Stream<Item = Result<Received>>,
    generation: &AtomicU64,
    written: impl Fn(i32, i64),
    counters: &Counters,
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> Result<()> {
    // Whoever looks for a skipped message finds its offset in the log, but a flood of them does not flood the log.
    let skips = LogLimit::<1000>::default();
    let messages = messages.take_until(shutdown.cancelled());
    let mut slices = pin!(messages.ready_chunks(SLICE));
    // The generation in which a partition was loaded last. Before the next one another consumer may have counted it.
    let mut loaded = HashMap::new();
    while let Some(slice) = slices.next().await {
        let current = generation.load(Ordering::SeqCst);
        let mut shares: BTreeMap<i32, Share> = BTreeMap::new();
        for message in slice {
            let message = message?;
            // What was polled before the last change comes again, here or to the new owner.
            if message.generation != current {
                continue;
            }
            counters.messages.add();
            let share = shares
                .entry(message.partition)
                .or_insert_with(|| Share { first_offset: message.offset, ..Share::default() });
            share.next_offset = message.offset + 1;
            match message.event {
                Ok(event) => share.events.push(event),
                Err(bad) => {
                    counters.skipped.add();
                    if let Some(withheld) = skips.allows() {
                        bad.log(withheld);
                    }
                }
            }
        }
        for (partition, share) in shares {
            if loaded.insert(partition, current) != Some(current) {
                let load = || store.load(partition);
                let Some(position) = retry::until_shutdown(shutdown, load).await else {
                    return Ok(());
                };
                let events = doubles(position, share.first_offset);
                if events > 0 {
                    warn!(partition, events, "written and not committed, so counted again");
                }
            }
            let record = || store.record(partition, &share.events, share.next_offset);
            if retry::until_shutdown(shutdown, record).await.is_none() {
                // They come again, for their offset is not committed either.
                return Ok(());
            }
            written(partition, share.next_offset);
        }
        // A full topic never has this task wait, and others have something to do too.
        yield_now().await;
    }
    Ok(())
}

/// How many of the events that come the totals hold already.
fn doubles(position: Option<i64>, first_offset: i64) -> i64 {
    position.map_or(0, |next_offset| (next_offset - first_offset).max(0))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use futures_util::stream;

    use super::*;
    use crate::retry::SHORTEST_WAIT;

    const HOUR: Duration = Duration::from_secs(3600);

    fn message(generation: u64, partition: i32, offset: i64) -> Result<Received> {
        let domain = Some(partition.to_string());
        Ok(Received {
            generation,
            partition,
            offset,
            event: Ok(Event { domain, ..Event::default() }),
        })
    }

    /// Consumes until the end of `messages`, or a shutdown after `wait`, and gives what it committed, in order.
    async fn committed(
        messages: impl Stream<Item = Result<Received>>,
        generation: &AtomicU64,
        store: &StatsStore,
        wait: Duration,
    ) -> Vec<(i32, i64)> {
        let committed = Mutex::new(Vec::new());
        let written = |partition, offset| committed.lock().unwrap().push((partition, offset));
        let (counters, shutdown) = (Counters::default(), CancellationToken::new());
        let consumed = consume(messages, generation, written, &counters, store, &shutdown);
        let stop = async {
            sleep(wait).await;
            shutdown.cancel();
        };
        tokio::join!(consumed, stop).0.unwrap();
        committed.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn failed_load_or_write_is_tried_again_and_nothing_is_lost_or_doubled() {
        let store = StatsStore::failing(5, 7);
        let offsets = 0..2 * SLICE as i64 + 1;
        let messages = stream::iter(offsets.map(|offset| message(0, (offset % 3) as i32, offset)));
        let committed = committed(messages, &AtomicU64::new(0), &store, HOUR).await;
        let counted = store.snapshot(1).await.unwrap().messages;
        assert_eq!(counted, 2 * SLICE as u64 + 1);
        let last = 2 * SLICE as i64;
        let expected = [last - 2, last - 1, last].map(|offset| ((offset % 3) as i32, offset + 1));
        let committed: BTreeMap<i32, i64> = committed.into_iter().collect();
        assert_eq!(committed, expected.into());
    }

    #[tokio::test(start_paused = true)]
    async fn reading_waits_while_the_store_is_away_and_shutdown_ends_the_waiting() {
        for (loads, writes) in [(u32::MAX, 0), (0, u32::MAX)] {
            let store = StatsStore::failing(loads, writes);
            let read = AtomicUsize::new(0);
            let endless = stream::repeat_with(|| {
                let offset = read.fetch_add(1, Ordering::SeqCst);
                message(0, 0, offset as i64)
            });
            let committed = committed(endless, &AtomicU64::new(0), &store, HOUR).await;
            let read = read.load(Ordering::SeqCst);
            assert!(read <= SLICE, "{read} read");
            assert_eq!(committed, []);
            assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_slice_given_up_at_shutdown_is_not_written() {
        // The try at once and the one at shutdown fail; the next one would not.
        for (loads, writes) in [(2, 0), (0, 2)] {
            let store = StatsStore::failing(loads, writes);
            let two = stream::iter([message(0, 0, 0), message(0, 1, 0)]).chain(stream::pending());
            let committed = committed(two, &AtomicU64::new(0), &store, SHORTEST_WAIT / 2).await;
            assert_eq!(committed, []);
            assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_hangs_does_not_hold_up_the_shutdown() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let ended = timeout(2 * WRITE_TIMEOUT, in_time(pending(), &shutdown)).await;
        ended.unwrap().unwrap();
    }

    /// Each slice comes with another generation of the assignment. In the memory store a partition that is loaded begins
    /// anew.
    #[tokio::test(start_paused = true)]
    async fn rebalance_drops_what_was_polled_before_it_and_loads_what_is_read_after_it() {
        let store = StatsStore::Memory(Arc::default());
        let generation = AtomicU64::new(0);
        let slices = [
            (1, vec![message(1, 0, 0), message(1, 1, 0)]),
            (1, vec![message(1, 0, 1), message(1, 1, 1)]),
            (2, vec![message(1, 1, 2), message(2, 1, 1), message(2, 2, 0)]),
            (2, vec![message(2, 1, 2), message(2, 2, 1)]),
            (2, vec![message(2, 1, 3)]),
        ];
        let slices = stream::iter(slices).then(async |(assigned, slice)| {
            // Ends the slice before.
            yield_now().await;
            generation.store(assigned, Ordering::SeqCst);
            stream::iter(slice)
        });
        let committed = committed(slices.flatten(), &generation, &store, HOUR).await;
        let before = [(0, 1), (1, 1), (0, 2), (1, 2)];
        let after = [(1, 2), (2, 1), (1, 3), (2, 2), (1, 4)];
        assert_eq!(committed, [&before[..], &after].concat());
        let counts = [("0", 2), ("1", 3), ("2", 2)];
        let expected = counts.map(|(partition, count)| (partition.to_owned(), count));
        let counted = store.snapshot(1).await.unwrap().by_domain;
        assert_eq!(counted, expected.into());
    }

    #[test]
    fn what_the_totals_hold_already_is_known() {
        assert_eq!(doubles(Some(7), 4), 3);
        assert_eq!(doubles(Some(7), 9), 0);
        assert_eq!(doubles(None, 4), 0);
    }
}
