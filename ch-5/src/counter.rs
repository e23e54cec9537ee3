//! A counter: a number that only grows. The code that counts and the code that shows the number share it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tracing::warn;

/// Clones share the same number.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one, and returns the number before that.
    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    pub fn add_all(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Counts a fault. Only the first one is logged, so that a broken stream does not flood the log.
    pub fn count(&self, fault: &str) {
        if self.add() == 0 {
            warn!("{fault}; further ones are only counted");
        }
    }
}
