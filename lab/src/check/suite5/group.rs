//! A group of consumers with Cassandra behind them: the partitions are shared, and each one's `/stats` is right.

use anyhow::Result;
use anyhow::ensure;

use super::super::roles::CONSUMER;
use super::super::runner::Check;
use super::super::runner::Needs;
use super::super::runner::PROCESS;
use super::super::subject::Subject;
use super::super::suite3::cql::Keyspace;
use super::consumer::some_events;
use super::exact::in_cassandra;
use super::messages;
use super::users;
use crate::process::Program;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "two consumers of one group share the work, and both are right",
        expected: "8,000 messages in /stats of either, none counted twice, and all of them committed in the end",
        hint: "totals belong to a partition, not to a process; /stats adds up those of all partitions",
        needs: Needs::Cassandra,
        run: |subject| Box::pin(both(subject)),
        ..PROCESS
    },
    Check {
        name: "a consumer goes on where its group has stopped",
        expected: "4,000 and then 8,000 messages after a restart by SIGTERM; another group counts all 8,000 by itself",
        hint: "commit the offset after the write, and once more at the end; totals are kept by group and topic",
        needs: Needs::Cassandra,
        run: |subject| Box::pin(goes_on(subject)),
        ..PROCESS
    },
];

const HALF: u64 = 4_000;

async fn both(subject: &Subject) -> Result<()> {
    let topics = messages::made(subject).await?;
    let keyspace = Keyspace::new(subject)?;
    let set = |program: Program| in_cassandra(topics.set(program), &keyspace);
    let start = || subject.start_role(CONSUMER, set);
    // One after the other: both make the schema.
    let (mut one, mut other) = (start().await?, start().await?);
    let broker = subject.broker()?;
    for part in 0..2 {
        let events = some_events(part * HALF..(part + 1) * HALF);
        broker.produce(&topics.events, &events).await?;
        tokio::try_join!(
            users::has_counted(&one.client, (part + 1) * HALF),
            users::has_counted(&other.client, (part + 1) * HALF)
        )?;
    }
    messages::all_committed(subject, &topics).await?;
    one.ends_on(Signal::TERM).await?;
    other.ends_on(Signal::TERM).await?;
    keyspace.remove().await
}

async fn goes_on(subject: &Subject) -> Result<()> {
    let topics = messages::made(subject).await?;
    let keyspace = Keyspace::new(subject)?;
    let set = |program: Program| in_cassandra(topics.set(program), &keyspace);
    let broker = subject.broker()?;
    for part in 0..2 {
        let events = some_events(part * HALF..(part + 1) * HALF);
        broker.produce(&topics.events, &events).await?;
        let mut server = subject.start_role(CONSUMER, set).await?;
        users::has_counted(&server.client, (part + 1) * HALF).await?;
        server.ends_on(Signal::TERM).await?;
        let lag = messages::lag(subject, &topics).await?;
        ensure!(lag == 0, "{lag} messages that the group has not committed");
    }
    let another = format!("{}-2", topics.group);
    let server = subject
        .start_role(CONSUMER, |program| {
            set(program).env("CONSUMER_GROUP", another)
        })
        .await?;
    users::has_counted(&server.client, 2 * HALF).await?;
    drop(server);
    keyspace.remove().await
}
