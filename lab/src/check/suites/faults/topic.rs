//! What happens to a topic while a consumer is not looking: messages are deleted, the topic is made anew. And whatever
//! other clients write to it.

use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::broker::Record;
use crate::check::log;
use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::KAFKA;
use crate::check::runner::Needs;
use crate::check::server::Server;
use crate::check::session;
use crate::check::subject::CONSUMER;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::check::topics::PARTITIONS;
use crate::check::topics::Topics;
use crate::check::wait;
use crate::check::wait::PATIENCE;
use crate::check::wait::SOON;
use crate::process;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "messages are deleted before they were read",
        expected: "the others are counted; on stderr topic, partition, first and last offset of those that are gone, and at the end their number",
        hint: "compare the offset of each message with the one that was to come; librdkafka goes on with the oldest, and only logs it",
        run: |subject| Box::pin(gone_memory(subject)),
        ..KAFKA
    },
    Check {
        name: "messages are deleted while no consumer with Cassandra runs",
        expected: "the same lines after the next start, because the position is stored with the totals",
        hint: "compare the first message of each partition with the position that its totals belong to",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(gone_cassandra(subject)),
        ..KAFKA
    },
    Check {
        name: "the topic is made anew while a consumer with the memory store runs",
        expected: "all 2,000 messages of the new topic are counted; a line on stderr that names the topic",
        hint: "librdkafka goes on with the old offset, and only logs that the topic has another id",
        run: |subject| Box::pin(made_anew_memory(subject)),
        ..KAFKA
    },
    Check {
        name: "the topic is made anew while a consumer with Cassandra runs",
        expected: "all 2,000 messages of the new topic are counted and committed; after a restart none is counted twice",
        hint: "librdkafka commits no offset that is lower than the one before, unless it is asked to",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(made_anew_cassandra(subject)),
        ..KAFKA
    },
    Check {
        name: "the topic is made anew, and nothing is written while the consumer with Cassandra runs on",
        expected: "a line on stderr that names the topic; all 2,000 messages that come after a SIGTERM and a new start are counted",
        hint: "librdkafka commits the offsets of the old topic when it ends, and the next start goes on with them",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(made_anew_idle(subject)),
        ..KAFKA
    },
    Check {
        name: "the topic is deleted",
        expected: "/ready 503 with the topic's name in its error; /status 200",
        hint: "ask for the metadata of the topic, and look at the error in it",
        run: |subject| Box::pin(deleted(subject)),
        ..KAFKA
    },
    Check {
        name: "batches come in every codec",
        expected: "all messages are counted: none, gzip, snappy, lz4 and zstd, from the producer and from another client, mixed",
        hint: "librdkafka has gzip and zstd only with its features libz and zstd",
        run: |subject| Box::pin(codecs(subject)),
        ..KAFKA
    },
];

/// Of each partition, so many messages are read before the first are deleted, and all below this offset are deleted.
const READ: u64 = 100;
const BELOW: u64 = 300;
const EACH: u64 = 500;

/// The same number of events in each partition.
fn in_each(from: u64, to: u64) -> Vec<Record> {
    let partitions = u64::from(PARTITIONS.unsigned_abs());
    let mut records = messages::some_events(from * partitions..to * partitions);
    for (number, record) in (0..).zip(&mut records) {
        record.partition = Some(number % PARTITIONS);
    }
    records
}

async fn gone_memory(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let broker = subject.broker()?;
    broker.produce(&topics.events, &in_each(0, READ)).await?;
    let mut server = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
    session::has_counted(&server.client, READ * u64::from(PARTITIONS.unsigned_abs())).await?;
    server.process()?.signal(Signal::STOP)?;
    broker.produce(&topics.events, &in_each(READ, EACH)).await?;
    broker.delete_records(&topics.events, BELOW).await?;
    server.process()?.signal(Signal::CONT)?;
    tells_what_is_gone(&topics, &mut server).await
}

async fn gone_cassandra(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let broker = subject.broker()?;
    broker.produce(&topics.events, &in_each(0, READ)).await?;
    let mut server = subject.start_role(CONSUMER, set).await?;
    session::has_counted(&server.client, READ * u64::from(PARTITIONS.unsigned_abs())).await?;
    server.ends_on(Signal::TERM).await?;
    broker.produce(&topics.events, &in_each(READ, EACH)).await?;
    broker.delete_records(&topics.events, BELOW).await?;
    let mut server = subject.start_role(CONSUMER, set).await?;
    tells_what_is_gone(&topics, &mut server).await?;
    keyspace.remove().await
}

async fn tells_what_is_gone(topics: &Topics, server: &mut Server) -> Result<()> {
    let partitions = PARTITIONS.unsigned_abs().into();
    let gone = (BELOW - READ) * partitions;
    session::has_counted(&server.client, EACH * partitions - gone).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    let said = process::tail(&stderr);
    for partition in 0..partitions {
        let numbers = [partition, READ, BELOW - 1];
        let told = stderr.iter().any(|line| log::names(line, &topics.events, &numbers));
        ensure!(told, "no line with topic, partition and offsets {numbers:?}; stderr:\n{said}");
    }
    let counted = stderr.iter().rev().take(10).any(|line| log::tells_gone(line, gone));
    ensure!(counted, "no line at the end with {gone}; stderr:\n{said}");
    Ok(())
}

async fn made_anew_memory(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    made_anew(subject, &topics, |program| topics.set(program)).await
}

async fn made_anew_cassandra(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    made_anew(subject, &topics, set).await?;
    progress::all_committed(subject, &topics).await?;
    let again = subject.start_role(CONSUMER, set).await?;
    subject.broker()?.produce(&topics.events, &messages::some_events(3_000..3_100)).await?;
    session::has_counted(&again.client, 3_100).await?;
    drop(again);
    keyspace.remove().await
}

async fn made_anew(
    subject: &Subject,
    topics: &Topics,
    set: impl Fn(Program) -> Program,
) -> Result<()> {
    let broker = subject.broker()?;
    broker.produce(&topics.events, &messages::some_events(0..1_000)).await?;
    let mut server = subject.start_role(CONSUMER, set).await?;
    session::has_counted(&server.client, 1_000).await?;
    // So that it sees nothing of what is between the old topic and the new one.
    server.process()?.signal(Signal::STOP)?;
    make_anew(subject, topics).await?;
    broker.produce(&topics.events, &messages::some_events(1_000..3_000)).await?;
    server.process()?.signal(Signal::CONT)?;
    session::has_counted(&server.client, 3_000).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    let told = stderr.iter().any(|line| warns(line, topics));
    ensure!(told, "no warning that names the topic; stderr:\n{}", process::tail(&stderr));
    Ok(())
}

async fn made_anew_idle(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let broker = subject.broker()?;
    broker.produce(&topics.events, &messages::some_events(0..1_000)).await?;
    let mut server = subject.start_role(CONSUMER, set).await?;
    session::has_counted(&server.client, 1_000).await?;
    progress::all_committed(subject, &topics).await?;
    make_anew(subject, &topics).await?;
    let told = server.process()?.stderr.line(PATIENCE, |line| warns(line, &topics)).await;
    told.context("no warning that names the topic")?;
    server.ends_on(Signal::TERM).await?;
    broker.produce(&topics.events, &messages::some_events(1_000..3_000)).await?;
    let again = subject.start_role(CONSUMER, set).await?;
    session::has_counted(&again.client, 3_000).await?;
    drop(again);
    keyspace.remove().await
}

async fn make_anew(subject: &Subject, topics: &Topics) -> Result<()> {
    let broker = subject.broker()?;
    broker.delete(&topics.events).await?;
    wait::until(SOON, async || {
        let made = broker.create(&topics.events, PARTITIONS, &[]).await;
        Ok(made.map_or_else(|error| Continue(format!("{error:#}")), Break))
    })
    .await?;
    progress::partitions(subject, &topics.events, None).await?;
    Ok(())
}

fn warns(line: &str, topics: &Topics) -> bool {
    line.to_lowercase().contains("warn") && line.contains(&topics.events)
}

async fn deleted(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let server = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
    session::is_ready(&server.client).await?;
    subject.broker()?.delete(&topics.events).await?;
    wait::until(SOON, async || {
        let answer = server.client.get("/ready").await?;
        let named = answer.text().contains(&topics.events);
        if answer.status == 503 && named {
            return Ok(Break(()));
        }
        Ok(Continue(format!("GET /ready: {}, {}", answer.status, answer.text())))
    })
    .await?;
    server.lives().await
}

async fn codecs(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let broker = subject.broker()?;
    let consumer = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
    let mut sent = 0;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let records = messages::some_events(sent..sent + 1_000);
        broker.produce_in(&topics.events, &records, codec).await?;
        let replay = replay::start(replay::Options::of(1_000)).await?;
        // Each producer begins with a cursor of its own.
        let mut producer = subject
            .start_role(PRODUCER, |program| {
                topics
                    .set(program)
                    .env("WIKIPEDIA_STREAM_URL", replay.stream_url())
                    .env("CURSOR_TOPIC", format!("{}.{codec}", topics.cursor))
                    .env("REDPANDA_PROPERTIES", format!("compression.type={codec}"))
            })
            .await
            .with_context(|| format!("with {codec}"))?;
        wait::until(SOON, async || {
            let finished = replay.progress().finished;
            Ok(if finished { Break(()) } else { Continue("the stream is not read".to_owned()) })
        })
        .await?;
        sent += 1_000 + replay.truth().messages;
        progress::at_least(subject, &topics, sent).await?;
        producer.ends_on(Signal::TERM).await?;
        session::has_counted(&consumer.client, sent)
            .await
            .with_context(|| format!("with {codec}"))?;
    }
    Ok(())
}
