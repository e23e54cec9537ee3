//! The broker is away: at the start of both roles, and for 10 s in the middle.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::super::roles::CONSUMER;
use super::super::roles::PRODUCER;
use super::super::runner::Check;
use super::super::runner::Needs;
use super::super::runner::PROCESS;
use super::super::subject::SOON;
use super::super::subject::Server;
use super::super::subject::Subject;
use super::super::suite3::exact;
use super::super::suite5::exact::is_all;
use super::super::suite5::messages;
use super::super::suite5::stop::in_time;
use crate::process;
use crate::process::Program;
use crate::replay;

const KAFKA: Check = Check {
    needs: Needs::Faults,
    ..PROCESS
};

pub const CHECKS: &[Check] = &[
    Check {
        name: "the broker is down when both roles start",
        expected: "its address on stderr of both, no end; when it is there, 5,000 events counted exactly",
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
    let replay = replay::start(exact::options(5_000)).await?;
    let set = |program: Program| {
        topics
            .set(program)
            .env("WIKIPEDIA_STREAM_URL", replay.stream_url())
    };
    node.fail().await?;
    let mut roles = [
        subject.launch(PRODUCER, set)?,
        subject.launch(CONSUMER, set)?,
    ];
    for role in &mut roles {
        let process = role.process()?;
        let address = node.address();
        let said = process
            .stderr
            .line(SOON, |line| line.contains(&address))
            .await;
        let stderr = process::tail(&process.stderr.lines());
        said.with_context(|| format!("stderr:\n{stderr}\nwithout {address}"))?;
        ensure!(
            process.ended().is_none(),
            "an end within moments; stderr:\n{stderr}"
        );
    }
    node.come_back().await?;
    for role in &mut roles {
        subject.wait_until_up(role).await?;
    }
    is_all(subject, &topics, &roles[1].client, &replay).await
}

async fn away_in_the_middle(subject: &Subject) -> Result<()> {
    let node = subject.node()?;
    let topics = subject.topics().await?;
    // In 10 s all of it could be read, and kept in the producer's memory.
    let mut options = exact::options(100_000);
    options.rate = 10_000;
    let replay = replay::start(options).await?;
    let server = subject
        .serve_stream_with(&replay.stream_url(), |program| topics.set(program))
        .await?;
    messages::at_least(subject, &topics, 10_000).await?;
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
    is_all(subject, &topics, &server.client, &replay).await
}

/// Waits until `path` answers with `status`.
async fn answers(server: &Server, path: &str, status: u16) -> Result<()> {
    let start = Instant::now();
    loop {
        let response = server.client.get(path).await?;
        if response.status == status {
            return Ok(());
        }
        ensure!(
            start.elapsed() < SOON,
            "GET {path}: {} and not {status} within {} s",
            response.status,
            SOON.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stopped_while_away(subject: &Subject) -> Result<()> {
    let node = subject.node()?;
    let topics = subject.topics().await?;
    let mut options = exact::options(20_000);
    options.rate = 2_000;
    let replay = replay::start(options).await?;
    let set = |program: Program| topics.set(program);
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    messages::moves_on(subject, &topics, (0, 0)).await?;
    node.fail().await?;
    // Some are under way now.
    let sent = replay.progress().sent;
    let start = Instant::now();
    while replay.progress().sent < sent + 500 {
        ensure!(start.elapsed() < SOON, "the producer reads no further");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut producer = server.beside.take().context("no producer")?;
    in_time(&mut producer).await.context("the producer")?;
    in_time(&mut server).await.context("the consumer")?;
    ensure!(
        !replay.progress().finished,
        "the replay was over before the signal"
    );
    node.come_back().await?;
    let server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    let sent = messages::all_sent(subject, &topics, &replay).await?;
    let records = subject.broker()?.consume(&topics.events).await?;
    super::kills::nothing_lost(subject, &records, &replay)?;
    super::super::suite5::users::has_counted(&server.client, sent).await
}
