//! Clients that hold connections and send nothing.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use tokio::time::timeout;

use crate::check::runner::Check;
use crate::check::runner::HTTP;
use crate::check::runner::Skip;
use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::client::KeepAlive;
use crate::client::Raw;

pub const CHECKS: &[Check] = &[Check {
    name: "2,000 connections opened and left do not shut others out",
    expected: "/status answers within 5 s while they are held, and again when they are gone",
    hint: "bound the connections (1,000, fewer where the file limit is lower); where there is no place, the client with the most loses its oldest",
    slow: true,
    run: |subject| Box::pin(crowd(subject)),
    ..HTTP
}];

const CROWD: u64 = 2_000;

/// Shorter than any timeout by which the crowd could be gone.
const MEANWHILE: Duration = Duration::from_secs(5);

async fn crowd(subject: &Subject) -> Result<()> {
    // Some files are lab's own. A program that lab starts has the same limit.
    let mut limit = getrlimit(Resource::Nofile);
    let needed = CROWD + 200;
    if limit.current.is_some_and(|files| files < needed) {
        limit.current = Some(needed);
        if setrlimit(Resource::Nofile, limit).is_err() {
            let skip =
                format!("{needed} files must be open; raise the limit with `ulimit -n {needed}`");
            return Err(Skip(skip).into());
        }
    }
    let server = subject.serve().await?;
    let authority = server.client.authority().to_owned();
    let mut held = Vec::new();
    for number in 0..CROWD {
        // Some silent, some in the middle of their request. Those that wait in the backlog count as well. Where it is
        // full for a moment, the system tries again after a second.
        let start = if number % 2 == 0 { "" } else { "GET /status HTTP/1.1\r\n" };
        match timeout(Duration::from_secs(3), Raw::open(&authority, start)).await {
            Ok(Ok(connection)) => held.push(connection),
            // Refused, or the backlog is full: the crowd is as large as the server lets it be.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    // A new connection: the client may still have one from before the crowd.
    let newcomer =
        async { KeepAlive::connect(&authority).await?.get(&authority, "/status", SOON).await };
    let response = timeout(MEANWHILE, newcomer).await.ok().context("no answer within 5 s");
    let response = response.and_then(|response| response);
    let response = response.with_context(|| format!("with {} connections held", held.len()))?;
    ensure!(response.status == 200, "{} with {} connections held", response.status, held.len());
    drop(held);
    server.lives().await
}
