//! The producer: it answers on its port, and writes each event of the stream to the topic once, although connections
//! are cut and the producer is started again.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use crate::check::answer::is_error;
use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::session;
use crate::check::stopping;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::check::wait::PATIENCE;
use crate::client::Raw;
use crate::process::Signal;
use crate::replay;
use crate::replay::Replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the producer answers /status and /ready on its port",
        expected: "200 {\"status\":\"ok\"} and 200 {\"ready\":true}; 404 in JSON for /stats, which is the consumer's",
        hint: "each role has the routes for operators; /ready means that the broker answers",
        run: |subject| Box::pin(answers(subject)),
        ..PROCESS
    },
    Check {
        name: "20,000 events are in the topic once each, a user's in one partition",
        expected: "as many messages as the stream has sent, no id twice, each user in one partition, although connections are cut and events repeated",
        hint: "use an idempotent producer with acknowledgements of all replicas, and drop repeated events before they are sent",
        run: |subject| Box::pin(once_each(subject)),
        ..PROCESS
    },
    Check {
        name: "the producer goes on behind its cursor after SIGTERM",
        expected: "after three restarts, with a thousand events missed each time, each event in the topic once",
        hint: "CURSOR_TOPIC holds the place after the last acknowledged event; read it at the start, write it at the end",
        run: |subject| Box::pin(restarts(subject)),
        ..PROCESS
    },
];

async fn answers(subject: &Subject) -> Result<()> {
    let server = subject.start_role(PRODUCER, |program| program).await?;
    let response = server.client.get("/status").await?;
    response.has_status(200)?;
    ensure!(response.json()? == json!({"status": "ok"}), "{}", response.text());
    // It is ready when it has read its cursor.
    session::is_ready(&server.client).await?;
    let response = server.client.get("/stats").await?;
    ensure!(response.status == 404, "GET /stats: {}", response.status);
    is_error(&response)
}

async fn once_each(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let mut options = replay::Options::of(20_000);
    options.faults.cut_every = Some(1_999);
    options.faults.back = 50;
    let replay = replay::start(options).await?;
    let url = replay.stream_url();
    let mut server = subject.start_producer(&topics, &url).await?;
    progress::all_sent(subject, &topics, &replay).await?;
    server.ends_on(Signal::TERM).await?;
    let records = subject.broker()?.consume(&topics.events).await?;
    messages::is_each_once(&records, &replay)?;
    let mut homes = HashMap::new();
    for record in &records {
        let Some(user) = messages::field(record, "user")?.as_str().map(str::to_owned) else {
            continue;
        };
        let home = *homes.entry(user.clone()).or_insert(record.partition);
        ensure!(
            home == record.partition,
            "events of {user:?} in the partitions {home:?} and {:?}",
            record.partition
        );
    }
    let partitions: HashSet<_> = homes.values().collect();
    ensure!(partitions.len() > 1, "all users in one partition");
    Ok(())
}

async fn restarts(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let options = replay::Options { rate: 4_000, ..replay::Options::of(16_000) };
    let replay = replay::start(options).await?;
    let url = replay.stream_url();
    for part in 1..=3_u64 {
        let mut server = subject.start_producer(&topics, &url).await?;
        progress::at_least(subject, &topics, part * 3_000).await?;
        server.ends_on(Signal::TERM).await.with_context(|| format!("at end {part}"))?;
        // While nobody reads, the stream stands still: another reader moves it on.
        read_on(&replay, 1_000).await?;
    }
    stopping::in_the_middle(&replay)?;
    let mut server = subject.start_producer(&topics, &url).await?;
    progress::all_sent(subject, &topics, &replay).await?;
    server.ends_on(Signal::TERM).await?;
    messages::is_each_once(&subject.broker()?.consume(&topics.events).await?, &replay)
}

/// Reads at least `events` more of the stream, as a client that has just come.
async fn read_on(replay: &Replay, events: u64) -> Result<()> {
    let until = replay.progress().sent + events;
    let address = replay.address();
    let request = format!(
        "GET /v2/stream/recentchange HTTP/1.1\r\nhost: {address}\r\nuser-agent: lab/1.0 (lab@example.org)\r\n\r\n"
    );
    let mut connection = Raw::open(&address.to_string(), &request).await?;
    let start = Instant::now();
    while replay.progress().sent < until {
        ensure!(start.elapsed() < PATIENCE, "lab itself could not read the replay");
        connection.some().await?;
    }
    Ok(())
}
