//! Reads the topic and counts its events in the store. While writes fail, nothing is read. An offset is committed after
//! all messages with a lower offset are written. A restart, or another member of the group, goes on with this offset.

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
use tokio::task::block_in_place;
use tokio::task::spawn_blocking;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::consumer::group::ANSWER_TIMEOUT;
use crate::consumer::group::Polled;
use crate::counter::Counter;
use crate::event::Event;
use crate::health::Health;
use crate::log_limit::LogLimit;
use crate::retry;
use crate::slice;
use crate::store::StatsStore;

/// The most messages that are written together. If they have this many bytes, fewer of them are.
const SLICE: usize = 500;
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// How long the last commit and leaving the group may take. It begins after `WRITE_TIMEOUT`, and together
/// they are shorter than the 9 s of the shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Default)]
pub struct Counters {
    pub messages: Counter,
    /// Messages that could not be decoded.
    pub skipped: Counter,
    /// Messages that the broker had deleted before they were read.
    pub gone: Counter,
}

/// Reads until the shutdown.
///
/// # Errors
/// The consumer cannot be made, or cannot go on. Temporary errors are only logged.
pub async fn run(
    config: config::Consumer,
    counters: Counters,
    store: StatsStore,
    health: Health,
    shutdown: CancellationToken,
) -> Result<()> {
    let topic = config.broker.wikipedia_topic.as_str();
    let consumer = group::consumer(&config, health)?;
    consumer.subscribe(&[topic]).context("cannot subscribe")?;
    let group = consumer.context();
    let messages = consumer.stream().filter_map(|polled| ready(group::polled(&consumer, polled)));
    let written = |partition, next_offset: i64| {
        // It takes the offset of the last message that is done, and commits the next one.
        if let Err(error) = consumer.store_offset(topic, partition, next_offset - 1) {
            // The partition has been revoked. Its new owner goes on with the committed offset.
            debug!(partition, next_offset, "offset not stored: {error}");
        }
    };
    let first = |partition| {
        let ends = || consumer.fetch_watermarks(topic, partition, ANSWER_TIMEOUT);
        block_in_place(ends).map_or(i64::MAX, |(first, _)| first)
    };
    let ended = |partition| {
        if !group::begin_again(&consumer)? {
            group.counted(partition);
        }
        Ok(())
    };
    let source = Source { topic, generation: &group.generation, first, written, ended };
    let consumed = consume(messages, source, &counters, &store, &shutdown);
    let result = retry::in_time(&shutdown, consumed).await;
    let (messages, skipped) = (counters.messages.total(), counters.skipped.total());
    info!(messages, skipped, gone = counters.gone.total(), "reading ended");
    if let Err(error) = group::begin_again(&consumer) {
        warn!("{error:#}");
    }
    // Dropping the consumer commits, leaves the group, and drops the messages that it has fetched. All of this blocks.
    if timeout(CLOSE_TIMEOUT, spawn_blocking(move || drop(consumer))).await.is_err() {
        warn!("the group was not left in time; its others wait until this member is missed");
    }
    result
}

/// Where the messages come from.
struct Source<'a, F, W, E> {
    topic: &'a str,
    generation: &'a AtomicU64,
    /// Asks for the first offset that a partition still has.
    first: F,
    /// Is called with a partition and the offset of its next message, after a slice of it is written.
    written: W,
    /// Is called with a partition, after all messages that it had are written.
    ended: E,
}

/// Writes the messages, slice by slice.
async fn consume(
    messages: impl Stream<Item = Result<Polled>>,
    source: Source<'_, impl Fn(i32) -> i64, impl Fn(i32, i64), impl Fn(i32) -> Result<()>>,
    counters: &Counters,
    store: &StatsStore,
    shutdown: &CancellationToken,
) -> Result<()> {
    // The offset of a skipped message is logged. If there are very many, not all of them are.
    let skips = LogLimit::<1000>::default();
    let messages = messages.take_until(shutdown.cancelled());
    let mut messages = pin!(messages);
    let size = |polled: &Result<Polled>| polled.as_ref().map_or(0, |polled| polled.bytes);
    // The generation in which a partition was loaded, and the offset that comes next. In the next generation, another
    // consumer may have counted the partition meanwhile.
    let mut positions: HashMap<i32, (u64, i64)> = HashMap::new();
    while let Some(slice) = slice::next(&mut messages, SLICE, SLICE_BYTES, size).await {
        let current = source.generation.load(Ordering::SeqCst);
        let mut shares: BTreeMap<i32, (Vec<Event>, i64)> = BTreeMap::new();
        let (mut ends, mut firsts) = (Vec::new(), HashMap::new());
        for polled in slice {
            let Polled { generation, partition, message, .. } = polled?;
            // What was polled before the last change of the assignment comes again, here or elsewhere.
            if generation != current {
                continue;
            }
            let Some(message) = message else {
                ends.push(partition);
                continue;
            };
            let next = match positions.get(&partition) {
                Some((loaded, next)) if *loaded == current => *next,
                _ => {
                    let load = || store.load(partition);
                    let Some(position) = retry::until_shutdown(shutdown, load).await else {
                        return Ok(());
                    };
                    position.unwrap_or(message.offset)
                }
            };
            if next != message.offset {
                let first = *firsts.entry(partition).or_insert_with(|| (source.first)(partition));
                counters.gone.add_all(tell(source.topic, partition, next, message.offset, first));
            }
            positions.insert(partition, (current, message.offset + 1));
            counters.messages.add();
            let (events, next_offset) = shares.entry(partition).or_default();
            *next_offset = message.offset + 1;
            match message.event {
                Ok(event) => events.push(event),
                Err(bad) => {
                    counters.skipped.add();
                    if let Some(withheld) = skips.allows() {
                        bad.log(withheld);
                    }
                }
            }
        }
        for (partition, (events, next_offset)) in shares {
            let record = || store.record(partition, &events, next_offset);
            if retry::until_shutdown(shutdown, record).await.is_none() {
                // The events come again, because their offset is not committed.
                return Ok(());
            }
            (source.written)(partition, next_offset);
        }
        for partition in ends {
            (source.ended)(partition)?;
        }
        // While there are many messages, this task never waits. It must let the other tasks run.
        yield_now().await;
    }
    Ok(())
}

/// Tells why a message has another offset than the one that was to come `next`, and returns how many messages were
/// deleted before they were read. (Some offsets belong to no message.)
fn tell(topic: &str, partition: i32, next: i64, offset: i64, first: i64) -> u64 {
    if offset < next {
        let why = "written and not committed, or the topic was made anew";
        warn!(topic, partition, from = offset, to = next - 1, "counted again: {why}");
        return 0;
    }
    let gone = u64::try_from(first.min(offset) - next).unwrap_or_default();
    if gone > 0 {
        let to = first.min(offset) - 1;
        warn!(topic, partition, from = next, to, messages = gone, "deleted before they were read");
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;
    use crate::consumer::group::Received;
    use crate::retry::SHORTEST_WAIT;

    const HOUR: Duration = Duration::from_secs(3600);

    fn message(generation: u64, partition: i32, offset: i64) -> Result<Polled> {
        let event = Ok(Event { domain: Some(partition.to_string()), ..Event::default() });
        Ok(Polled { generation, partition, bytes: 1, message: Some(Received { offset, event }) })
    }

    /// Consumes until the end of `messages`, or a shutdown after `wait`, and returns the commits in their order.
    async fn committed(
        messages: impl Stream<Item = Result<Polled>>,
        generation: &AtomicU64,
        store: &StatsStore,
        wait: Duration,
    ) -> Vec<(i32, i64)> {
        let committed = Mutex::new(Vec::new());
        let written = |partition, offset| committed.lock().unwrap().push((partition, offset));
        let (counters, shutdown) = (Counters::default(), CancellationToken::new());
        let first = |_| 0;
        let source = Source { topic: "a", generation, first, written, ended: |_| Ok(()) };
        let consumed = consume(messages, source, &counters, store, &shutdown);
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
        // Three slices, the last of them with one message.
        let messages = (0..1001).map(|offset| message(0, (offset % 3) as i32, offset));
        let generation = AtomicU64::new(0);
        let committed = committed(stream::iter(messages), &generation, &store, HOUR).await;
        assert_eq!(store.snapshot(1).await.unwrap().messages, 1001);
        let committed: BTreeMap<i32, i64> = committed.into_iter().collect();
        assert_eq!(committed, [(0, 1000), (1, 1001), (2, 999)].into());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_store_is_away_nothing_is_read_and_after_the_shutdown_nothing_is_written() {
        for (loads, writes, wait) in [
            (u32::MAX, 0, HOUR),
            (0, u32::MAX, HOUR),
            // The first attempt and the one at the shutdown fail; the next one would not.
            (2, 0, SHORTEST_WAIT / 2),
            (0, 2, SHORTEST_WAIT / 2),
        ] {
            let store = StatsStore::failing(loads, writes);
            let mut offsets = 0..;
            let messages = offsets.by_ref().map(|offset| message(0, (offset % 2) as i32, offset));
            let generation = AtomicU64::new(0);
            let committed = committed(stream::iter(messages), &generation, &store, wait).await;
            assert!(offsets.start <= SLICE as i64, "{} read", offsets.start);
            assert_eq!(committed, []);
            assert_eq!(store.snapshot(1).await.unwrap().messages, 0);
        }
    }

    #[test]
    fn only_offsets_that_the_broker_does_not_have_any_more_are_gone() {
        let gone = |next, offset, first| tell("a", 0, next, offset, first);
        assert_eq!(gone(5, 8, 8), 3);
        // More has been deleted since this message was fetched.
        assert_eq!(gone(5, 8, 50), 3);
        // From 7 on, there are only marks of transactions.
        assert_eq!(gone(5, 8, 7), 2);
        assert_eq!(gone(5, 8, 0), 0);
        assert_eq!(gone(7, 0, 0), 0);
    }

    /// Loading a partition into the memory store sets its counts to nothing.
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
            // This ends the slice before.
            yield_now().await;
            generation.store(assigned, Ordering::SeqCst);
            stream::iter(slice)
        });
        let committed = committed(slices.flatten(), &generation, &store, HOUR).await;
        let before = [(0, 1), (1, 1), (0, 2), (1, 2)];
        let after = [(1, 2), (2, 1), (1, 3), (2, 2), (1, 4)];
        assert_eq!(committed, [&before[..], &after].concat());
        let expected = [("0", 2), ("1", 3), ("2", 2)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(store.snapshot(1).await.unwrap().by_domain, expected.into());
    }
}
