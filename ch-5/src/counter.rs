//! A number that only goes up. Those who count and those who show the total share it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tracing::warn;

/// Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one, and returns the total before that.
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
