//! Whether there is a Cassandra to write into, and the keyspace of one run, which is gone afterwards.

use anyhow::Result;

use crate::services;

/// A keyspace that a chapter creates, and that nobody else has.
pub struct Keyspace {
    pub node: String,
    pub name: String,
}

impl Keyspace {
    pub fn new(node: &str, round: u32) -> Self {
        Self {
            node: node.to_owned(),
            name: format!("lab_bench_{}_{round}", std::process::id()),
        }
    }

    /// To be called when its writer has ended.
    pub async fn drop_it(&self) -> Result<()> {
        let statement = format!("DROP KEYSPACE IF EXISTS {}", self.name);
        services::cassandra_execute(&self.node, &statement).await
    }
}
