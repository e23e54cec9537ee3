//! What the reader of the stream counts: shown by `watch` at its end, and there for whoever exports metrics.

use std::fmt;

use crate::counter::Counter;

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
