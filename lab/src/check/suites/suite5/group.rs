//! A group of consumers with Cassandra behind them: the partitions are shared, and each one's `/stats` is right.

use anyhow::Result;
use anyhow::ensure;

use crate::check::clock::Clock;
use crate::check::messages;
use crate::check::progress;
use crate::check::runner::CASSANDRA;
use crate::check::runner::Check;
use crate::check::server::Server;
use crate::check::session;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::process::Program;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "two consumers of one group share the work, and both are right",
        expected: "8,000 messages in /stats of either, none counted twice, and all of them committed in the end",
        hint: "totals belong to a partition, not to a process; /stats adds up those of all partitions",
        run: |subject| Box::pin(both(subject)),
        ..CASSANDRA
    },
    Check {
        name: "a consumer goes on where its group has stopped",
        expected: "4,000 and then 8,000 messages after a restart by SIGTERM; another group counts all 8,000 by itself",
        hint: "commit the offset after the write, and once more at the end; totals are kept by group and topic",
        run: |subject| Box::pin(goes_on(subject)),
        ..CASSANDRA
    },
    Check {
        name: "a consumer whose clock is behind takes over, and gives back",
        expected: "4,000, 8,000 and 12,000 messages in /stats of the one that is left, none counted twice",
        hint: "Cassandra keeps the value with the newer timestamp: read WRITETIME with the totals, and write above it",
        not_in_image: Some("the clock of one program is set back by a library"),
        run: |subject| Box::pin(clocks(subject)),
        ..CASSANDRA
    },
];

const HALF: u64 = 4_000;

async fn both(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let start = || subject.start_role(CONSUMER, set);
    // One after the other: both make the schema.
    let (mut one, mut other) = (start().await?, start().await?);
    let broker = subject.broker()?;
    for part in 0..2 {
        let events = messages::some_events(part * HALF..(part + 1) * HALF);
        broker.produce(&topics.events, &events).await?;
        tokio::try_join!(
            session::has_counted(&one.client, (part + 1) * HALF),
            session::has_counted(&other.client, (part + 1) * HALF)
        )?;
    }
    progress::all_committed(subject, &topics).await?;
    one.ends_on(Signal::TERM).await?;
    other.ends_on(Signal::TERM).await?;
    keyspace.remove().await
}

async fn goes_on(subject: &Subject) -> Result<()> {
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let broker = subject.broker()?;
    for part in 0..2 {
        let events = messages::some_events(part * HALF..(part + 1) * HALF);
        broker.produce(&topics.events, &events).await?;
        let mut server = subject.start_role(CONSUMER, set).await?;
        session::has_counted(&server.client, (part + 1) * HALF).await?;
        server.ends_on(Signal::TERM).await?;
        let lag = progress::lag(subject, &topics).await?;
        ensure!(lag == 0, "{lag} messages that the group has not committed");
    }
    let another = format!("{}-2", topics.group);
    let server =
        subject.start_role(CONSUMER, |program| set(program).env("CONSUMER_GROUP", another)).await?;
    session::has_counted(&server.client, 2 * HALF).await?;
    drop(server);
    keyspace.remove().await
}

/// Each joins while the one before it is still there.
async fn clocks(subject: &Subject) -> Result<()> {
    let clock = Clock::behind().await?;
    let topics = progress::topics_to_write_to(subject).await?;
    let keyspace = subject.keyspace()?;
    let broker = subject.broker()?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let mut before: Option<Server> = None;
    for part in 0..3 {
        let is_behind = part == 1;
        let clock = |program| if is_behind { clock.set(set(program)) } else { set(program) };
        let server = subject.start_role(CONSUMER, clock).await?;
        if is_behind {
            Clock::is_kept(&server.client).await?;
        }
        if let Some(mut before) = before.take() {
            before.ends_on(Signal::TERM).await?;
        }
        let events = messages::some_events(part * HALF..(part + 1) * HALF);
        broker.produce(&topics.events, &events).await?;
        session::has_counted(&server.client, (part + 1) * HALF).await?;
        before = Some(server);
    }
    drop(before);
    keyspace.remove().await
}
