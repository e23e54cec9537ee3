//! The consumer's membership in its group: its settings, what is assigned to it, and its messages as they are polled.

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

/// The group to join. The memory store forgets, so each process reads everything, in a group of its own.
pub fn id(config: &config::Consumer) -> String {
    let group = &config.consumer_group;
    if forgets(config) {
        return format!("{group}-{:016x}", fastrand::u64(..));
    }
    group.clone()
}

fn forgets(config: &config::Consumer) -> bool {
    matches!(config.store.storage, Storage::Memory)
}

pub fn consumer(config: &config::Consumer, group: &str) -> Result<StreamConsumer<Group>> {
    let commits = if forgets(config) { "false" } else { "true" };
    let settings = broker::settings(
        &config.broker,
        &[
            // What is fetched ahead, in all partitions together. Payloads alone are counted, and librdkafka keeps some
            // 400 bytes beside each: short messages take several times as much. When it is used up, fetching goes on
            // at once.
            ("queued.max.messages.kbytes", "4096"),
            ("fetch.queue.backoff.ms", "5"),
            ("auto.commit.interval.ms", "1000"),
            // A topic that is created, or grows, while this runs is noticed so soon.
            ("topic.metadata.refresh.interval.ms", "10000"),
        ],
        &[
            ("group.id", group),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "range,roundrobin"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", commits),
            // An offset is stored for the commit when its event is written, not when it is handed out.
            ("enable.auto.offset.store", "false"),
        ],
    );
    info!(group, "joining");
    settings.create_with_context(Group::default()).map_err(broker::unusable)
}

/// What librdkafka tells about the membership of the group. It is called by `poll_next` of the consumer's stream, so
/// on the task that reads it and between two messages: nothing here may block, and no assignment changes while that
/// task writes. Only the last revocation and commit come from where the consumer is dropped.
#[derive(Default)]
pub struct Group {
    /// Goes up with every change of the assignment.
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
        let list = list.elements();
        let partitions: Vec<i32> = list.iter().map(|element| element.partition()).collect();
        info!(?partitions, "{what}");
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => {
                if let Some(withheld) = self.commits.allows() {
                    warn!(withheld, "offsets not committed: {error}");
                }
            }
            Ok(()) => {}
        }
    }
}

/// A message, as soon as it was polled.
pub struct Received {
    pub generation: u64,
    pub partition: i32,
    pub offset: i64,
    pub event: Result<Event, Undecodable>,
}

/// What is no event: the whole message as it came, and what is wrong with it.
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
    /// Nothing for an error that passes: it has been logged.
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
