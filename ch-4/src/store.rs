//! Where totals, users and the place in the stream are kept: in memory, or in Cassandra. A closed set, so an enum.

mod cassandra;
mod memory;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Result;

use crate::config;
use crate::config::Storage;
use crate::event::Event;
use crate::resume::Resume;
use crate::stats::Snapshot;
use crate::store::cassandra::CassandraStats;
use crate::store::memory::MemoryStats;

/// Clones share one store.
#[derive(Clone)]
pub enum StatsStore {
    Memory(Arc<MemoryStats>),
    Cassandra(Arc<CassandraStats>),
    /// Refuses so many writes, then works.
    #[cfg(test)]
    Failing(Arc<MemoryStats>, Arc<std::sync::atomic::AtomicU32>),
}

impl StatsStore {
    /// Opens the store that is configured; waits for one that is not there yet.
    ///
    /// # Errors
    /// It did not come within the time that its module states.
    pub async fn open(config: &config::Store) -> Result<Self> {
        match config.storage {
            Storage::Memory => Ok(Self::Memory(Arc::default())),
            Storage::Cassandra => Ok(Self::Cassandra(Arc::new(
                CassandraStats::open(config).await?,
            ))),
        }
    }

    /// Where the stream is to be read on.
    pub async fn resume(&self) -> Resume {
        match self {
            Self::Memory(_) => Resume::default(),
            Self::Cassandra(store) => store.resume().await,
            #[cfg(test)]
            Self::Failing(..) => Resume::default(),
        }
    }

    /// Counts `events`, and moves on to the place after them: both or, with an error, neither.
    pub async fn record(&self, events: &[Event], resume: &Resume) -> Result<()> {
        match self {
            Self::Memory(store) => store.record(events),
            Self::Cassandra(store) => store.record(events, resume).await?,
            #[cfg(test)]
            Self::Failing(store, failures) => {
                use std::sync::atomic::Ordering;
                let left =
                    failures.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                anyhow::ensure!(left.is_err(), "told to fail");
                store.record(events);
            }
        }
        Ok(())
    }

    pub async fn snapshot(&self) -> Result<Snapshot> {
        match self {
            Self::Memory(store) => Ok(store.snapshot()),
            Self::Cassandra(store) => store.snapshot().await,
            #[cfg(test)]
            Self::Failing(store, _) => Ok(store.snapshot()),
        }
    }

    /// Keeps a user, in the place of an earlier one of that name.
    pub async fn put_user(&self, username: &str, password_hash: &str) -> Result<()> {
        match self {
            Self::Memory(store) => store.put_user(username, password_hash),
            Self::Cassandra(store) => store.put_user(username, password_hash).await?,
            #[cfg(test)]
            Self::Failing(store, _) => store.put_user(username, password_hash),
        }
        Ok(())
    }

    /// The Argon2id hash of the user's password, in PHC form; `None` where there is no such user.
    pub async fn password_hash(&self, username: &str) -> Result<Option<String>> {
        match self {
            Self::Memory(store) => Ok(store.password_hash(username)),
            Self::Cassandra(store) => store.password_hash(username).await,
            #[cfg(test)]
            Self::Failing(store, _) => Ok(store.password_hash(username)),
        }
    }

    /// # Errors
    /// The store does not answer.
    pub async fn ready(&self) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Cassandra(store) => store.ready().await,
            #[cfg(test)]
            Self::Failing(..) => anyhow::bail!("told to fail"),
        }
    }
}
