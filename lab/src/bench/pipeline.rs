//! `cargo lab bench pipeline`: measures the way from the replay through a real broker into a consumer's statistics, and
//! compares it with what reading and parsing alone cost. Each program is a process of its own, and each row runs again
//! in every round.

mod broker;
mod report;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use serde_json::Value;

use crate::bench::machine;
use crate::bench::pipeline::broker::BenchBroker;
use crate::bench::pipeline::rows::Outcome;
use crate::bench::pipeline::rows::RESIDENT_EVENTS;
use crate::bench::pipeline::rows::ROWS;
use crate::bench::pipeline::rows::Rounds;
use crate::bench::pipeline::rows::Row;
use crate::bench::producer::Producer;
use crate::bench::reader;
use crate::bench::replay;
use crate::bench::row::Measured;
use crate::bench::row::Memory;
use crate::bench::server::Server;
use crate::chapters;
use crate::process;
use crate::services;
use crate::services::Keyspace;

/// Measures the way from the stream through a broker into a chapter's statistics, and its parts alone
///
/// Every row runs in every round, so that the rows can be compared although the machine is not always equally busy:
///   read       reads the bytes of the stream with the chapters' HTTP client, and looks only for the ends of lines
///   parse      as `read`, and then parses the events with eventsource-stream and serde_json in the plainest way
///   watch      the chapter's own client, `ch-N watch > /dev/null`
///   produce    `ch-N producer`, from the first event to the last acknowledgement; each event must be in the topic once
///   librdkafka reads that topic with librdkafka alone, and does nothing with the messages
///   memory     `ch-N consumer` reads that topic into memory; its totals must be those of the replay
///   cassandra  the same into Cassandra, if one answers, in a keyspace that is dropped afterwards
///   resident   the memory of both roles when half of 2 million events have come, and at the end
///
/// The broker is a Kafka that this command starts, with its data in target/, and deletes at the end. With --broker it is
/// the one that you name; its topics lab_bench_… are deleted at the end. Programs and broker share the processors of
/// this machine, so the CPU time for an event (`µs`) says more than the rate. `elsewhere` is the share of the machine
/// that other programs have used (in the row of Cassandra this is mostly Cassandra). If it is more than a few percent,
/// compare ratios only.
///
/// This is where the time goes. The producer mostly parses, as `parse` shows. In `memory`, a quarter is spent in the
/// thread of librdkafka, and the rest with JSON, allocations and the tables of totals. In `cassandra` the consumer
/// mostly waits: for a slice of 500 events it takes 5 ms, and in 4 of them Cassandra writes 290 rows. To ask Cassandra
/// for the totals takes 25 ms and more, so the command asks only about 25 times.
///
/// The command fails if counts are wrong or if a row does not end, but never because something is slow.
///
///   cargo lab bench pipeline
///   cargo lab bench pipeline --only parse --only produce --runs 5
///   cargo lab services up cassandra && cargo lab bench pipeline --only cassandra
#[derive(clap::Args, Clone)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter [default: the newest]
    #[arg(long, value_name = "N", value_parser = chapters::number)]
    chapter: Option<u8>,

    /// Events of each run
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(100_000..))]
    events: u64,

    /// How many rounds there are; the table shows the medians
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// Only this row; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,

    /// A broker that runs already, instead of one that this command starts
    #[arg(long, value_name = "HOST:PORT", value_parser = |text: &str| services::addresses(text, 9092))]
    broker: Option<String>,

    /// REDPANDA_PROPERTIES of producer and consumer, to compare two settings. Example: linger.ms=50
    #[arg(long, value_name = "NAME=VALUE,…", default_value = "")]
    properties: String,

    /// Where Cassandra answers, if there is one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9042", value_parser = |text: &str| services::addresses(text, 9042))]
    cassandra: String,
}

const WARM_EVENTS: u64 = 300_000;
const FIRST_CHAPTER: u8 = 5;

/// A topic that was filled, and what a correct consumer counts of it.
struct Filled {
    topic: String,
    truth: Value,
}

/// What all runs have in common.
struct Bench {
    options: Options,
    chapter: PathBuf,
    probe: PathBuf,
    broker: BenchBroker,
    deadline: Duration,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let number = chapters::pick(options.chapter)?;
    if number < FIRST_CHAPTER {
        bail!("chapter {number} has no producer; try `cargo lab bench stream --chapter {number}`");
    }
    let wanted = |row: &Row| options.only.is_empty() || options.only.contains(row);
    let rows: Vec<Row> = ROWS.into_iter().filter(wanted).collect();
    let machine = machine::describe();
    let bench = Bench {
        chapter: process::build(number).await?,
        probe: process::build_package("lab-probe").await?,
        broker: BenchBroker::open(options.broker.as_deref()).await?,
        // A tenth of the slowest target, and time to start.
        deadline: Duration::from_secs(60 + options.events.max(RESIDENT_EVENTS) / 5_000),
        options,
    };
    if rows.iter().any(|row| *row >= Row::Produce) {
        // Java compiles what is used often: a broker that has just started takes five times as long for an event, and
        // a Cassandra half as long again.
        let (.., warm) = bench.fill("warm", WARM_EVENTS).await?;
        if rows.contains(&Row::Cassandra) && bench.has_cassandra().await {
            bench.cassandra(&warm).await?;
        }
        bench.broker.forget(&warm.topic).await?;
    }
    let mut rounds = Rounds::new(number, bench.options.events, replay::event_bytes().await?);
    for round in 1..=bench.options.runs {
        // What the rows behind `produce` read; without that row it is filled all the same.
        let mut filled = None;
        for &row in &rows {
            // Memory does not depend on what else the machine does.
            if row == Row::Resident && round > 1 {
                continue;
            }
            if row == Row::Cassandra && !bench.has_cassandra().await {
                let node = &bench.options.cassandra;
                let reason =
                    format!("no Cassandra answers on {node}: `cargo lab services up` starts one");
                rounds.skip(row, reason);
                continue;
            }
            let outcome = bench.run(row, round, &mut filled).await;
            let line = rounds.add(row, round, outcome);
            eprintln!("round {round} of {}: {line}", bench.options.runs);
        }
        if let Some(filled) = filled {
            bench.broker.forget(&filled.topic).await?;
        }
    }
    let runs = bench.options.runs;
    bench.broker.close().await?;
    rounds.print(&machine, runs, &report::sections(&rounds))
}

impl Bench {
    async fn has_cassandra(&self) -> bool {
        services::cassandra_answers(&self.options.cassandra).await
    }

    async fn run(&self, row: Row, round: u32, filled: &mut Option<Filled>) -> Result<Outcome> {
        let events = self.options.events;
        let measured = match row {
            Row::Read => reader::probe(&self.probe, "read", events, self.deadline).await?,
            Row::Parse => reader::probe(&self.probe, "parse", events, self.deadline).await?,
            Row::Watch => reader::watch(&self.chapter, events, self.deadline).await?,
            Row::Produce => {
                let (measured, _, topic) = self.fill(&format!("{round}"), events).await?;
                *filled = Some(topic);
                measured
            }
            Row::Librdkafka => {
                let filled = self.filled(round, filled).await?;
                self.broker.bare_read(&filled.topic, &filled.truth).await?
            }
            Row::Memory => {
                let filled = self.filled(round, filled).await?;
                self.drain(filled, &[("STORAGE", "memory")]).await?.0
            }
            Row::Cassandra => {
                let filled = self.filled(round, filled).await?;
                self.cassandra(filled).await?
            }
            Row::Resident => return Ok(Outcome::Resident(self.resident().await?)),
        };
        Ok(Outcome::Throughput(measured))
    }

    async fn filled<'f>(
        &self,
        round: u32,
        filled: &'f mut Option<Filled>,
    ) -> Result<&'f mut Filled> {
        Ok(match filled {
            Some(filled) => filled,
            none => {
                let (_, _, topic) = self.fill(&format!("{round}"), self.options.events).await?;
                none.insert(topic)
            }
        })
    }

    async fn fill(&self, name: &str, events: u64) -> Result<(Measured, Memory, Filled)> {
        let topic = format!("lab_bench_{}_{name}", std::process::id());
        let environment = [
            ("REDPANDA_BROKER", self.broker.broker.address.as_str()),
            ("REDPANDA_PROPERTIES", &self.options.properties),
            ("WIKIPEDIA_TOPIC", &topic),
        ];
        let mut producer = Producer::start(&self.chapter, &environment)?;
        let (broker, usage) = (&self.broker.broker, || self.broker.usage());
        let (measured, memory, truth) =
            producer.fill(broker, usage, &topic, events, self.deadline).await?;
        producer.stop(&truth).await?;
        Ok((measured, memory, Filled { topic, truth }))
    }

    async fn drain(&self, filled: &Filled, store: &[(&str, &str)]) -> Result<(Measured, Memory)> {
        let mut environment = vec![
            ("REDPANDA_BROKER", self.broker.broker.address.as_str()),
            ("REDPANDA_PROPERTIES", &self.options.properties),
            ("WIKIPEDIA_TOPIC", &filled.topic),
            // Nobody else's, and nobody's before.
            ("CONSUMER_GROUP", &filled.topic),
        ];
        environment.extend(store);
        let mut server = Server::start(&self.chapter, "consumer", &environment).await?;
        let usage = || self.broker.usage();
        server.drain(&filled.truth, usage, self.deadline).await
    }

    async fn cassandra(&self, filled: &Filled) -> Result<Measured> {
        let keyspace = Keyspace::new("bench", &self.options.cassandra);
        let drained = self.drain(filled, &keyspace.variables()).await;
        keyspace.remove().await?;
        Ok(drained?.0)
    }

    async fn resident(&self) -> Result<[Memory; 2]> {
        let (_, producer, filled) = self.fill("resident", RESIDENT_EVENTS).await?;
        let (_, consumer) = self.drain(&filled, &[("STORAGE", "memory")]).await?;
        self.broker.forget(&filled.topic).await?;
        Ok([producer, consumer])
    }
}
