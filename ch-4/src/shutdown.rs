//! Ends the program on SIGINT or SIGTERM. A role gets a `CancellationToken`, gives clones of it to its parts, and returns
//! when they have ended. A role that has not returned at the deadline, or at another SIGINT before it, is dropped.
//!
//! SIGHUP, which a closed terminal sends, ends the process at once, and under nohup it is ignored.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tokio::runtime::Runtime;
use tokio::signal::ctrl_c;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The longest time from the signal to the end of the process. Docker kills the process 10 s after the signal.
const DEADLINE: Duration = Duration::from_secs(9);

/// Runs `role` on a new runtime until it ends. The first signal cancels the token that the role gets.
///
/// # Errors
/// The error of the role, or an error if it was dropped.
pub fn run<F>(role: impl FnOnce(CancellationToken) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let runtime = Runtime::new().context("cannot start the async runtime")?;
    let result = runtime.block_on(async {
        let shutdown = cancelled_by_signal()?;
        within_deadline(role(shutdown.clone()), &shutdown).await
    });
    // Dropping the runtime would wait for its blocking threads, however long they take.
    runtime.shutdown_background();
    result?;
    info!("stopped");
    Ok(())
}

/// A process with PID 1, as in a container, ignores SIGTERM if it has no handler. So the handlers are set first.
fn cancelled_by_signal() -> Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        info!(signal = name, "stopping");
        token.cancel();
    });
    Ok(shutdown)
}

async fn within_deadline(
    role: impl Future<Output = Result<()>>,
    shutdown: &CancellationToken,
) -> Result<()> {
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DEADLINE).await;
    };
    let again = async {
        shutdown.cancelled().await;
        ctrl_c().await
    };
    tokio::select! {
        result = role => result,
        () = overdue => bail!("still running {DEADLINE:?} after the signal, giving up"),
        _ = again => bail!("still running at another SIGINT, giving up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn role_that_hears_the_token_ends_well() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let role = async {
            shutdown.cancelled().await;
            Ok(())
        };
        within_deadline(role, &shutdown).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn role_that_hangs_is_dropped_at_the_deadline() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let started = tokio::time::Instant::now();
        let error = within_deadline(std::future::pending(), &shutdown).await;
        assert!(error.unwrap_err().to_string().contains("giving up"));
        assert_eq!(started.elapsed().as_secs(), DEADLINE.as_secs());
    }
}
