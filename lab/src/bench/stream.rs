//! `cargo lab bench stream`: measures the way from the replay into a chapter, and compares it with reading the same
//! bytes. Each program is a process of its own, and each row runs again in every round, so that a busy moment of the
//! machine does not fall on one row alone.

mod report;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::bench::load;
use crate::bench::machine;
use crate::bench::reader;
use crate::bench::replay;
use crate::bench::row::Measured;
use crate::bench::server::Server;
use crate::bench::stream::rows::Outcome;
use crate::bench::stream::rows::REQUESTS_A_SECOND;
use crate::bench::stream::rows::ROWS;
use crate::bench::stream::rows::Resident;
use crate::bench::stream::rows::Rounds;
use crate::bench::stream::rows::Row;
use crate::bench::stream::rows::StatsUnderLoad;
use crate::chapters;
use crate::process;
use crate::services;
use crate::services::Keyspace;

/// Measures the way from the stream into a chapter's statistics, and reading the same bytes alone
///
/// The rows begin with the least work, and each adds something to the one above:
///   read       reads the bytes with the chapters' HTTP client, and looks only for the ends of lines
///   parse      as `read`, and then parses the events with eventsource-stream and serde_json in the plainest way
///   watch      the chapter's own client, `ch-N watch > /dev/null`, which survives hostile bytes and can resume
///   memory     `ch-N serve`, from the first event to the last one counted; its totals must be those of the replay
///   cassandra  the same into Cassandra, if one answers, in a keyspace that is dropped afterwards
///   stats      events at half the rate of `memory`, and at the same time 2,000 requests of /stats a second
///   resident   the memory of `ch-N serve` after 2 million events of 300,000 users
///
/// The reader and the replay are processes of their own. The columns in microseconds show the CPU time that each of them
/// takes for an event; it depends less than the rate on what else the machine does. A reader uses one thread, so a
/// million divided by its microseconds is about the highest rate that it can reach. `elsewhere` is the share of the
/// machine that other programs have used (in the row of Cassandra this is mostly Cassandra). If it is more than a few
/// percent, compare ratios only.
///
/// The command fails if totals are wrong or if a row does not end, but never because something is slow.
///
///   cargo lab bench stream
///   cargo lab bench stream --only memory --only read --events 300000 --runs 1
///   cargo lab services up && cargo lab bench stream --only cassandra
#[derive(clap::Args, Clone)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter [default: the newest that has these rows]
    #[arg(long, value_name = "N", value_parser = chapters::number)]
    chapter: Option<u8>,

    /// Events of each run
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(10_000..))]
    events: u64,

    /// How many rounds there are; the table shows the medians
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// Only this row; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,

    /// Where Cassandra answers, if there is one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9042", value_parser = |text: &str| services::addresses(text, 9042))]
    cassandra: String,

    /// For how many seconds requests of /stats are sent in each round
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Events a second during `stats`, instead of half of what `memory` reached
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

const RESIDENT_EVENTS: u64 = 2_000_000;
/// So many to draw from that 300,000 are drawn in as many events.
const RESIDENT_USERS: u32 = 2_000_000;

/// From chapter 5 on the stream goes through a broker: reading it and counting are two programs.
const LAST_CHAPTER: u8 = 4;

/// What all runs have in common.
struct Bench {
    options: Options,
    chapter: PathBuf,
    probe: Option<PathBuf>,
    deadline: Duration,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let number = pick(options.chapter)?;
    let wanted = |row: &Row| options.only.is_empty() || options.only.contains(row);
    let rows: Vec<Row> = ROWS.into_iter().filter(wanted).collect();
    let machine = machine::describe();
    let probes = rows.iter().any(|row| matches!(row, Row::Read | Row::Parse));
    let bench = Bench {
        chapter: process::build(number).await?,
        probe: if probes { Some(process::build_package("lab-probe").await?) } else { None },
        // A twentieth of the slowest target, and time to start.
        deadline: Duration::from_secs(60 + options.events.max(RESIDENT_EVENTS) / 2_000),
        options,
    };
    let mut rounds = Rounds::new(number, bench.options.events, replay::event_bytes().await?);
    let has_cassandra = services::cassandra_answers(&bench.options.cassandra).await;
    for round in 1..=bench.options.runs {
        for &row in &rows {
            if let Some(reason) = skipped(row, number, has_cassandra, &bench.options.cassandra) {
                rounds.skip(row, reason);
                continue;
            }
            // Memory does not depend on what else the machine does.
            if row == Row::Resident && round > 1 {
                continue;
            }
            let outcome = bench.run(row, &rounds).await;
            let line = rounds.add(row, round, outcome);
            eprintln!("round {round} of {}: {line}", bench.options.runs);
        }
    }
    let sections = report::sections(&rounds);
    rounds.print(&machine, bench.options.runs, &sections)
}

/// The newest chapter that reads the stream and serves what it has counted in one program.
fn pick(asked: Option<u8>) -> Result<u8> {
    let number = match asked {
        Some(number) => chapters::pick(Some(number))?,
        None => chapters::pick(None)?.min(LAST_CHAPTER),
    };
    if !(2..=LAST_CHAPTER).contains(&number) {
        bail!(
            "chapter {number} does not read the stream into its own statistics; 2 to {LAST_CHAPTER} do"
        );
    }
    Ok(number)
}

fn skipped(row: Row, chapter: u8, has_cassandra: bool, node: &str) -> Option<String> {
    match row {
        Row::Read | Row::Parse | Row::Watch => None,
        _ if chapter < 3 => Some(format!("chapter {chapter} counts nothing")),
        Row::Cassandra if !has_cassandra => {
            Some(format!("no Cassandra answers on {node}: `cargo lab services up` starts one"))
        }
        _ => None,
    }
}

impl Bench {
    async fn run(&self, row: Row, rounds: &Rounds) -> Result<Outcome> {
        let events = self.options.events;
        let probe = || self.probe.as_deref().context("lab-probe was not built");
        let measured = match row {
            Row::Read => reader::probe(probe()?, "read", events, self.deadline).await?,
            Row::Parse => reader::probe(probe()?, "parse", events, self.deadline).await?,
            Row::Watch => reader::watch(&self.chapter, events, self.deadline).await?,
            Row::Memory => self.memory().await?,
            Row::Cassandra => self.cassandra().await?,
            Row::Stats => {
                let reached = rounds.median(Row::Memory).map(|run| run.events_a_second);
                return Ok(Outcome::Stats(self.stats(reached).await?));
            }
            Row::Resident => return Ok(Outcome::Resident(self.resident().await?)),
        };
        Ok(Outcome::Throughput(measured))
    }

    async fn memory(&self) -> Result<Measured> {
        let mut server = Server::start(&self.chapter, "serve", &[("STORAGE", "memory")]).await?;
        let counted = server.count(reader::USERS, self.options.events, self.deadline);
        Ok(counted.await?.0)
    }

    async fn cassandra(&self) -> Result<Measured> {
        let keyspace = Keyspace::new("bench", &self.options.cassandra);
        let store = keyspace.variables();
        let counted = async {
            let mut server = Server::start(&self.chapter, "serve", &store).await?;
            let counted = server.count(reader::USERS, self.options.events, self.deadline);
            anyhow::Ok(counted.await?.0)
        };
        let counted = counted.await;
        keyspace.remove().await?;
        counted
    }

    /// `reached` is the rate of `memory`; where that was not asked for, it is measured now.
    async fn stats(&self, reached: Option<f64>) -> Result<StatsUnderLoad> {
        let rate = match (self.options.rate, reached) {
            (Some(rate), _) => rate,
            (None, Some(reached)) => (reached / 2.0) as u64,
            (None, None) => (self.memory().await?.events_a_second / 2.0) as u64,
        };
        let server = Server::start(&self.chapter, "serve", &[("STORAGE", "memory")]).await?;
        let replay = server.replay(rate, reader::USERS, None).await?;
        replay.first_event(self.deadline).await?;
        let plan = load::Plan {
            authority: server.authority().to_owned(),
            path: "/stats",
            token: server.token.clone(),
            requests_a_second: REQUESTS_A_SECOND,
            time: Duration::from_secs(self.options.seconds),
        };
        let before = server.messages().await?;
        let begun = tokio::time::Instant::now();
        let load = tokio::time::timeout(self.deadline + plan.time, load::run(&plan))
            .await
            .ok()
            .context("the load does not end")??;
        let counted = server.messages().await? - before;
        Ok(StatsUnderLoad {
            load,
            asked_events_a_second: rate,
            events_a_second: counted as f64 / begun.elapsed().as_secs_f64(),
        })
    }

    async fn resident(&self) -> Result<Resident> {
        let mut server = Server::start(&self.chapter, "serve", &[("STORAGE", "memory")]).await?;
        let counted = server.count(RESIDENT_USERS, RESIDENT_EVENTS, self.deadline);
        let (_, stats) = counted.await?;
        let usage = server.usage();
        let mib = |kib: u64| kib as f64 / 1024.0;
        Ok(Resident {
            events: RESIDENT_EVENTS,
            distinct_users: stats["distinct_users"].as_u64().unwrap_or_default(),
            resident_mib: usage.map(|usage| mib(usage.resident_kib)),
            peak_mib: usage.map(|usage| mib(usage.peak_kib)),
        })
    }
}
