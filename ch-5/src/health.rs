//! Whether the role can do its work. `/ready` asks, and the role says itself what only it knows.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::Result;
use anyhow::bail;

use crate::broker::topics::Broker;
use crate::store::StatsStore;

/// What the role needs. What is `None` is not asked. Clones share the same state.
#[derive(Clone, Default)]
pub struct Health {
    pub store: Option<StatsStore>,
    pub broker: Option<Broker>,
    pub lacking: Arc<Mutex<Option<String>>>,
}

impl Health {
    /// `what` is sent to everybody who asks, so it contains no secret.
    pub fn lacks(&self, what: impl Into<String>) {
        *self.lacking() = Some(what.into());
    }

    pub fn is_whole(&self) {
        *self.lacking() = None;
    }

    /// # Errors
    /// The outermost message names what is missing, and may be sent to everybody.
    pub async fn ready(&self) -> Result<()> {
        if let Some(store) = &self.store {
            store.ready().await?;
        }
        if let Some(broker) = &self.broker {
            broker.ready().await?;
        }
        if let Some(what) = &*self.lacking() {
            bail!("{what}");
        }
        Ok(())
    }

    pub fn lacking(&self) -> MutexGuard<'_, Option<String>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
