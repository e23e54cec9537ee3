//! Both roles together: what the stream has sent is what `/stats` shows.

use anyhow::Result;

use crate::check::runner::CASSANDRA;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::check::truth;
use crate::process::Program;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "20,000 events over both roles are counted exactly, by_user too",
        expected: "every field of /stats equal to what the stream has sent, although connections are cut and events repeated; no message is counted twice",
        hint: "look first whether the topic is right: that shows which of the roles is wrong",
        smoke: true,
        run: |subject| Box::pin(memory(subject)),
        ..PROCESS
    },
    Check {
        name: "20,000 events over both roles are counted exactly in Cassandra",
        expected: "every field of /stats equal to what the stream has sent, by_user too; no message is counted twice",
        hint: "the totals of each partition are a Cassandra partition of their own; /stats puts them together",
        run: |subject| Box::pin(cassandra(subject)),
        ..CASSANDRA
    },
];

async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    counted(subject, &topics, |program| topics.set(program)).await
}

async fn cassandra(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let keyspace = subject.keyspace()?;
    counted(subject, &topics, |program| keyspace.set(topics.set(program))).await?;
    keyspace.remove().await
}

async fn counted(
    subject: &Subject,
    topics: &Topics,
    set: impl Fn(Program) -> Program,
) -> Result<()> {
    let mut options = replay::Options::of(20_000);
    options.seed = 5;
    let faults = &mut options.faults;
    faults.cut_every = Some(1_501);
    faults.back = 40;
    faults.odd_every = Some(100);
    let replay = replay::start(options).await?;
    let server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    truth::is_all(subject, topics, &server.client, &replay).await
}
