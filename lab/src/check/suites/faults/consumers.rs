//! A second consumer joins and leaves while events arrive.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::KAFKA;
use crate::check::runner::Needs;
use crate::check::server::Server;
use crate::check::session;
use crate::check::stopping;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::check::truth;
use crate::check::wait::PATIENCE;
use crate::process::Program;
use crate::replay;

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
        expected: "no count falls meanwhile; at the end every field of /stats equal to what the stream has sent",
        hint: "commit what is written before a partition is given away, and load the totals where it is taken over",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(cassandra(subject)),
        ..KAFKA
    },
];

fn load() -> replay::Options {
    replay::Options { rate: 3_000, ..replay::Options::of(30_000) }
}

async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    joins_and_leaves(subject, &topics, |program| topics.set(program)).await
}

async fn cassandra(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    joins_and_leaves(subject, &topics, set).await?;
    keyspace.remove().await
}

async fn joins_and_leaves(
    subject: &Subject,
    topics: &Topics,
    set: impl Fn(Program) -> Program + Copy,
) -> Result<()> {
    let replay = replay::start(load()).await?;
    let first = subject.serve_stream_with(&replay.stream_url(), set).await?;
    session::is_counting(&first.client, 3_000, PATIENCE).await?;
    let mut second = subject.start_role(CONSUMER, set).await?;
    grows_by(&first, 6_000).await?;
    session::is_counting(&second.client, 3_000, PATIENCE).await.context("the second")?;
    stopping::in_time(&mut second).await.context("the second")?;
    stopping::in_the_middle(&replay)?;
    truth::is_all(subject, topics, &first.client, &replay).await
}

/// Watches the count grow, and never fall.
async fn grows_by(server: &Server, messages: u64) -> Result<()> {
    let start = Instant::now();
    let mut last = 0;
    let mut until = None;
    loop {
        let came = session::messages(&server.client).await?;
        ensure!(came >= last, "{came} messages after {last}");
        last = came;
        if came >= *until.get_or_insert(came + messages) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{came} messages, and they no longer grow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
