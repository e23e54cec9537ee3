//! The names by which the broker knows a check: its topic, its cursor and its group.

use std::pin::pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream;

use crate::broker::Broker;
use crate::process::Program;

/// The partitions of a topic where nothing else is said.
pub const PARTITIONS: i32 = 6;

/// A topic, its cursor and a group that no other check has.
#[derive(Clone, Debug)]
pub struct Topics {
    pub events: String,
    pub cursor: String,
    pub group: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Topics {
    pub fn new() -> Self {
        Self::numbered(COUNT.fetch_add(1, Ordering::Relaxed))
    }

    fn numbered(number: u32) -> Self {
        let events = format!("lab-check-{}-{number}", std::process::id());
        Self { cursor: format!("{events}.cursor"), group: format!("{events}.group"), events }
    }

    pub fn set(&self, program: Program) -> Program {
        program
            .env("WIKIPEDIA_TOPIC", &self.events)
            .env("CURSOR_TOPIC", &self.cursor)
            .env("CONSUMER_GROUP", &self.group)
    }

    /// Makes them where the program can't: the embedded broker has no admin API.
    pub async fn make(&self, broker: &Broker) -> Result<()> {
        if broker.is_embedded() {
            broker.create(&self.events, PARTITIONS, &[]).await?;
            broker.create(&self.cursor, 1, &[]).await?;
        }
        Ok(())
    }

    /// Deletes all that this run has named.
    pub async fn delete_all(broker: &Broker) {
        let deletions = (0..COUNT.load(Ordering::Relaxed))
            .map(Self::numbered)
            .flat_map(|topics| [topics.events, topics.cursor])
            // A topic that was never made is no loss.
            .map(|name| async move { drop(broker.delete(&name).await) });
        let mut deletions = pin!(stream::iter(deletions).buffer_unordered(8));
        while deletions.next().await.is_some() {}
    }
}
