//! Tries again what fails and may pass. The stores are opened with it, and the consumer loads and writes with it.

use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The first wait before another attempt; it doubles up to the second.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long a start waits for a service. Cassandra takes a minute to start itself on a small machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one attempt of a start may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a service that may not be there yet.
///
/// # Errors
/// It could not be opened for two minutes.
pub async fn at_start<T, F>(service: &str, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + START_TIMEOUT;
    let mut wait = SHORTEST_WAIT;
    loop {
        let attempt_deadline = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        let error = match timeout_at(attempt_deadline, attempt()).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("no answer in time"),
        };
        if Instant::now() + wait > deadline {
            let seconds = START_TIMEOUT.as_secs();
            return Err(error.context(format!("{service} could not be used for {seconds} s")));
        }
        warn!(?wait, "waiting for {service}: {error:#}");
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Tries until it succeeds. After the shutdown has begun, one more failure ends the trying, with `None`.
pub async fn until_shutdown<T, F>(
    shutdown: &CancellationToken,
    attempt: impl Fn() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T>>,
{
    let mut wait = SHORTEST_WAIT;
    loop {
        let error = match attempt().await {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        if shutdown.is_cancelled() {
            warn!("given up at shutdown: {error:#}");
            return None;
        }
        warn!(?wait, "trying again, reading waits: {error:#}");
        shutdown.run_until_cancelled(sleep(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
