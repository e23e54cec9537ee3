//! With Cassandra, the statistics and the place in the stream are still there after a restart of the program.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::log;
use crate::check::runner::CASSANDRA;
use crate::check::runner::Check;
use crate::check::server::Server;
use crate::check::session;
use crate::check::stopping;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::check::truth;
use crate::check::wait::LONG;
use crate::check::wait::SOON;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;
use crate::replay::Replay;
use crate::services::Keyspace;

const REPLICATION: &str = "CASSANDRA_REPLICATION";

pub const CHECKS: &[Check] = &[
    Check {
        name: "20,000 events are counted exactly in Cassandra",
        expected: "every field of /stats equal to what the stream has sent, although connections are cut and events repeated; /ready is 200",
        hint: "create the tables where they are missing; store totals as plain numbers, not as Cassandra's counters",
        smoke: true,
        run: |subject| Box::pin(counted(subject)),
        ..CASSANDRA
    },
    Check {
        name: "a login works with the users in Cassandra",
        expected: "200 and a token, also after a restart",
        hint: "the program writes the first user into the store when it starts",
        run: |subject| Box::pin(login(subject)),
        ..CASSANDRA
    },
    Check {
        name: "a CASSANDRA_REPLICATION that differs from that of the keyspace is logged",
        expected: "after a restart with CASSANDRA_REPLICATION=3, a line on stderr with the name of the variable and both numbers",
        hint: "CREATE KEYSPACE IF NOT EXISTS does not change a keyspace that exists; system_schema.keyspaces shows what it has",
        run: |subject| Box::pin(replication(subject)),
        ..CASSANDRA
    },
    Check {
        name: "three kills leave the counts exact",
        expected: "after three times kill -9 and a restart, every field of /stats equal to what the stream has sent",
        hint: "write the totals and the place in the stream that they belong to in one atomic batch",
        changed_in: Some((
            5,
            "the topic between the roles is read at least once, and the producer's doubles are in it",
        )),
        run: |subject| Box::pin(restarts(subject, Signal::KILL)),
        ..CASSANDRA
    },
    Check {
        name: "three restarts by SIGTERM leave the counts exact",
        expected: "after three times SIGTERM and a restart, every field of /stats equal to what the stream has sent",
        hint: "the last events are written before the program ends, or read again by the next one",
        run: |subject| Box::pin(restarts(subject, Signal::TERM)),
        ..CASSANDRA
    },
];

async fn replication(subject: &Subject) -> Result<()> {
    let keyspace = subject.keyspace()?;
    let mut server = subject.serve_with(|program| keyspace.set(program)).await?;
    let (_, said) = server.ends_on(Signal::TERM).await?;
    ensure!(
        !said.iter().any(|line| line.contains(REPLICATION)),
        "the line is also written for a new keyspace"
    );
    let other = |program: Program| keyspace.set(program).env(REPLICATION, "3");
    let mut server = subject.serve_with(other).await?;
    let line = server.process()?.says(REPLICATION, SOON).await?;
    ensure!(log::names(&line, REPLICATION, &[1, 3]), "not with both numbers: {line}");
    drop(server);
    keyspace.remove().await
}

async fn serve(
    subject: &Subject,
    topics: &Topics,
    keyspace: &Keyspace,
    replay: &Replay,
) -> Result<Server> {
    let set = |program: Program| keyspace.set(topics.set(program));
    subject.serve_stream_with(&replay.stream_url(), set).await
}

async fn counted(subject: &Subject) -> Result<()> {
    let keyspace = subject.keyspace()?;
    let topics = subject.topics().await?;
    let mut options = replay::Options::of(20_000);
    options.faults.cut_every = Some(3_000);
    options.faults.back = 20;
    let replay = replay::start(options).await?;
    let server = serve(subject, &topics, &keyspace, &replay).await?;
    session::is_ready(&server.client).await?;
    truth::equals_truth(&server.client, &replay, LONG).await?;
    drop(server);
    keyspace.remove().await
}

async fn login(subject: &Subject) -> Result<()> {
    let keyspace = subject.keyspace()?;
    let topics = subject.topics().await?;
    let replay = replay::start(replay::Options::of(10)).await?;
    for start in 1..=2 {
        let mut server = serve(subject, &topics, &keyspace, &replay).await?;
        session::first_log_in(&server.client)
            .await
            .with_context(|| format!("after start {start}"))?;
        server.ends_on(Signal::TERM).await?;
    }
    keyspace.remove().await
}

async fn restarts(subject: &Subject, signal: Signal) -> Result<()> {
    let keyspace = subject.keyspace()?;
    let topics = subject.topics().await?;
    // Slow enough to be in the middle at each of the three moments; what a restart has missed comes at full speed. A
    // restart resumes as Wikimedia has it, from the millisecond of the last event on; more than that need not be known.
    // After the split the stream is read while a consumer still waits to join its group.
    let (events, rate) = if subject.is_split() { (30_000, 1_500) } else { (20_000, 4_000) };
    let options = replay::Options { rate, ..replay::Options::of(events) };
    let replay = replay::start(options).await?;
    for part in 1..=3_u64 {
        let mut server = serve(subject, &topics, &keyspace, &replay).await?;
        // Before anything is stored there is no place to go on from: the stream begins with `now`.
        session::is_counting(&server.client, part * rate, LONG)
            .await
            .with_context(|| format!("after restart {}", part - 1))?;
        server.leaves_on(signal).await?;
    }
    stopping::in_the_middle(&replay)?;
    let server = serve(subject, &topics, &keyspace, &replay).await?;
    truth::equals_truth(&server.client, &replay, LONG).await?;
    drop(server);
    keyspace.remove().await
}
