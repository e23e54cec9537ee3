//! Counts what the reader of the stream has read and skipped. `watch` prints the counters at its end.

use std::fmt;

use crate::counter::Counter;

/// The numbers of what was read and what was skipped. Clones share the same counters.
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
        let counters = [
            ("events", &self.events),
            ("canaries", &self.canaries),
            ("doubles", &self.doubles),
            ("rejected", &self.rejected),
            ("oversize", &self.oversize),
            ("invalid UTF-8", &self.invalid_utf8),
            ("byte order marks", &self.byte_order_marks),
            ("error events", &self.error_events),
            ("reconnects", &self.reconnects),
        ];
        let totals = counters.map(|(name, counter)| format!("{name} {}", counter.total()));
        formatter.write_str(&totals.join(", "))
    }
}
