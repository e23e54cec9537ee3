//! Both roles together: what the stream has sent is what `/stats` shows.

use anyhow::Result;
use anyhow::ensure;

use super::super::roles::Topics;
use super::super::runner::Check;
use super::super::runner::Needs;
use super::super::runner::PROCESS;
use super::super::subject::Subject;
use super::super::suite3::cql::Keyspace;
use super::super::suite3::exact;
use super::super::suite3::session;
use super::messages;
use super::messages::PATIENCE;
use super::users;
use crate::client::Client;
use crate::process::Program;
use crate::replay;
use crate::replay::Replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "20,000 events over both roles are counted exactly, by_user too",
        expected: "every field of /stats as the truth has it, over cuts and inclusive replays, and no message too many",
        hint: "compare the topic with the truth first: it tells which of the roles is wrong",
        smoke: true,
        run: |subject| Box::pin(memory(subject)),
        ..PROCESS
    },
    Check {
        name: "20,000 events over both roles are counted exactly in Cassandra",
        expected: "every field of /stats as the truth has it, by_user too, and no message too many",
        hint: "the totals of each partition are a Cassandra partition of their own; /stats puts them together",
        needs: Needs::Cassandra,
        run: |subject| Box::pin(cassandra(subject)),
        ..PROCESS
    },
];

/// The variables of a consumer with Cassandra behind it.
pub fn in_cassandra(program: Program, keyspace: &Keyspace) -> Program {
    program
        .env("STORAGE", "cassandra")
        .env("CASSANDRA_NODES", keyspace.nodes())
        .env("CASSANDRA_KEYSPACE", keyspace.name())
}

async fn memory(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    counted(subject, &topics, |program| topics.set(program)).await
}

async fn cassandra(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let keyspace = Keyspace::new(subject)?;
    counted(subject, &topics, |program| {
        in_cassandra(topics.set(program), &keyspace)
    })
    .await?;
    keyspace.remove().await
}

async fn counted(
    subject: &Subject,
    topics: &Topics,
    set: impl Fn(Program) -> Program,
) -> Result<()> {
    let mut options = exact::options(20_000);
    options.seed = 5;
    let faults = &mut options.faults;
    faults.cut_every = Some(1_501);
    faults.back = 40;
    faults.odd_every = Some(100);
    let replay = replay::start(options).await?;
    let server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    is_all(subject, topics, &server.client, &replay).await
}

/// The topic and `/stats` of `client` have what the truth has, and not a message more.
pub async fn is_all(
    subject: &Subject,
    topics: &Topics,
    client: &Client,
    replay: &Replay,
) -> Result<()> {
    let token = session::good_token()?;
    let sent = messages::all_sent(subject, topics, replay).await?;
    let truth = replay.truth();
    ensure!(
        sent == truth.messages,
        "{sent} messages in the topic and not {}",
        truth.messages
    );
    session::equals_truth(client, &token, replay, PATIENCE).await?;
    let response = client.get_with_token("/stats", &token).await?;
    users::same(&users::ranking(&response)?, &truth.by_user)
}
