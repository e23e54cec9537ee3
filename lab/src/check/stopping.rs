//! Sends SIGTERM while many events come: the program must end in time and lose nothing that it has taken. Suite 5
//! checks this on any broker, and `--faults` on a Kafka of its own.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::messages;
use crate::check::progress;
use crate::check::server::Server;
use crate::check::session;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::check::truth;
use crate::check::wait::PATIENCE;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;
use crate::replay::Replay;

/// The contract. A signal's end is measured here, and not only waited for.
const GRACE: Duration = Duration::from_secs(10);

/// A stream of 7 s, of which the first member of a group waits 3 s for others; the embedded broker could not keep much
/// more.
async fn load() -> Result<Replay> {
    let options = replay::Options { rate: 3_000, ..replay::Options::of(21_000) };
    replay::start(options).await
}

/// Ends a role by SIGTERM, with exit status 0, in less than 10 s.
pub async fn in_time(server: &mut Server) -> Result<()> {
    let begun = Instant::now();
    server.ends_on(Signal::TERM).await?;
    let took = begun.elapsed();
    ensure!(took < GRACE, "it took {:.1} s", took.as_secs_f64());
    Ok(())
}

/// A signal after the end of the stream would show nothing.
pub fn in_the_middle(replay: &Replay) -> Result<()> {
    ensure!(!replay.progress().finished, "the stream had ended before the last signal was sent");
    Ok(())
}

pub async fn producer(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let replay = load().await?;
    let url = replay.stream_url();
    let mut server = subject.start_producer(&topics, &url).await?;
    progress::at_least(subject, &topics, 5_000).await?;
    in_time(&mut server).await?;
    in_the_middle(&replay)?;
    let mut server = subject.start_producer(&topics, &url).await?;
    progress::all_sent(subject, &topics, &replay).await?;
    in_time(&mut server).await?;
    let records = subject.broker()?.consume(&topics.events).await?;
    messages::is_each_once(&records, &replay)
}

pub async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    consumer(subject, &topics, |program| topics.set(program)).await?;
    Ok(())
}

pub async fn cassandra(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let mut again = consumer(subject, &topics, set).await?;
    in_time(&mut again).await.context("the second time")?;
    keyspace.remove().await
}

/// Ends a consumer in the middle of a stream, and starts it again; returns the one that has counted everything.
async fn consumer(
    subject: &Subject,
    topics: &Topics,
    set: impl Fn(Program) -> Program + Copy,
) -> Result<Server> {
    let replay = load().await?;
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    session::is_counting(&server.client, 2_000, PATIENCE).await?;
    in_time(&mut server).await?;
    in_the_middle(&replay)?;
    let again = subject.start_role(CONSUMER, set).await?;
    truth::is_all(subject, topics, &again.client, &replay).await?;
    Ok(again)
}
