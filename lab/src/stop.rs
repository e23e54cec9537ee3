//! The signals that ask a command to end.

use std::io;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Waits, from this call on, for Ctrl-C, SIGTERM, or the end of the terminal, and returns the name of what came.
/// Whoever awaits it still ends the programs that it has started: they would live on without it.
///
/// # Errors
/// The system does not let signals be caught.
pub fn signals() -> io::Result<impl Future<Output = &'static str>> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    // `nohup cargo lab bench …` is to outlive its terminal.
    let mut hung_up = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        let hung_up = async {
            match &mut hung_up {
                Some(hung_up) => hung_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupted.recv() => "Ctrl-C",
            _ = terminated.recv() => "SIGTERM",
            _ = hung_up => "SIGHUP",
        }
    })
}

/// Whether whoever started this wants it so. Only Linux tells.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of signal 1.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn end_of_the_terminal_ends_a_command_unless_nohup_says_no() {
        let ignored = hangup_is_ignored();
        let signals = signals().unwrap();
        let own = std::process::id().to_string();
        let killed = Command::new("kill").args(["-HUP", &own]).status();
        assert!(killed.unwrap().success());
        let patience = Duration::from_secs(if ignored { 1 } else { 30 });
        let came = tokio::time::timeout(patience, signals).await.ok();
        assert_eq!(came, (!ignored).then_some("SIGHUP"));
    }
}
