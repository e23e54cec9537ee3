//! Writing to the terminal, or to whatever stands in its place. A reader of stdout that has gone away ends the output
//! and is no error, colours are written to terminals only, and whoever waits is told for what.

use std::io::BufWriter;
use std::io::ErrorKind;
use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

/// Nobody wonders about a shorter silence.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `write` on a buffered stdout; a closed pipe (`cargo lab diff | head`) is no error.
pub fn print(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    // Not dropped: that would write the rest once more.
    let _ = out.into_parts();
    quiet_on_closed_pipe(written).context("cannot write to stdout")
}

fn quiet_on_closed_pipe(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Awaits `work`; when that takes longer than a second, stderr says for `what` it waits.
pub async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => eprintln!("waiting for {what}"),
    }
    work.await
}

/// Whether stdout is a terminal with colours and its owner has not said <https://no-color.org>.
pub fn has_colour() -> bool {
    console::colors_enabled()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_pipe_is_quiet_and_a_full_disk_is_not() {
        assert!(quiet_on_closed_pipe(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(quiet_on_closed_pipe(Err(ErrorKind::StorageFull.into())).is_err());
    }
}
