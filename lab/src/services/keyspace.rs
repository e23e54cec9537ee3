//! A keyspace of one check or of one run of a bench: the program under test creates it, and lab drops it afterwards.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use anyhow::Result;

use crate::process::Program;
use crate::services::cql;
use crate::services::program::first_of;

pub struct Keyspace {
    nodes: String,
    name: String,
}

impl Keyspace {
    /// A name that nobody else has, on the Cassandra at `nodes`; `purpose` is a part of it.
    pub fn new(purpose: &str, nodes: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            nodes: nodes.to_owned(),
            name: format!("lab_{purpose}_{}_{number}", std::process::id()),
        }
    }

    /// The first of the nodes, as `host:port`.
    pub fn first_node(&self) -> &str {
        first_of(&self.nodes)
    }

    /// The variables of a program that stores there.
    pub fn variables(&self) -> [(&str, &str); 3] {
        [
            ("STORAGE", "cassandra"),
            ("CASSANDRA_NODES", &self.nodes),
            ("CASSANDRA_KEYSPACE", &self.name),
        ]
    }

    pub fn set(&self, program: Program) -> Program {
        let set = |program: Program, (name, value): (&str, &str)| program.env(name, value);
        self.variables().into_iter().fold(program, set)
    }

    /// Drops it, to be called when its writer has ended. After a failure it stays, to be looked at.
    pub async fn remove(self) -> Result<()> {
        let statement = format!("DROP KEYSPACE IF EXISTS {}", self.name);
        cql::execute(self.first_node(), &statement).await
    }
}
