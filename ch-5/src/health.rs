//! What a role still lacks to do its work, as far as only the role itself knows it. The role says it here, and `/ready`
//! asks.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::Result;
use anyhow::anyhow;

/// Clones share the same state.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Health {
    /// `what` is sent to everybody who asks, so it contains no secret.
    pub fn lacks(&self, what: impl Into<String>) {
        *self.lock() = Some(what.into());
    }

    pub fn is_whole(&self) {
        *self.lock() = None;
    }

    /// # Errors
    /// The role lacks something.
    pub fn ready(&self) -> Result<()> {
        self.lock().clone().map_or(Ok(()), |what| Err(anyhow!(what)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
