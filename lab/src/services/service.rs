//! The table of services: what each is called, where it listens, how it is started and how it shows that it serves.
//! A further service is a further variant, and a module beside `cassandra`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::services::cassandra;
use crate::services::cql;
use crate::services::kafka;
use crate::services::program;
use crate::services::program::Port;
use crate::services::program::Program;
use crate::services::program::address;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// Cassandra 5.0, from ch-3 on
    Cassandra,
    /// Kafka 4.1, from ch-5 on
    Kafka,
}

impl Service {
    pub const ALL: [Self; 2] = [Self::Cassandra, Self::Kafka];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cassandra => "cassandra",
            Self::Kafka => "kafka",
        }
    }

    /// Where its program, its log and its data are.
    pub fn folder(self) -> PathBuf {
        program::folder(self.name())
    }

    pub fn ports(self, port: u16) -> Vec<Port> {
        match self {
            Self::Cassandra => cassandra::ports(port).into(),
            Self::Kafka => kafka::ports(port).into(),
        }
    }

    /// How long a start may take, on a slow machine.
    pub fn patience(self) -> Duration {
        match self {
            Self::Cassandra => Duration::from_secs(120),
            Self::Kafka => kafka::PATIENCE,
        }
    }

    pub fn prepare(self, folder: &Path, port: u16) -> Result<Program> {
        match self {
            Self::Cassandra => cassandra::prepare(folder, port),
            Self::Kafka => kafka::prepare(folder, port),
        }
    }

    pub async fn answers(self, port: u16) -> bool {
        match self {
            Self::Cassandra => cql::answers(address(port)).await,
            Self::Kafka => kafka::answers(address(port)).await,
        }
    }
}
