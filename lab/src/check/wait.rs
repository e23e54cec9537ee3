//! How long a check waits, and how: it asks a question again and again until the answer is the right one.

use std::ops::ControlFlow;
use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;

/// A program has this long to answer after its start; generous, because the machine may be busy.
pub const START: Duration = Duration::from_secs(60);
/// The contract: a signal ends the program within 10 s. Two more are for a busy machine.
pub const STOP: Duration = Duration::from_secs(12);
/// For a single answer, and for a start that must fail.
pub const SOON: Duration = Duration::from_secs(30);
/// For events that have to pass through a topic.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// For a whole stream with faults, until it is read and counted.
pub const LONG: Duration = Duration::from_secs(180);

/// If a message is sent or counted twice, it is seen within this time.
const QUIET: Duration = Duration::from_millis(500);

/// So short that a moment in the middle of a stream is not missed, and so long that the program has little work by it.
const POLL: Duration = Duration::from_millis(50);

/// Asks again and again until the answer is `Break`, and returns its value. An error ends the waiting at once; after
/// `patience`, the text of the last `Continue` becomes the error.
pub async fn until<T>(
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<ControlFlow<T, String>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let so_far = match ask().await? {
            Break(answer) => return Ok(answer),
            Continue(so_far) => so_far,
        };
        if start.elapsed() > patience {
            bail!("{so_far}, after {} s", patience.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// As `until`, but a moment later the answer must still be `Break`: an event that comes too late must be found.
pub async fn until_quiet<T>(
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<ControlFlow<T, String>>,
) -> Result<T> {
    until(patience, &mut ask).await?;
    tokio::time::sleep(QUIET).await;
    match ask().await? {
        Break(answer) => Ok(answer),
        Continue(now) => bail!("{now}, although the number was right a moment before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_waited_for_and_what_does_not_come_is_told_in_its_last_words() {
        let mut asked = 0;
        let third = until(SOON, async || {
            asked += 1;
            Ok(if asked == 3 { Break(asked) } else { Continue(String::new()) })
        });
        assert_eq!(third.await.unwrap(), 3);
        let never = until(Duration::ZERO, async || Ok(Continue::<(), _>("2 of 3".to_owned())));
        assert_eq!(never.await.unwrap_err().to_string(), "2 of 3, after 0 s");
        let mut asked = 0;
        let failed = until(SOON, async || {
            asked += 1;
            bail!("no such path") as Result<ControlFlow<(), String>>
        });
        assert!(failed.await.is_err());
        assert_eq!(asked, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_the_right_moment_is_too_many() {
        let counted = async |last: u64| {
            let mut counts = [0, 1, last].into_iter();
            until_quiet(SOON, async || {
                let count = counts.next().unwrap();
                Ok(if count == 1 { Break(count) } else { Continue(format!("{count} and not 1")) })
            })
            .await
        };
        assert_eq!(counted(1).await.unwrap(), 1);
        let error = counted(2).await.unwrap_err().to_string();
        assert_eq!(error, "2 and not 1, although the number was right a moment before");
    }
}
