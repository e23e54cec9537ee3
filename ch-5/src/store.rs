//! Keeps the totals and the users, in memory or in Cassandra. It is an enum, because there are only these two.

mod cassandra;
mod memory;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::AtomicU32;
#[cfg(test)]
use std::sync::atomic::Ordering;

use anyhow::Result;

use crate::config;
use crate::config::Storage;
use crate::event::Event;
use crate::stats::Snapshot;
use crate::store::cassandra::CassandraStats;
use crate::store::memory::MemoryStats;

/// Clones share one store.
#[derive(Clone)]
pub enum StatsStore {
    Memory(Arc<MemoryStats>),
    Cassandra(Arc<CassandraStats>),
    #[cfg(test)]
    Failing(Arc<MemoryStats>, Arc<Failures>),
}

/// Refuses this many loads and writes, and then works.
#[cfg(test)]
#[derive(Default)]
pub struct Failures {
    pub loads: AtomicU32,
    pub writes: AtomicU32,
    /// How often it was asked whether it is ready, which it never is.
    pub questions: AtomicU32,
}

impl StatsStore {
    /// Opens the configured store, for the totals of `source`. If it does not answer yet, this waits for it.
    ///
    /// # Errors
    /// The store did not answer within the time that its module states.
    pub async fn open(config: &config::Store, source: &str) -> Result<Self> {
        match config.storage {
            Storage::Memory => Ok(Self::Memory(Arc::default())),
            Storage::Cassandra => {
                Ok(Self::Cassandra(Arc::new(CassandraStats::open(config, source).await?)))
            }
        }
    }

    /// Loads the totals of a partition as they are kept, and returns the next offset, if it is known. A consumer calls it
    /// before it counts in a partition, because another one may have counted there.
    pub async fn load(&self, partition: i32) -> Result<Option<i64>> {
        match self {
            Self::Memory(store) => Ok(store.load(partition)),
            Self::Cassandra(store) => store.load(partition).await,
            #[cfg(test)]
            Self::Failing(store, failures) => {
                fail(&failures.loads)?;
                Ok(store.load(partition))
            }
        }
    }

    /// Counts `events` of a partition, and keeps the offset of the next message: both or neither.
    ///
    /// # Errors
    /// After an error, nobody knows whether this was done, because a write that has timed out may still succeed. So the
    /// caller must record the same events again before any others: if they were counted, this changes nothing.
    pub async fn record(&self, partition: i32, events: &[Event], next_offset: i64) -> Result<()> {
        match self {
            Self::Memory(store) => store.record(partition, events),
            Self::Cassandra(store) => store.record(partition, events, next_offset).await?,
            #[cfg(test)]
            Self::Failing(store, failures) => {
                fail(&failures.writes)?;
                store.record(partition, events);
            }
        }
        Ok(())
    }

    /// All that has been counted, with the first `top` users.
    pub async fn snapshot(&self, top: usize) -> Result<Snapshot> {
        match self {
            Self::Memory(store) => Ok(store.snapshot(top)),
            Self::Cassandra(store) => store.snapshot(top).await,
            #[cfg(test)]
            Self::Failing(store, _) => Ok(store.snapshot(top)),
        }
    }

    /// Writes a user, replaces an earlier user of the same name, and closes the accounts of all others. Returns the names
    /// of these.
    pub async fn put_only_user(&self, username: &str, password_hash: &str) -> Result<Vec<String>> {
        match self {
            Self::Memory(store) => Ok(store.put_only_user(username, password_hash)),
            Self::Cassandra(store) => store.put_only_user(username, password_hash).await,
            #[cfg(test)]
            Self::Failing(store, failures) => {
                fail(&failures.writes)?;
                Ok(store.put_only_user(username, password_hash))
            }
        }
    }

    /// The Argon2id hash of the user's password, in PHC form; `None` if the user does not exist.
    pub async fn password_hash(&self, username: &str) -> Result<Option<String>> {
        match self {
            Self::Memory(store) => Ok(store.password_hash(username)),
            Self::Cassandra(store) => store.password_hash(username).await,
            #[cfg(test)]
            Self::Failing(store, _) => Ok(store.password_hash(username)),
        }
    }

    /// # Errors
    /// The store cannot do its work. The outermost message names what is missing, and may be sent to everybody.
    pub async fn ready(&self) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Cassandra(store) => store.ready().await,
            #[cfg(test)]
            Self::Failing(_, failures) => {
                failures.questions.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                anyhow::bail!("told to fail")
            }
        }
    }
}

#[cfg(test)]
fn fail(left: &AtomicU32) -> Result<()> {
    let left = left.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    anyhow::ensure!(left.is_err(), "told to fail");
    Ok(())
}

#[cfg(test)]
impl StatsStore {
    pub fn failing(loads: u32, writes: u32) -> Self {
        let failures = Failures { loads: loads.into(), writes: writes.into(), questions: 0.into() };
        Self::Failing(Arc::default(), Arc::new(failures))
    }
}
