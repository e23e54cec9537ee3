//! The consumer as a member of its group: its settings, its assignment, and the messages that it receives.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use anyhow::Result;
use anyhow::anyhow;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::ConsumerContext;
use rdkafka::consumer::Rebalance;
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::KafkaError;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::OwnedMessage;
use rdkafka::types::RDKafkaErrorCode;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::Log;
use crate::config;
use crate::config::Storage;
use crate::event::Event;
use crate::log_limit::LogLimit;

pub fn consumer(config: &config::Consumer) -> Result<StreamConsumer<Group>> {
    let group = config.consumer_group.clone();
    let (group, commits) = match config.store.storage {
        // It forgets, so each process reads the whole topic in a group of its own, and commits nothing.
        Storage::Memory => (format!("{group}-{:016x}", fastrand::u64(..)), "false"),
        Storage::Cassandra => (group, "true"),
    };
    let settings = broker::settings(
        &config.broker,
        &[
            // How much is fetched ahead, for all partitions together. librdkafka counts only the payloads, but needs
            // about 400 bytes more for each message.
            ("queued.max.messages.kbytes", "4096"),
            // How soon fetching goes on after that limit was reached.
            ("fetch.queue.backoff.ms", "5"),
            ("auto.commit.interval.ms", "1000"),
            // How soon the consumer notices that a topic was created or has more partitions.
            ("topic.metadata.refresh.interval.ms", "10000"),
        ],
        &[
            ("group.id", &group),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "range,roundrobin"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", commits),
            // The offset to commit is stored after the event is written, not when librdkafka hands out the message.
            ("enable.auto.offset.store", "false"),
        ],
    );
    info!(group, "joining");
    settings.create_with_context(Group::default()).map_err(broker::unusable)
}

/// What librdkafka reports about the group. `poll_next` of the consumer's stream calls it, so it runs in the task that
/// reads the stream, between two messages: nothing here may block, and the assignment does not change while this task
/// writes. Only the last revocation and the last commit run where the consumer is dropped.
#[derive(Default)]
pub struct Group {
    /// The number of changes of the assignment so far.
    pub generation: AtomicU64,
    commits: LogLimit,
    log: Log,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        let (what, list) = match rebalance {
            Rebalance::Assign(list) => ("partitions assigned", list),
            Rebalance::Revoke(list) => ("partitions revoked", list),
            Rebalance::Error(error) => return warn!("rebalance: {error}"),
        };
        let partitions: Vec<_> = list.elements().iter().map(|one| one.partition()).collect();
        info!(?partitions, "{what}");
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

/// A message, as it was polled.
pub struct Received {
    pub generation: u64,
    pub partition: i32,
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

impl Group {
    /// `None` for a temporary error, which has been logged already.
    pub fn received(&self, message: KafkaResult<BorrowedMessage>) -> Option<Result<Received>> {
        let message = match message {
            Ok(message) => message,
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                return Some(Err(anyhow!("the consumer can't go on: {error}")));
            }
            Err(_) => return None,
        };
        let event = Event::decode(message.payload().unwrap_or_default());
        Some(Ok(Received {
            generation: self.generation.load(Ordering::SeqCst),
            partition: message.partition(),
            offset: message.offset(),
            event: event.map_err(|error| Undecodable { message: message.detach(), error }),
        }))
    }
}
