//! A consumer that is paused for longer than its session, as by a laptop that sleeps or a virtual machine that is
//! moved, and then goes on as if nothing had happened. The group has given its partitions away meanwhile.

use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::KAFKA;
use crate::check::runner::Needs;
use crate::check::server::Server;
use crate::check::session;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::check::wait;
use crate::check::wait::PATIENCE;
use crate::process;
use crate::process::Program;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "a consumer with the memory store is paused past its session",
        expected: "/ready is 503 until all is counted again; then the same 5,000 messages; a line about it on stderr",
        hint: "partitions that are assigned again are read from the beginning: say so, and be ready when it is done",
        run: |subject| Box::pin(memory(subject)),
        ..KAFKA
    },
    Check {
        name: "one of two consumers with Cassandra is paused past its session, between two writes",
        expected: "the other counts all, and so do both afterwards; the paused one says that it has lost its partitions",
        hint: "load totals after each assignment; in the middle of a write it sets totals back, which chapter 7 ends",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(cassandra(subject)),
        ..KAFKA
    },
];

/// The session is as short as Kafka allows, and the pause is longer.
const SESSION: (&str, &str) = ("REDPANDA_PROPERTIES", "session.timeout.ms=6000");
const PAUSE: Duration = Duration::from_secs(10);

async fn is_ready(server: &Server, wanted: bool) -> Result<()> {
    wait::until(PATIENCE, async || {
        let status = server.client.get("/ready").await?.status;
        if (status == 200) == wanted {
            return Ok(Break(()));
        }
        Ok(Continue(format!("GET /ready: {status}")))
    })
    .await
}

async fn memory(subject: &Subject) -> Result<()> {
    const EVENTS: u64 = 5_000;
    let topics = progress::topics_to_write_to(subject).await?;
    subject.broker()?.produce(&topics.events, &messages::some_events(0..EVENTS)).await?;
    let set = |program: Program| topics.set(program).env(SESSION.0, SESSION.1);
    let mut server = subject.start_role(CONSUMER, set).await?;
    is_ready(&server, true).await?;
    // Ready means that all is counted.
    let counted = session::messages(&server.client).await?;
    ensure!(counted == EVENTS, "/ready 200 with {counted} of {EVENTS} messages counted");
    server.process()?.signal(Signal::STOP)?;
    tokio::time::sleep(PAUSE).await;
    server.process()?.signal(Signal::CONT)?;
    is_ready(&server, false).await?;
    is_ready(&server, true).await?;
    session::has_counted(&server.client, EVENTS).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    let told = stderr.iter().any(|line| line.contains("again"));
    ensure!(told, "no line says that it counts again; stderr:\n{}", process::tail(&stderr));
    Ok(())
}

async fn cassandra(subject: &Subject) -> Result<()> {
    const PART: u64 = 3_000;
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program)).env(SESSION.0, SESSION.1);
    let (mut paused, other) =
        (subject.start_role(CONSUMER, set).await?, subject.start_role(CONSUMER, set).await?);
    let broker = subject.broker()?;
    broker.produce(&topics.events, &messages::some_events(0..PART)).await?;
    session::has_counted(&other.client, PART).await?;
    progress::all_committed(subject, &topics).await?;
    paused.process()?.signal(Signal::STOP)?;
    tokio::time::sleep(PAUSE).await;
    broker.produce(&topics.events, &messages::some_events(PART..2 * PART)).await?;
    session::has_counted(&other.client, 2 * PART).await.context("while one is paused")?;
    paused.process()?.signal(Signal::CONT)?;
    broker.produce(&topics.events, &messages::some_events(2 * PART..3 * PART)).await?;
    session::has_counted(&other.client, 3 * PART).await.context("after the pause")?;
    session::has_counted(&paused.client, 3 * PART).await.context("after the pause")?;
    let (_, stderr) = paused.ends_on(Signal::TERM).await?;
    let told = stderr.iter().any(|line| line.contains("revoked") || line.contains("session"));
    ensure!(told, "no line says that partitions were lost; stderr:\n{}", process::tail(&stderr));
    drop(other);
    keyspace.remove().await
}
