//! Clients that hold connections and send nothing.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::check::runner::Check;
use crate::check::runner::HTTP;
use crate::check::runner::Skip;
use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::client::Raw;

pub const CHECKS: &[Check] = &[
    Check {
        name: "half a request is not waited for longer than 10 s or so",
        expected: "the connection closed by the server within 30 s",
        hint: "a header-read timeout of 10 s; most servers have none by default, and the attack is called slowloris",
        slow: true,
        run: |subject| Box::pin(slow_header(subject)),
        ..HTTP
    },
    Check {
        name: "2,000 connections opened and left do not shut others out",
        expected: "/status answers within 30 s while they are held, and again when they are gone",
        hint: "bound the connections (1,000, fewer where the file limit is lower), let the rest wait, time out the idle",
        slow: true,
        run: |subject| Box::pin(crowd(subject)),
        ..HTTP
    },
];

const CROWD: u64 = 2_000;

async fn slow_header(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let mut held =
        Raw::open(server.client.authority(), "GET /status HTTP/1.1\r\nhost: slow").await?;
    held.until_closed(SOON).await?;
    server.lives().await
}

async fn crowd(subject: &Subject) -> Result<()> {
    // Some files are lab's own; the program has the same limit, and must live with it.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = CROWD.min(limit.saturating_sub(200));
    if count < 100 {
        return Err(Skip(format!(
            "the limit of open files is {limit}; raise it with `ulimit -n 4096`"
        ))
        .into());
    }
    let server = subject.serve().await?;
    let authority = server.client.authority().to_owned();
    let mut held = Vec::new();
    for number in 0..count {
        // Some silent, some in the middle of their request. Those that wait in the backlog count as well.
        let start = if number % 2 == 0 { "" } else { "GET /status HTTP/1.1\r\n" };
        match tokio::time::timeout(Duration::from_secs(1), Raw::open(&authority, start)).await {
            Ok(Ok(connection)) => held.push(connection),
            // Refused, or the backlog is full: the crowd is as large as the server lets it be.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let response = server.client.clone().with_deadline(SOON).get("/status").await;
    let response = response.with_context(|| format!("with {} connections held", held.len()))?;
    ensure!(response.status == 200, "{} with {} connections held", response.status, held.len());
    drop(held);
    server.lives().await
}
