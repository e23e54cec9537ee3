//! The rows of the pipeline's bench, and what a run of one gives.

use crate::bench::rounds;
use crate::bench::row::Measured;
use crate::bench::row::Memory;

/// In the order in which they are measured and shown.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Row {
    Read,
    Parse,
    Watch,
    Produce,
    Librdkafka,
    Memory,
    Cassandra,
    Resident,
}

pub const ROWS: [Row; 8] = [
    Row::Read,
    Row::Parse,
    Row::Watch,
    Row::Produce,
    Row::Librdkafka,
    Row::Memory,
    Row::Cassandra,
    Row::Resident,
];

pub const RESIDENT_EVENTS: u64 = 2_000_000;

/// What one run of a row gave.
pub enum Outcome {
    Throughput(Measured),
    /// Of the producer and of the consumer.
    Resident([Memory; 2]),
}

pub type Rounds = rounds::Rounds<Row, Outcome>;

impl rounds::Row for Row {
    fn name(self, chapter: u8) -> String {
        match self {
            Self::Read => "read".to_owned(),
            Self::Parse => "read and parse".to_owned(),
            Self::Watch => format!("ch-{chapter} watch"),
            Self::Produce => format!("ch-{chapter} producer"),
            Self::Librdkafka => "librdkafka alone".to_owned(),
            Self::Memory => format!("ch-{chapter} consumer, memory"),
            Self::Cassandra => format!("ch-{chapter} consumer, Cassandra"),
            Self::Resident => format!("ch-{chapter} resident memory"),
        }
    }
}

impl rounds::Outcome for Outcome {
    fn line(&self) -> String {
        match self {
            Self::Throughput(run) => run.line(),
            Self::Resident([producer, consumer]) => {
                format!("at most {} and {} MiB", producer.peak / 1024, consumer.peak / 1024)
            }
        }
    }

    fn throughput(&self) -> Option<Measured> {
        match self {
            Self::Throughput(run) => Some(*run),
            Self::Resident(_) => None,
        }
    }
}
