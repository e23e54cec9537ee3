//! Repeats an attempt that may succeed later, and ends the work that a shutdown can't wait for. The stores are opened
//! with it, and the roles load and write with it.

use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The first wait before another attempt. It doubles each time, up to `LONGEST_WAIT`.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long the program waits for a service at its start. On a small machine, Cassandra needs a minute to start.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one attempt to open a service may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a role may go on writing after the shutdown has begun. The whole shutdown may take 9 s.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Tries until an attempt succeeds. If one fails after the shutdown has begun, this returns `None`.
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

/// Runs `work` to its end, or until `WRITE_TIMEOUT` after the shutdown has begun. What is not written
/// by then is read again after the next start.
///
/// # Errors
/// The error of `work`.
pub async fn in_time(
    shutdown: &CancellationToken,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let late = async {
        shutdown.cancelled().await;
        sleep(WRITE_TIMEOUT).await;
    };
    tokio::select! {
        result = work => result,
        () = late => {
            warn!("not written in time, to be read again");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn write_that_hangs_does_not_hold_up_the_shutdown() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let ended = timeout(2 * WRITE_TIMEOUT, in_time(&shutdown, pending())).await;
        ended.unwrap().unwrap();
    }
}
