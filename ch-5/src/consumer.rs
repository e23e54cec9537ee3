//! Reads the topic into the store. While a write fails nothing is read; an offset is committed when what stands before
//! it is written, so that a restart, or another member of the group, goes on there.

mod group;
#[cfg(test)]
mod kafka_tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::future::ready;
use rdkafka::Message;
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
    let generation = &group.generation;
    let consumed = consume(messages, generation, written, &counters, &store, &shutdown);
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
    let mut known = generation.load(Ordering::SeqCst);
    let mut taken_over = BTreeSet::new();
    while let Some(slice) = slices.next().await {
        let current = generation.load(Ordering::SeqCst);
        if current != known {
            // Between two assignments another consumer may have counted, even where a partition came back.
            taken_over.clear();
            known = current;
        }
        let mut shares: BTreeMap<i32, Share> = BTreeMap::new();
        for message in slice {
            let message = message?;
            // What was polled before the last change comes again, here or to the new owner.
            if message.generation != current {
                continue;
            }
            counters.messages.add();
            let share = shares.entry(message.partition).or_insert_with(|| Share {
                first_offset: message.offset,
                ..Share::default()
            });
            share.next_offset = message.offset + 1;
            match message.event {
                Ok(event) => share.events.push(event),
                Err(bad) => {
                    counters.skipped.add();
                    if let Some(withheld) = skips.allows() {
                        let (topic, error) = (bad.message.topic(), bad.error);
                        let (partition, offset) = (message.partition, message.offset);
                        warn!(
                            topic,
                            partition, offset, withheld, "cannot decode, skipped: {error:#}"
                        );
                    }
                }
            }
        }
        for (partition, share) in shares {
            if taken_over.insert(partition) {
                let load = || store.load(partition);
                let Some(position) = retry::until_shutdown(shutdown, load).await else {
                    return Ok(());
                };
                if let Some(again) = counted_again(position, share.first_offset) {
                    warn!(
                        partition,
                        events = again,
                        "written before and not committed, so these are counted again"
                    );
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

/// How many offsets the totals of a partition are ahead of the first message that comes.
fn counted_again(position: Option<i64>, first_offset: i64) -> Option<i64> {
    let ahead = position? - first_offset;
    (ahead > 0).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use futures_util::stream;

    use super::*;
    use crate::retry::SHORTEST_WAIT;

    fn message(generation: u64, partition: i32, offset: i64) -> Result<Received> {
        Ok(Received {
            generation,
            partition,
            offset,
            event: Ok(Event {
                domain: Some(partition.to_string()),
                ..Event::default()
            }),
        })
    }

    /// Consumes until `messages` or the `shutdown` ends it, and gives what it committed, in order.
    async fn committed(
        messages: impl Stream<Item = Result<Received>>,
        generation: &AtomicU64,
        store: &StatsStore,
        shutdown: &CancellationToken,
    ) -> Vec<(i32, i64)> {
        let committed = Mutex::new(Vec::new());
        let written = |partition, next_offset| {
            committed.lock().unwrap().push((partition, next_offset));
        };
        let counters = Counters::default();
        consume(messages, generation, written, &counters, store, shutdown)
            .await
            .unwrap();
        committed.into_inner().unwrap()
    }

    async fn cancel_after(wait: Duration, shutdown: &CancellationToken) {
        sleep(wait).await;
        shutdown.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn failed_load_or_write_is_tried_again_and_nothing_is_lost_or_doubled() {
        let store = StatsStore::failing(5, 7);
        let offsets = 0..2 * SLICE as i64 + 1;
        let events = stream::iter(offsets.map(|offset| message(0, (offset % 3) as i32, offset)));
        let shutdown = CancellationToken::new();
        let committed = committed(events, &AtomicU64::new(0), &store, &shutdown).await;
        let messages = store.snapshot(1).await.unwrap().messages;
        assert_eq!(messages, 2 * SLICE as u64 + 1);
        let last = 2 * SLICE as i64;
        let expected = [last - 2, last - 1, last].map(|offset| ((offset % 3) as i32, offset + 1));
        let committed: BTreeMap<i32, i64> = committed.into_iter().collect();
        assert_eq!(committed, expected.into());
    }

    #[tokio::test(start_paused = true)]
    async fn reading_waits_while_the_store_is_away_and_shutdown_ends_the_waiting() {
        for store in [
            StatsStore::failing(u32::MAX, 0),
            StatsStore::failing(0, u32::MAX),
        ] {
            let read = AtomicUsize::new(0);
            let endless = stream::repeat_with(|| {
                let offset = read.fetch_add(1, Ordering::SeqCst);
                message(0, 0, offset as i64)
            });
            let shutdown = CancellationToken::new();
            let stop = cancel_after(Duration::from_secs(600), &shutdown);
            let generation = AtomicU64::new(0);
            let committed = committed(endless, &generation, &store, &shutdown);
            assert_eq!(tokio::join!(committed, stop).0, []);
            let read = read.load(Ordering::SeqCst);
            assert!(read <= SLICE, "{read} read");
            assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_slice_given_up_at_shutdown_is_not_written() {
        // The try at once and the one at shutdown fail; the next one would not.
        for store in [StatsStore::failing(2, 0), StatsStore::failing(0, 2)] {
            let shutdown = CancellationToken::new();
            let stop = cancel_after(SHORTEST_WAIT / 2, &shutdown);
            let two = stream::iter([message(0, 0, 0), message(0, 1, 0)]).chain(stream::pending());
            let generation = AtomicU64::new(0);
            let committed = committed(two, &generation, &store, &shutdown);
            assert_eq!(tokio::join!(committed, stop).0, []);
            assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_hangs_does_not_hold_up_the_shutdown() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let hanging = std::future::pending();
        timeout(2 * WRITE_TIMEOUT, in_time(hanging, &shutdown))
            .await
            .unwrap()
            .unwrap();
    }

    /// Slices of messages, each with the generation that the assignment has by then.
    fn slices<const N: usize>(
        slices: [(u64, Vec<Result<Received>>); N],
        generation: &AtomicU64,
    ) -> impl Stream<Item = Result<Received>> {
        let one_by_one = stream::iter(slices).then(async |(assigned, messages)| {
            // Ends the slice before.
            yield_now().await;
            generation.store(assigned, Ordering::SeqCst);
            stream::iter(messages)
        });
        one_by_one.flatten()
    }

    #[tokio::test]
    async fn what_was_polled_before_a_rebalance_is_dropped_and_counted_when_it_comes_again() {
        let store = StatsStore::Memory(Arc::default());
        let generation = AtomicU64::new(1);
        let again = [(1, 0, 1), (2, 0, 0), (2, 0, 1)].map(|(g, p, o)| message(g, p, o));
        let messages = [(1, vec![message(1, 0, 0)]), (2, again.into())];
        let messages = slices(messages, &generation);
        let committed = committed(messages, &generation, &store, &CancellationToken::new()).await;
        assert_eq!(committed, [(0, 1), (0, 2)]);
        assert_eq!(store.snapshot(1).await.unwrap().messages, 2);
    }

    /// In the memory store a partition that is loaded begins anew.
    #[tokio::test]
    async fn rebalance_loads_each_partition_that_is_read_from_then_on_once_and_no_other() {
        let store = StatsStore::Memory(Arc::default());
        let generation = AtomicU64::new(1);
        let messages = [
            (1, vec![message(1, 0, 0), message(1, 1, 0)]),
            (1, vec![message(1, 0, 1), message(1, 1, 1)]),
            (2, vec![message(2, 1, 2), message(2, 2, 0)]),
            (2, vec![message(2, 1, 3), message(2, 2, 1)]),
            (2, vec![message(2, 1, 4)]),
        ];
        let messages = slices(messages, &generation);
        committed(messages, &generation, &store, &CancellationToken::new()).await;
        let counts = [("0", 2), ("1", 3), ("2", 2)];
        let expected = counts.map(|(partition, count)| (partition.to_owned(), count));
        let counted = store.snapshot(1).await.unwrap().by_domain;
        assert_eq!(counted, expected.into());
    }

    #[test]
    fn what_the_totals_hold_already_is_counted_again() {
        assert_eq!(counted_again(Some(7), 4), Some(3));
        assert_eq!(counted_again(Some(7), 7), None);
        assert_eq!(counted_again(Some(7), 9), None);
        assert_eq!(counted_again(None, 0), None);
    }
}
