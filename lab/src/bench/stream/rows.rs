//! The rows of the stream's bench, and what a run of one gives.

use crate::bench::load::Load;
use crate::bench::rounds;
use crate::bench::row::Measured;
use crate::bench::table::millis;
use crate::bench::table::number;

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum Row {
    Read,
    Parse,
    Watch,
    Memory,
    Cassandra,
    Stats,
    Resident,
}

/// In the order in which they are measured and shown.
pub const ROWS: [Row; 7] =
    [Row::Read, Row::Parse, Row::Watch, Row::Memory, Row::Cassandra, Row::Stats, Row::Resident];

pub const REQUESTS_A_SECOND: u32 = 2_000;

/// What one run of a row gave.
pub enum Outcome {
    Throughput(Measured),
    Stats(StatsUnderLoad),
    Resident(Resident),
}

pub struct StatsUnderLoad {
    pub load: Load,
    pub asked_events_a_second: u64,
    pub events_a_second: f64,
}

pub struct Resident {
    pub events: u64,
    pub distinct_users: u64,
    pub resident_mib: Option<f64>,
    pub peak_mib: Option<f64>,
}

pub type Rounds = rounds::Rounds<Row, Outcome>;

impl rounds::Row for Row {
    fn name(self, chapter: u8) -> String {
        match self {
            Self::Read => "read".to_owned(),
            Self::Parse => "read and parse".to_owned(),
            Self::Watch => format!("ch-{chapter} watch"),
            Self::Memory => format!("ch-{chapter} serve, memory"),
            Self::Cassandra => format!("ch-{chapter} serve, Cassandra"),
            Self::Stats => format!("ch-{chapter} /stats under load"),
            Self::Resident => format!("ch-{chapter} resident memory"),
        }
    }
}

impl rounds::Outcome for Outcome {
    fn line(&self) -> String {
        match self {
            Self::Throughput(run) => run.line(),
            Self::Stats(run) => format!("p99 {}", millis(run.load.percentile(99.0))),
            Self::Resident(run) => format!("{} MiB", number(run.resident_mib, 0)),
        }
    }

    fn throughput(&self) -> Option<Measured> {
        match self {
            Self::Throughput(run) => Some(*run),
            _ => None,
        }
    }
}
