//! The broker is away: at the start of both roles, and for 10 s in the middle.

use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::KAFKA;
use crate::check::server::Server;
use crate::check::session;
use crate::check::stopping;
use crate::check::subject::CONSUMER;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::check::truth;
use crate::check::wait;
use crate::check::wait::SOON;
use crate::check::wait::START;
use crate::process;
use crate::process::Program;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the broker is down when both roles start",
        expected: "both write its address to stderr and do not end; when the broker is there, 5,000 events are counted exactly",
        hint: "wait with back-off, for a minute or two, and log why",
        run: |subject| Box::pin(down_at_start(subject)),
        ..KAFKA
    },
    Check {
        name: "the broker is away for 10 s in the middle",
        expected: "/ready 503 and /status 200 of both meanwhile; then every event in the topic and in /stats once",
        hint: "the producer keeps what is not acknowledged and reads no further; the consumer waits and goes on",
        run: |subject| Box::pin(away_in_the_middle(subject)),
        ..KAFKA
    },
    Check {
        name: "SIGTERM ends both roles while the broker is away",
        expected: "exit status 0 in less than 10 s; after a restart each event is there, what was not acknowledged too",
        hint: "flushing and leaving the group have deadlines; the cursor stays before what was not acknowledged",
        run: |subject| Box::pin(stopped_while_away(subject)),
        ..KAFKA
    },
];

/// How long the broker is away.
const AWAY: Duration = Duration::from_secs(9);
/// And so long in addition, in which nothing more is read.
const STILL: Duration = Duration::from_secs(1);

async fn down_at_start(subject: &Subject) -> Result<()> {
    let node = subject.node()?;
    let topics = subject.topics().await?;
    let replay = replay::start(replay::Options::of(5_000)).await?;
    let set =
        |program: Program| topics.set(program).env("WIKIPEDIA_STREAM_URL", replay.stream_url());
    node.fail().await?;
    let mut roles = [subject.launch(PRODUCER, set)?, subject.launch(CONSUMER, set)?];
    for role in &mut roles {
        let process = role.process()?;
        process.says(&node.address(), SOON).await?;
        let said = process::tail(&process.stderr.lines());
        ensure!(process.ended().is_none(), "an end within moments; stderr:\n{said}");
    }
    node.come_back().await?;
    for role in &mut roles {
        subject.wait_until_up(role, START).await?;
    }
    truth::is_all(subject, &topics, &roles[1].client, &replay).await
}

async fn away_in_the_middle(subject: &Subject) -> Result<()> {
    let node = subject.node()?;
    let topics = subject.topics().await?;
    // In 10 s all of it could be read, and kept in the producer's memory.
    let options = replay::Options { rate: 10_000, ..replay::Options::of(100_000) };
    let replay = replay::start(options).await?;
    let server =
        subject.serve_stream_with(&replay.stream_url(), |program| topics.set(program)).await?;
    progress::at_least(subject, &topics, 10_000).await?;
    node.fail().await?;
    let away = Instant::now();
    let producer = server.beside.as_deref().context("no producer")?;
    for role in [&server, producer] {
        answers(role, "/ready", 503).await?;
        answers(role, "/status", 200).await?;
    }
    tokio::time::sleep(AWAY.saturating_sub(away.elapsed())).await;
    let read = replay.progress().sent;
    tokio::time::sleep(STILL).await;
    let more = replay.progress().sent - read;
    ensure!(
        more == 0 && !replay.progress().finished,
        "after {} s without a broker the producer still reads: {more} events in a second, {read} before",
        AWAY.as_secs()
    );
    node.come_back().await?;
    for role in [&server, producer] {
        answers(role, "/ready", 200).await?;
    }
    truth::is_all(subject, &topics, &server.client, &replay).await
}

/// Waits until `path` answers with `status`.
async fn answers(server: &Server, path: &str, status: u16) -> Result<()> {
    wait::until(SOON, async || {
        let came = server.client.get(path).await?.status;
        if came == status {
            return Ok(Break(()));
        }
        Ok(Continue(format!("GET {path}: {came} and not {status}")))
    })
    .await
}

async fn stopped_while_away(subject: &Subject) -> Result<()> {
    let node = subject.node()?;
    let topics = subject.topics().await?;
    let options = replay::Options { rate: 2_000, ..replay::Options::of(20_000) };
    let replay = replay::start(options).await?;
    let set = |program: Program| topics.set(program);
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    progress::moves_on(subject, &topics, (0, 0)).await?;
    node.fail().await?;
    // Some are under way now.
    let sent = replay.progress().sent;
    wait::until(SOON, async || {
        if replay.progress().sent >= sent + 500 {
            return Ok(Break(()));
        }
        Ok(Continue("the producer reads no further".to_owned()))
    })
    .await?;
    let mut producer = server.beside.take().context("no producer")?;
    stopping::in_time(&mut producer).await.context("the producer")?;
    stopping::in_time(&mut server).await.context("the consumer")?;
    stopping::in_the_middle(&replay)?;
    node.come_back().await?;
    let server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    let sent = progress::all_sent(subject, &topics, &replay).await?;
    let records = subject.broker()?.consume(&topics.events).await?;
    let doubles = messages::nothing_lost(&records, &replay)?;
    subject.note(format!("no event lost, {doubles} doubled"));
    session::has_counted(&server.client, sent).await
}
