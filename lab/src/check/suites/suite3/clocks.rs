//! A program whose clock is behind that of the one before it: what it writes to Cassandra counts all the same.

use anyhow::Context;
use anyhow::Result;

use crate::check::clock::Clock;
use crate::check::runner::CASSANDRA;
use crate::check::runner::Check;
use crate::check::session;
use crate::check::stopping;
use crate::check::subject::Subject;
use crate::check::truth;
use crate::check::wait::LONG;
use crate::client::Client;
use crate::credentials::PASSWORD;
use crate::credentials::PASSWORD_HASH;
use crate::credentials::USERNAME;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "a restart with the clock set back leaves the counts exact",
        expected: "after SIGTERM in the middle and a restart ten minutes earlier, every field of /stats equal to what the stream has sent",
        hint: "Cassandra keeps the value with the newer timestamp: read WRITETIME with the totals, and write above it",
        not_in_image: Some("the clock of one program is set back by a library"),
        run: |subject| Box::pin(restart(subject)),
        ..CASSANDRA
    },
    Check {
        name: "a new password counts although the clock was set back",
        expected: "200 for the new password and 401 for the old one, after a restart ten minutes earlier",
        hint: "write a user, too, with a timestamp above the one that is there",
        not_in_image: Some("the clock of one program is set back by a library"),
        run: |subject| Box::pin(password(subject)),
        ..CASSANDRA
    },
    Check {
        name: "the user of an earlier ADMIN_USERNAME can no longer log in",
        expected: "after a restart with another user, 401 for the first one and 200 for the other; and back again",
        hint: "the configuration says who may log in: refuse a user whom an earlier configuration has put into the store",
        run: |subject| Box::pin(renamed(subject)),
        ..CASSANDRA
    },
];

/// The user of `.env.example`, which everybody tries first.
const EXAMPLE_USERNAME: &str = "admin";
const EXAMPLE_PASSWORD: &str = "wikipedia";
const EXAMPLE_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$kTIRYudibI5GVvEe4V5yiQ$y+iS0U7J+ivkTtD8xW17LocSs5VB20T+BFcOFmBS3Qw";

async fn restart(subject: &Subject) -> Result<()> {
    let clock = Clock::behind().await?;
    let keyspace = subject.keyspace()?;
    let topics = subject.topics().await?;
    let (events, rate) = if subject.is_split() { (15_000, 1_500) } else { (15_000, 4_000) };
    let replay = replay::start(replay::Options { rate, ..replay::Options::of(events) }).await?;
    let set = |program: Program| keyspace.set(topics.set(program));
    let mut server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    session::is_counting(&server.client, rate, LONG).await?;
    server.leaves_on(Signal::TERM).await?;
    stopping::in_the_middle(&replay)?;
    let set_back = |program: Program| clock.set(set(program));
    let server = subject.serve_stream_with(&replay.stream_url(), set_back).await?;
    Clock::is_kept(&server.client).await?;
    truth::equals_truth(&server.client, &replay, LONG).await?;
    drop(server);
    keyspace.remove().await
}

async fn password(subject: &Subject) -> Result<()> {
    let clock = Clock::behind().await?;
    let keyspace = subject.keyspace()?;
    let old = |program: Program| keyspace.set(program).env("ADMIN_PASSWORD_HASH", EXAMPLE_HASH);
    let mut server = subject.serve_with(old).await?;
    logs_in(&server.client, USERNAME, EXAMPLE_PASSWORD, 200).await?;
    server.ends_on(Signal::TERM).await?;
    let server = subject.serve_with(|program| clock.set(keyspace.set(program))).await?;
    logs_in(&server.client, USERNAME, EXAMPLE_PASSWORD, 401).await?;
    logs_in(&server.client, USERNAME, PASSWORD, 200).await?;
    Clock::is_kept(&server.client).await?;
    drop(server);
    keyspace.remove().await
}

async fn renamed(subject: &Subject) -> Result<()> {
    let keyspace = subject.keyspace()?;
    let example = [(EXAMPLE_USERNAME, EXAMPLE_PASSWORD), (USERNAME, PASSWORD)];
    let lab = [(USERNAME, PASSWORD), (EXAMPLE_USERNAME, EXAMPLE_PASSWORD)];
    for [(user, password), (other, other_password)] in [example, lab, example] {
        let hash = if user == USERNAME { PASSWORD_HASH } else { EXAMPLE_HASH };
        let set = |program: Program| {
            keyspace.set(program).env("ADMIN_USERNAME", user).env("ADMIN_PASSWORD_HASH", hash)
        };
        let mut server = subject.serve_with(set).await?;
        logs_in(&server.client, user, password, 200).await?;
        logs_in(&server.client, other, other_password, 401).await?;
        server.ends_on(Signal::TERM).await?;
    }
    keyspace.remove().await
}

async fn logs_in(client: &Client, username: &str, password: &str, status: u16) -> Result<()> {
    let response = session::login(client, username, password).await?;
    response.has_status(status).with_context(|| format!("{username} with {password:?}"))
}
