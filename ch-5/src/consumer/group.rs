//! The consumer as a member of its group: its settings, its assignment, and what it polls.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::CommitMode;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::ConsumerContext;
use rdkafka::consumer::Rebalance;
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::KafkaError;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::OwnedMessage;
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::block_in_place;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::config::Storage;
use crate::event::Event;
use crate::health::Health;
use crate::log_limit::LogLimit;

/// How long the broker may take to answer a question. It has just sent a message.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Errors that end only when somebody changes something.
const REFUSALS: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::GroupAuthorizationFailed,
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::InconsistentGroupProtocol,
    RDKafkaErrorCode::InvalidSessionTimeout,
    RDKafkaErrorCode::GroupMaxSizeReached,
    RDKafkaErrorCode::UnknownTopicOrPartition,
];

pub fn consumer(config: &config::Consumer, health: Health) -> Result<StreamConsumer<Group>> {
    let group = config.consumer_group.clone();
    let forgets = matches!(config.store.storage, Storage::Memory);
    // A store that forgets reads the whole topic in a group of its own, and commits nothing.
    let group = if forgets { format!("{group}-{:016x}", fastrand::u64(..)) } else { group };
    let ours = [
        // How much is fetched ahead, for all partitions together. librdkafka counts only the payloads, but needs about
        // 400 bytes more for each message.
        ("queued.max.messages.kbytes", "4096"),
        // How soon fetching goes on after that limit was reached.
        ("fetch.queue.backoff.ms", "5"),
        ("auto.commit.interval.ms", "1000"),
        // How soon the consumer notices that a topic was created or has more partitions.
        ("topic.metadata.refresh.interval.ms", "10000"),
        ("group.id", group.as_str()),
        ("group.protocol", "classic"),
        ("partition.assignment.strategy", "range,roundrobin"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", if forgets { "false" } else { "true" }),
        // The offset to commit is stored after the event is written, not when librdkafka hands out the message.
        ("enable.auto.offset.store", "false"),
        // Also where nothing is written, something is polled after a topic was made anew.
        ("enable.partition.eof", "true"),
        // See `Group::log`.
        ("debug", "metadata"),
    ];
    let mut settings = broker::settings(&config.broker, &ours);
    settings.set_log_level(RDKafkaLogLevel::Debug);
    info!(group, "joining");
    health.lacks(NOT_ASSIGNED);
    let group = Group { forgets, health, ..Group::default() };
    settings.create_with_context(group).map_err(broker::unusable)
}

const NOT_ASSIGNED: &str = "the group has not assigned partitions to this consumer yet";

/// What librdkafka reports about the group. `poll_next` of the consumer's stream calls it, so it runs in the task that
/// reads the stream, between two messages: nothing here may block, and the assignment does not change while this task
/// writes. Only the last revocation and the last commit run where the consumer is dropped.
#[derive(Default)]
pub struct Group {
    /// The number of changes of the assignment so far.
    pub generation: AtomicU64,
    /// The topic has been deleted and created again.
    is_new: AtomicBool,
    /// Whether the store forgets, and counts all partitions again after they are assigned.
    forgets: bool,
    /// The partitions that a store that forgets has not counted up to their ends.
    uncounted: Mutex<BTreeSet<i32>>,
    refused: AtomicBool,
    health: Health,
    commits: LogLimit,
    log: Log,
}

impl ClientContext for Group {
    /// librdkafka only logs that a topic has another id than before, and goes on with the same offset. What it logs comes
    /// through the same queue as the messages, so all messages before this line are those of the old topic.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "METADATA" && renews(message) {
            self.is_new.store(true, Ordering::SeqCst);
        }
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

/// Whether a line of librdkafka says that a topic has another id. The first time, the id before is nothing but zeros.
fn renews(line: &str) -> bool {
    line.split_once(" changed id from ").is_some_and(|(_, ids)| !ids.starts_with("AAAAAAAAAAA"))
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst);
        let (what, list) = match rebalance {
            Rebalance::Assign(list) => ("partitions assigned", list),
            Rebalance::Revoke(list) => ("partitions revoked", list),
            Rebalance::Error(error) => return warn!("rebalance: {error}"),
        };
        let partitions: Vec<_> = list.elements().iter().map(|one| one.partition()).collect();
        info!(?partitions, "{what}");
        if let Rebalance::Revoke(_) = rebalance {
            return self.health.lacks(NOT_ASSIGNED);
        }
        // Of a topic that has been deleted, the broker has no committed offset, so a new one begins with its first message.
        self.is_new.store(false, Ordering::SeqCst);
        if self.forgets {
            if generation > 0 {
                warn!(
                    "counting all partitions again from their first message; /ready tells when this is done"
                );
            }
            *lock(&self.uncounted) = partitions.into_iter().collect();
        }
        self.tell();
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result
            && error != KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)
            && let Some(withheld) = self.commits.allows()
        {
            warn!(withheld, "offsets not committed: {error}");
        }
    }
}

/// What was polled.
pub struct Polled {
    pub generation: u64,
    pub partition: i32,
    pub bytes: usize,
    /// `None` if all messages that the partition had have been polled, also those of a topic that was made anew.
    pub message: Option<Received>,
}

pub struct Received {
    pub offset: i64,
    pub event: Result<Event, Undecodable>,
}

/// A message that is not an event, and what is wrong with it.
pub struct Undecodable {
    pub message: OwnedMessage,
    pub error: anyhow::Error,
}

impl Undecodable {
    pub fn log(&self, withheld: u64) {
        let (topic, error) = (self.message.topic(), &self.error);
        let (partition, offset) = (self.message.partition(), self.message.offset());
        warn!(topic, partition, offset, withheld, "cannot decode, skipped: {error:#}");
    }
}

/// `None` for a temporary error, which has been logged already.
pub fn polled(
    consumer: &StreamConsumer<Group>,
    polled: KafkaResult<BorrowedMessage<'_>>,
) -> Option<Result<Polled>> {
    let group = consumer.context();
    let (partition, message) = match polled {
        Ok(message) => (message.partition(), Some(message)),
        Err(KafkaError::PartitionEOF(partition)) => (partition, None),
        Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
            return Some(Err(anyhow!("the consumer can't go on: {error}")));
        }
        Err(error) => {
            group.refused(&error);
            return None;
        }
    };
    if group.refused.swap(false, Ordering::SeqCst) {
        group.tell();
    }
    let generation = group.generation.load(Ordering::SeqCst);
    let bytes = message.as_ref().map_or(0, |message| message.payload_len());
    // What is polled of a new topic comes again, see `begin_again`.
    let message = message.filter(|_| !group.is_new.load(Ordering::SeqCst)).map(|message| {
        let event = Event::decode(message.payload().unwrap_or_default());
        let event = event.map_err(|error| Undecodable { message: message.detach(), error });
        Received { offset: message.offset(), event }
    });
    Some(Ok(Polled { generation, partition, bytes, message }))
}

/// If the topic was made anew, all assigned partitions begin with their first message, and `true` is returned. The messages
/// of the old topic must be written before. It must also be called before the consumer is dropped, which commits offsets.
pub fn begin_again(consumer: &StreamConsumer<Group>) -> Result<bool> {
    let group = consumer.context();
    if !group.is_new.swap(false, Ordering::SeqCst) {
        return Ok(false);
    }
    let mut partitions = consumer.assignment().map_err(plain)?;
    let topic = partitions.elements().first().map(|one| one.topic().to_owned());
    warn!(topic, "deleted and created again; the new topic is counted from its first message");
    partitions.set_all_offsets(Offset::Offset(0)).map_err(plain)?;
    if !group.forgets {
        consumer.store_offsets(&partitions).map_err(plain)?;
        // By itself, librdkafka would commit no offset that is lower than the one before.
        consumer.commit(&partitions, CommitMode::Async).map_err(plain)?;
    }
    let sought = block_in_place(|| consumer.seek_partitions(partitions, ANSWER_TIMEOUT));
    sought.map_err(|error| plain(error).context("cannot read the new topic"))?;
    Ok(true)
}

impl Group {
    /// Must be called when all messages before the end of a partition are counted.
    pub fn counted(&self, partition: i32) {
        if lock(&self.uncounted).remove(&partition) {
            self.tell();
        }
    }

    fn tell(&self) {
        match lock(&self.uncounted).len() {
            0 => self.health.is_whole(),
            left => self.health.lacks(format!("{left} partitions are not counted up to their end")),
        }
    }

    fn refused(&self, error: &KafkaError) {
        if let Some(code) = error.rdkafka_error_code().filter(|code| REFUSALS.contains(code)) {
            self.refused.store(true, Ordering::SeqCst);
            self.health.lacks(format!("the broker refuses this consumer: {code}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_id_of_a_topic_is_told_from_its_first_one() {
        let line =
            |id| format!("[thrd:main]: Topic a changed id from {id} to hKJeFVUJQpGD5oUyYzPKCg");
        assert!(renews(&line("VUKSDuUiRUuCLnlQmYyF3w")));
        assert!(!renews(&line("AAAAAAAAAAAAAAAAAAAAAA")));
        assert!(!renews("[thrd:main]: Topic a [0] Leader 1 Epoch 0"));
    }
}
