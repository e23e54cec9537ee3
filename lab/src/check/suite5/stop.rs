//! SIGTERM while events stream through: an end in time, and everything flushed.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::super::roles::CONSUMER;
use super::super::roles::PRODUCER;
use super::super::roles::Topics;
use super::super::runner::Check;
use super::super::runner::Needs;
use super::super::runner::PROCESS;
use super::super::subject::Server;
use super::super::subject::Subject;
use super::super::suite3::cql::Keyspace;
use super::super::suite3::exact;
use super::super::suite3::session;
use super::exact::in_cassandra;
use super::exact::is_all;
use super::messages;
use super::messages::PATIENCE;
use super::producer::is_each_once;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "SIGTERM under load flushes the producer",
        expected: "exit status 0 in less than 10 s, and after a restart each event in the topic once",
        hint: "stop reading, wait for every acknowledgement, then write the cursor",
        run: |subject| Box::pin(producer(subject)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM under load ends a consumer with the memory store",
        expected: "exit status 0 in less than 10 s, while 3,000 events a second arrive",
        hint: "leaving the group blocks; give it a deadline",
        run: |subject| Box::pin(memory(subject)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM under load flushes a consumer with Cassandra",
        expected: "exit status 0 in less than 10 s, and after a restart every field of /stats as the truth has it",
        hint: "write what was taken, then commit, then leave the group",
        needs: Needs::Cassandra,
        smoke: true,
        run: |subject| Box::pin(cassandra(subject)),
        ..PROCESS
    },
];

/// The contract. A signal's end is measured here, and not only waited for.
pub const GRACE: Duration = Duration::from_secs(10);

/// A stream of 7 s, of which the first member of a group waits 3 s for others; the embedded broker could not keep much
/// more.
pub fn load() -> replay::Options {
    let mut options = exact::options(21_000);
    options.rate = 3_000;
    options
}

/// Ends a role by SIGTERM, with exit status 0, in less than 10 s.
pub async fn in_time(server: &mut Server) -> Result<()> {
    let begun = Instant::now();
    server.ends_on(Signal::TERM).await?;
    let took = begun.elapsed();
    ensure!(took < GRACE, "it took {:.1} s", took.as_secs_f64());
    Ok(())
}

pub async fn producer(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let replay = replay::start(load()).await?;
    let set = |program: Program| {
        topics
            .set(program)
            .env("WIKIPEDIA_STREAM_URL", replay.stream_url())
    };
    let mut server = subject.start_role(PRODUCER, set).await?;
    messages::at_least(subject, &topics, 5_000).await?;
    in_time(&mut server).await?;
    ensure!(
        !replay.progress().finished,
        "the replay was over before the signal"
    );
    let mut server = subject.start_role(PRODUCER, set).await?;
    messages::all_sent(subject, &topics, &replay).await?;
    in_time(&mut server).await?;
    is_each_once(&subject.broker()?.consume(&topics.events).await?, &replay)
}

pub async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let replay = replay::start(load()).await?;
    let mut server = subject
        .serve_stream_with(&replay.stream_url(), |program| topics.set(program))
        .await?;
    is_counting(&server, 2_000).await?;
    in_time(&mut server).await?;
    ensure!(
        !replay.progress().finished,
        "the replay was over before the signal"
    );
    let again = subject
        .start_role(CONSUMER, |program| topics.set(program))
        .await?;
    is_all(subject, &topics, &again.client, &replay).await
}

pub async fn is_counting(server: &Server, messages: u64) -> Result<()> {
    let (start, token) = (Instant::now(), session::good_token()?);
    while session::messages(&session::stats(&server.client, &token).await?) < messages {
        ensure!(
            start.elapsed() < PATIENCE,
            "not {messages} messages within {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

pub async fn cassandra(subject: &Subject) -> Result<()> {
    let topics: Topics = subject.topics().await?;
    let keyspace = Keyspace::new(subject)?;
    let replay = replay::start(load()).await?;
    let set = |program: Program| in_cassandra(topics.set(program), &keyspace);
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    is_counting(&server, 2_000).await?;
    in_time(&mut server).await?;
    ensure!(
        !replay.progress().finished,
        "the replay was over before the signal"
    );
    let mut again = subject.start_role(CONSUMER, set).await?;
    is_all(subject, &topics, &again.client, &replay).await?;
    in_time(&mut again).await.context("the second time")?;
    keyspace.remove().await
}
