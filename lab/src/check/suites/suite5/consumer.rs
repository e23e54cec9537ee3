//! The consumer: complete after a restart, and not stopped by what it can't read.

use anyhow::Result;
use anyhow::ensure;

use crate::broker::Record;
use crate::check::log;
use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::session;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::check::topics::PARTITIONS;
use crate::process;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the memory store is complete after a restart of the consumer",
        expected: "the same 5,000 messages after SIGTERM and after kill -9, and the 1,000 that came meanwhile",
        hint: "the memory store forgets, so the consumer must read all partitions from the beginning, in a group of its own that commits nothing",
        run: |subject| Box::pin(restarts(subject)),
        ..PROCESS
    },
    Check {
        name: "two consumers with the memory store each count everything",
        expected: "5,000 messages in /stats of both, although they have the same CONSUMER_GROUP",
        hint: "no consumer can see what another one has in memory: each must read all partitions",
        run: |subject| Box::pin(side_by_side(subject)),
        ..PROCESS
    },
    Check {
        name: "bad messages among the good are skipped, counted and logged with their place",
        expected: "every good message in /stats; on stderr topic, partition and offset of a bad one, and at the end the number of bad ones",
        hint: "if the program ends at a message that it can't decode, it ends there again after every restart",
        run: |subject| Box::pin(bad(subject)),
        ..PROCESS
    },
];

const EVENTS: u64 = 5_000;

async fn restarts(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let broker = subject.broker()?;
    broker.produce(&topics.events, &messages::some_events(0..EVENTS)).await?;
    let mut expected = EVENTS;
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let mut server = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
        session::has_counted(&server.client, expected).await?;
        server.leaves_on(signal).await?;
        let more = messages::some_events(expected..expected + 1_000);
        broker.produce(&topics.events, &more).await?;
        expected += 1_000;
    }
    Ok(())
}

async fn side_by_side(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let broker = subject.broker()?;
    broker.produce(&topics.events, &messages::some_events(0..EVENTS)).await?;
    let start = || subject.start_role(CONSUMER, |program| topics.set(program));
    let (one, other) = tokio::try_join!(start(), start())?;
    tokio::try_join!(
        session::has_counted(&one.client, EVENTS),
        session::has_counted(&other.client, EVENTS)
    )?;
    Ok(())
}

async fn bad(subject: &Subject) -> Result<()> {
    const PARTITION: i32 = PARTITIONS - 1;
    const BEFORE: u64 = 1_234;
    let topics = progress::topics_to_write_to(subject).await?;
    let put = |mut record: Record| {
        record.partition = Some(PARTITION);
        record
    };
    let bad = messages::bad_messages();
    let mut records: Vec<Record> = messages::some_events(0..BEFORE).into_iter().map(put).collect();
    records.extend(bad.iter().cloned().map(put));
    records.extend(messages::some_events(BEFORE..EVENTS));
    subject.broker()?.produce(&topics.events, &records).await?;
    let mut server = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
    session::has_counted(&server.client, EVENTS).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    let said = || process::tail(&stderr);
    let place = [u64::from(PARTITION.unsigned_abs()), BEFORE];
    ensure!(
        stderr.iter().any(|line| log::names(line, &topics.events, &place)),
        "no line with topic {}, partition {PARTITION} and offset {BEFORE}; stderr:\n{}",
        topics.events,
        said()
    );
    let count = bad.len() as u64;
    let counted = stderr.iter().rev().take(10).any(|line| log::tells_skipped(line, count));
    ensure!(counted, "no line at the end with {count} skipped; stderr:\n{}", said());
    Ok(())
}
