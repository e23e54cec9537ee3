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
use rdkafka::types::RDKafkaErrorCode;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::Log;
use crate::config;
use crate::config::Storage;
use crate::counter::Counter;
use crate::event::Event;
use crate::log_limit::LogLimit;

/// Messages that were read, and those of them that could not be decoded. Clones count together.
#[derive(Clone, Default)]
pub struct Counters {
    pub messages: Counter,
    pub skipped: Counter,
}

pub fn consumer(config: &config::Consumer, counters: Counters) -> Result<StreamConsumer<Group>> {
    // The memory store forgets: each process reads everything, in a group of its own, and commits nothing.
    let alone = matches!(config.store.storage, Storage::Memory);
    let mut group = config.consumer_group.clone();
    if alone {
        group += &format!("-{:016x}", fastrand::u64(..));
    }
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
            ("group.id", &group),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "range,roundrobin"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", if alone { "false" } else { "true" }),
            // An offset is stored for the commit when its event is written, not when it is handed out.
            ("enable.auto.offset.store", "false"),
        ],
    );
    info!(group, "joining");
    let context = Group {
        counters,
        ..Group::default()
    };
    settings
        .create_with_context(context)
        .map_err(broker::unusable)
}

/// What librdkafka tells about the membership of the group. It is called by `poll_next` of the consumer's stream, so
/// on the task that reads it and between two messages: nothing here may block, and no assignment changes while that
/// task writes. Only the last revocation and commit come from where the consumer is dropped.
#[derive(Default)]
pub struct Group {
    /// Goes up with every change of the assignment.
    pub generation: AtomicU64,
    counters: Counters,
    commits: LogLimit,
    /// Whoever looks for a skipped message finds its offset in the log; only a flood of them does not flood that.
    skips: LogLimit<1000>,
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
    /// `None` for what can't be decoded.
    pub event: Option<Event>,
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
        self.counters.messages.add();
        let (partition, offset) = (message.partition(), message.offset());
        let event = match Event::decode(message.payload().unwrap_or_default()) {
            Ok(event) => Some(event),
            Err(error) => {
                self.counters.skipped.add();
                if let Some(withheld) = self.skips.allows() {
                    let topic = message.topic();
                    warn!(
                        topic,
                        partition, offset, withheld, "cannot decode, skipped: {error:#}"
                    );
                }
                None
            }
        };
        Some(Ok(Received {
            generation: self.generation.load(Ordering::SeqCst),
            partition,
            offset,
            event,
        }))
    }
}
