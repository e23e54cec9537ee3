//! A second consumer joins and leaves while events arrive.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::super::roles::CONSUMER;
use super::super::runner::Check;
use super::super::runner::Needs;
use super::super::runner::PROCESS;
use super::super::subject::Server;
use super::super::subject::Subject;
use super::super::suite3::cql::Keyspace;
use super::super::suite3::exact;
use super::super::suite3::session;
use super::super::suite5::exact::in_cassandra;
use super::super::suite5::exact::is_all;
use super::super::suite5::messages::PATIENCE;
use super::super::suite5::stop::in_time;
use super::super::suite5::stop::is_counting;
use crate::process::Program;
use crate::replay;

const KAFKA: Check = Check {
    needs: Needs::Faults,
    ..PROCESS
};

pub const CHECKS: &[Check] = &[
    Check {
        name: "a second consumer with the memory store joins and leaves",
        expected: "every field of /stats of the first as the truth has it, and of the second up to where it left",
        hint: "each is a group of its own: neither takes a partition from the other",
        run: |subject| Box::pin(memory(subject)),
        ..KAFKA
    },
    Check {
        name: "a second consumer with Cassandra joins and leaves",
        expected: "during it no count that falls; at the end every field of /stats as the truth has it",
        hint: "what is written is committed before a partition is given away, and loaded where it is taken over",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(cassandra(subject)),
        ..KAFKA
    },
];

fn load() -> replay::Options {
    let mut options = exact::options(30_000);
    options.rate = 3_000;
    options
}

async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    joins_and_leaves(subject, &topics, |program| topics.set(program)).await
}

async fn cassandra(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let keyspace = Keyspace::new(subject)?;
    let set = |program: Program| in_cassandra(topics.set(program), &keyspace);
    joins_and_leaves(subject, &topics, set).await?;
    keyspace.remove().await
}

async fn joins_and_leaves(
    subject: &Subject,
    topics: &super::super::roles::Topics,
    set: impl Fn(Program) -> Program + Copy,
) -> Result<()> {
    let replay = replay::start(load()).await?;
    let first = subject.serve_stream_with(&replay.stream_url(), set).await?;
    is_counting(&first, 3_000).await?;
    let mut second = subject.start_role(CONSUMER, set).await?;
    grows_by(&first, 6_000).await?;
    is_counting(&second, 3_000).await.context("the second")?;
    in_time(&mut second).await.context("the second")?;
    ensure!(
        !replay.progress().finished,
        "the replay was over before the second had left"
    );
    is_all(subject, topics, &first.client, &replay).await
}

/// Watches the count grow, and never fall.
async fn grows_by(server: &Server, messages: u64) -> Result<()> {
    let (start, token) = (Instant::now(), session::good_token()?);
    let mut last = 0;
    let mut until = None;
    loop {
        let came = session::messages(&session::stats(&server.client, &token).await?);
        ensure!(came >= last, "{came} messages after {last}");
        last = came;
        if came >= *until.get_or_insert(came + messages) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "{came} messages, and they no longer grow"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
