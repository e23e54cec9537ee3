//! Shows a long text on a terminal through the user's pager, as git does.

use std::io::ErrorKind;
use std::io::IsTerminal;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::terminal;

/// Prints `text`, through a pager where `wanted` is true and stdout is a terminal.
pub fn print(text: &[u8], wanted: bool) -> Result<()> {
    let is_terminal = std::io::stdout().is_terminal();
    if let Some(pager) = chosen(wanted && is_terminal, std::env::var("PAGER").ok()) {
        // Ctrl-C is for the pager. Without this it would end lab and leave the pager to the shell.
        let _interrupts = signal(SignalKind::interrupt())?;
        if through(&pager, text)? {
            return Ok(());
        }
    }
    terminal::print(|out| out.write_all(text))
}

/// The command of the pager; an empty `PAGER` means that the user wants none.
fn chosen(wanted: bool, user_s: Option<String>) -> Option<String> {
    let pager = user_s.unwrap_or_else(|| "less -FRX".to_owned());
    (wanted && !pager.trim().is_empty()).then_some(pager)
}

/// False where there is no such pager.
fn through(pager: &str, text: &[u8]) -> Result<bool> {
    let mut words = pager.split_whitespace();
    let Some(program) = words.next() else {
        return Ok(false);
    };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped());
    // `PAGER=less` alone would show colours as escape sequences.
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    let mut child = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        started => started.with_context(|| format!("cannot run the pager {pager}"))?,
    };
    // The pager's stdin is closed at the end of this statement, which tells it that the text ends here.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text));
    child.wait().context("cannot wait for the pager")?;
    match written {
        // The user has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(true),
        written => written.context("cannot write to the pager").map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pager_is_the_user_s_or_less_or_none() {
        let pager = |wanted, user_s: Option<&str>| chosen(wanted, user_s.map(str::to_owned));
        assert_eq!(pager(true, None).as_deref(), Some("less -FRX"));
        assert_eq!(pager(true, Some("more")).as_deref(), Some("more"));
        assert_eq!(pager(true, Some("")), None);
        assert_eq!(pager(false, Some("more")), None);
    }

    #[test]
    fn pager_that_ends_early_is_no_error() {
        // More than a pipe holds.
        assert!(through("true", &[b'x'; 1_000_000]).unwrap());
    }

    #[test]
    fn text_goes_to_the_pager_with_its_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seen");
        assert!(through(&format!("cp /dev/stdin {}", file.display()), b"text\n").unwrap());
        assert_eq!(std::fs::read(file).unwrap(), b"text\n");
    }

    #[test]
    fn pager_that_is_not_there_is_not_used() {
        assert!(!through("no-such-pager", b"text\n").unwrap());
        assert!(!through(" ", b"text\n").unwrap());
    }
}
