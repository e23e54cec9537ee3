//! What becomes of the messages that were sent. librdkafka tells it on a thread of its own; the producer's task looks
//! at what has gathered here.

use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::DeliveryResult;
use rdkafka::message::Headers;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tracing::error;

use crate::broker::Log;
use crate::producer::Counters;
use crate::producer::tracker::Tracker;

/// Goes with a message of the cursor, in the place of a slice's number.
pub const CURSOR: usize = usize::MAX;

#[derive(Default)]
pub struct Deliveries {
    pub counters: Counters,
    /// Something was delivered.
    pub progress: Notify,
    /// There is a failure, or a message for another try.
    pub attention: Notify,
    pub state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub tracker: Tracker,
    pub cursor_in_flight: bool,
    /// Refused as part of a batch. The broker's limits are for a batch, so each is to be sent by itself.
    pub alone: Vec<(OwnedMessage, usize)>,
    pub failure: Option<KafkaError>,
    /// The producer's task waits until no more events than these are in flight; it is not woken for each of the rest.
    pub awaited: usize,
}

impl Deliveries {
    /// Nothing panics while it holds the lock.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take_alone(&self) -> Vec<(OwnedMessage, usize)> {
        mem::take(&mut self.state().alone)
    }

    /// The broker can never take it: it is passed over, and the cursor goes past it.
    pub fn refuse(&self, slice: usize, id: &str, reason: &KafkaError) {
        self.counters.refused.add();
        error!(
            id,
            "the broker does not take the event, passed over: {reason}"
        );
        self.state().tracker.done(slice);
        self.progress.notify_one();
    }

    fn failed(&self, error: KafkaError) {
        self.state().failure.get_or_insert(error);
        self.attention.notify_one();
        self.progress.notify_one();
    }
}

/// Whether a message is at fault, and not the way to the broker.
pub fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
        )
    )
}

fn id(message: &BorrowedMessage) -> String {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    let mut ids = headers.filter(|header| header.key == "id");
    let id = ids.next().and_then(|header| header.value);
    String::from_utf8_lossy(id.unwrap_or(b"-")).into_owned()
}

/// The callbacks of one of the producer's two clients.
pub struct Callbacks {
    pub deliveries: Arc<Deliveries>,
    /// Whether it is the one that sends each message by itself.
    pub alone: bool,
    pub log: Log,
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slice: usize) {
        let deliveries = &*self.deliveries;
        match result {
            Ok(_) if slice == CURSOR => deliveries.state().cursor_in_flight = false,
            Ok(_) => {
                deliveries.counters.acknowledged.add();
                let mut state = deliveries.state();
                state.tracker.done(slice);
                if state.tracker.in_flight() > state.awaited {
                    return;
                }
            }
            Err((error, _)) if slice == CURSOR || !is_refusal(error) => {
                return deliveries.failed(error.clone());
            }
            Err((error, message)) if self.alone => deliveries.refuse(slice, &id(message), error),
            Err((_, message)) => {
                deliveries.state().alone.push((message.detach(), slice));
                deliveries.attention.notify_one();
            }
        }
        deliveries.progress.notify_one();
    }
}
