//! Roles that are killed with -9, and roles that are told to end, under load.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::check::messages;
use crate::check::progress;
use crate::check::proxy::Proxy;
use crate::check::runner::Check;
use crate::check::runner::KAFKA;
use crate::check::runner::Needs;
use crate::check::session;
use crate::check::stopping;
use crate::check::subject::CONSUMER;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::check::truth;
use crate::check::wait::PATIENCE;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the producer is killed with -9 in mid-stream, three times",
        expected: "each event in the topic; at most those of a few seconds twice; /stats counts what is in the topic",
        hint: "the cursor moves only past acknowledged events, once a second: what stands behind it is read again",
        run: |subject| Box::pin(producer(subject)),
        ..KAFKA
    },
    Check {
        name: "a consumer with the memory store is killed with -9",
        expected: "after a restart every field of /stats equal to what the stream has sent",
        hint: "it must read all partitions from the beginning, whatever was committed",
        run: |subject| Box::pin(memory(subject)),
        ..KAFKA
    },
    Check {
        name: "a consumer with Cassandra is killed with -9, three times, while Cassandra hangs",
        expected: "every event counted; at most those of a few seconds twice",
        hint: "commit only what is written; before chapter 7 what is written and not committed is counted again",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(cassandra(subject)),
        ..KAFKA
    },
    Check {
        name: "SIGTERM of the producer under load",
        expected: "exit status 0 in less than 10 s, and after a restart each event in the topic once",
        hint: "stop reading, wait for every acknowledgement, then write the cursor",
        run: |subject| Box::pin(stopping::producer(subject)),
        ..KAFKA
    },
    Check {
        name: "SIGTERM of a consumer with the memory store under load",
        expected: "exit status 0 in less than 10 s, and after a restart every field of /stats equal to what the stream has sent",
        hint: "leaving the group blocks its thread: give it a deadline",
        run: |subject| Box::pin(stopping::memory(subject)),
        ..KAFKA
    },
    Check {
        name: "SIGTERM of a consumer with Cassandra under load",
        expected: "exit status 0 in less than 10 s, and after a restart every field of /stats equal to what the stream has sent",
        hint: "write what was taken, then commit, then leave the group",
        needs: Needs::FaultsAndCassandra,
        run: |subject| Box::pin(stopping::cassandra(subject)),
        ..KAFKA
    },
];

const KILLS: u64 = 3;
/// Of a kill, what may come twice: the events of so many seconds.
const DOUBLED_SECONDS: u64 = 2;
const RATE: u64 = 3_000;
/// Longer than from one commit of a group's offsets to the next.
const COMMITS: Duration = Duration::from_secs(2);

fn load() -> replay::Options {
    replay::Options { rate: RATE, ..replay::Options::of(30_000) }
}

async fn producer(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let replay = replay::start(load()).await?;
    let set =
        |program: Program| topics.set(program).env("WIKIPEDIA_STREAM_URL", replay.stream_url());
    let consumer = subject.start_role(CONSUMER, set).await?;
    let mut reached = (0, 0);
    for _ in 0..KILLS {
        let mut server = subject.start_role(PRODUCER, set).await?;
        reached = progress::moves_on(subject, &topics, reached).await?;
        server.leaves_on(Signal::KILL).await?;
    }
    stopping::in_the_middle(&replay)?;
    let mut server = subject.start_role(PRODUCER, set).await?;
    progress::all_sent(subject, &topics, &replay).await?;
    server.ends_on(Signal::TERM).await?;
    let records = subject.broker()?.consume(&topics.events).await?;
    let doubles = messages::nothing_lost(&records, &replay)?;
    subject.note(format!("no event lost, {doubles} doubled"));
    let limit = KILLS * DOUBLED_SECONDS * RATE;
    ensure!(
        doubles <= limit,
        "{doubles} events were counted twice, and {KILLS} kills explain at most {limit}"
    );
    session::has_counted(&consumer.client, records.len() as u64).await
}

async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let replay = replay::start(load()).await?;
    let set = |program: Program| topics.set(program);
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    session::is_counting(&server.client, 4_000, PATIENCE).await?;
    let mut producer = server.beside.take().context("no producer")?;
    server.leaves_on(Signal::KILL).await?;
    let again = subject.start_role(CONSUMER, set).await?;
    truth::is_all(subject, &topics, &again.client, &replay).await?;
    producer.ends_on(Signal::TERM).await?;
    Ok(())
}

async fn cassandra(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let keyspace = subject.keyspace()?;
    let replay = replay::start(load()).await?;
    let proxy = Proxy::start(keyspace.first_node().to_owned()).await?;
    // Who is killed is waited for: for 45 s where nothing is said.
    let set = |program: Program| {
        keyspace
            .set(topics.set(program))
            .env("REDPANDA_PROPERTIES", "session.timeout.ms=6000")
            .env("CASSANDRA_NODES", proxy.address())
    };
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    let producer = server.beside.take();
    for part in 1..=KILLS {
        session::is_counting(&server.client, part * 3_000, PATIENCE).await?;
        // What is taken now can't be written. If it is committed all the same, the kill loses it.
        proxy.set_open(false);
        tokio::time::sleep(COMMITS).await;
        server.leaves_on(Signal::KILL).await?;
        proxy.set_open(true);
        server = subject.start_role(CONSUMER, set).await?;
    }
    progress::all_sent(subject, &topics, &replay).await?;
    // Nothing more will be counted then.
    progress::all_committed(subject, &topics).await?;
    let stats = session::stats(&server.client).await?;
    let doubles = at_least_once(&stats, &serde_json::to_value(replay.truth())?)?;
    let limit = KILLS * DOUBLED_SECONDS * RATE;
    ensure!(
        doubles <= limit,
        "{doubles} events were counted twice, and {KILLS} kills explain at most {limit}"
    );
    subject.note(format!("0 events lost, {doubles} counted twice"));
    drop((server, producer));
    keyspace.remove().await
}

/// Nothing in `stats` is below `truth`, and nobody is in it who is not there; returns what is too many.
fn at_least_once(stats: &Value, truth: &Value) -> Result<u64> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let compare = |name: &str, came: &Value, sent: &Value| {
        ensure!(number(came) >= number(sent), "{name} {came} and at least {sent}");
        anyhow::Ok(())
    };
    for field in ["messages", "bots", "non_bots"] {
        compare(field, &stats[field], &truth[field])?;
    }
    let (came, sent) = (&stats["distinct_users"], &truth["distinct_users"]);
    ensure!(came == sent, "distinct_users {came} and not {sent}");
    let domains = |value: &Value| value["by_domain"].as_object().cloned().unwrap_or_default();
    let (came, sent) = (domains(stats), domains(truth));
    ensure!(came.len() == sent.len(), "{} domains and not {}", came.len(), sent.len());
    for (domain, count) in &sent {
        compare(domain, came.get(domain).unwrap_or(&Value::Null), count)?;
    }
    Ok(number(&stats["messages"]) - number(&truth["messages"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_lost_is_found_and_what_is_doubled_is_counted() {
        let truth = json!({"messages": 4, "bots": 1, "non_bots": 3, "distinct_users": 2,
            "by_domain": {"a": 3, "b": 1}});
        assert_eq!(at_least_once(&truth, &truth).unwrap(), 0);
        let mut more = truth.clone();
        more["messages"] = json!(6);
        more["by_domain"]["a"] = json!(5);
        assert_eq!(at_least_once(&more, &truth).unwrap(), 2);
        for (pointer, value) in
            [("/messages", 3), ("/non_bots", 2), ("/distinct_users", 3), ("/by_domain/b", 0)]
        {
            let mut bad = more.clone();
            *bad.pointer_mut(pointer).unwrap() = json!(value);
            assert!(at_least_once(&bad, &truth).is_err(), "{pointer}");
        }
        let mut bad = more;
        bad["by_domain"]["c"] = json!(1);
        assert!(at_least_once(&bad, &truth).is_err());
    }
}
