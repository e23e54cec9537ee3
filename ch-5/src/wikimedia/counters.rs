//! What the reader of the stream counts: shown by `watch` at its end, and there for whoever exports metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tracing::warn;

/// What has been read and what was passed over. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub events: Counter,
    pub canaries: Counter,
    pub doubles: Counter,
    pub rejected: Counter,
    pub oversize: Counter,
    pub invalid_utf8: Counter,
    pub byte_order_marks: Counter,
    pub error_events: Counter,
    pub reconnects: Counter,
}

#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a fault, and logs the first of its kind: a broken stream must not flood the log too.
    pub fn count(&self, fault: &str) {
        if self.add() == 0 {
            warn!("{fault}; further ones are only counted");
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [events, canaries, doubles] =
            [&self.events, &self.canaries, &self.doubles].map(Counter::total);
        write!(
            formatter,
            "events {events}, canaries {canaries}, doubles {doubles}"
        )?;
        write!(
            formatter,
            ", rejected {}, oversize {}",
            self.rejected.total(),
            self.oversize.total()
        )?;
        write!(formatter, ", invalid UTF-8 {}", self.invalid_utf8.total())?;
        write!(
            formatter,
            ", byte order marks {}",
            self.byte_order_marks.total()
        )?;
        write!(formatter, ", error events {}", self.error_events.total())?;
        write!(formatter, ", reconnects {}", self.reconnects.total())
    }
}
