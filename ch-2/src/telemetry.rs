//! Writes the log to stderr, as text for people or as JSON for programs. main.rs calls `init` once it
//! has read the command line.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use clap::ValueEnum;
use tracing::error;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::printable::printable;

/// The target of all log lines of this program begins with this.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The target of the error that ends the program. No filter leaves it out.
const FATAL: &str = "fatal";

/// Which log lines are written, and in which form.
#[derive(Args)]
pub struct Config {
    /// Which log lines are written: a level (off, error, warn, info, debug, trace), and pairs of target and level. Example: info,tower_http=debug
    #[arg(long, env, default_value = "info", value_parser = filter, global = true)]
    rust_log: Targets,

    /// The form of a log line. Example: json
    #[arg(long, env, default_value = "text", global = true)]
    log_format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Text for people, with colours on a terminal.
    Text,
    /// One JSON object in each line.
    Json,
}

/// Writes all log lines of this process to stderr, because stdout is for the output of a role.
pub fn init(config: &Config) {
    let colours = io::stderr().is_terminal();
    let lines = fmt::layer()
        .with_ansi(colours)
        // That a line cannot be written is not reported. The report would go to the same stderr, and fail with a panic.
        .log_internal_errors(false)
        .with_writer(move || Printable { to: io::stderr(), colours });
    let lines = match config.log_format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = config.rust_log.clone().with_target(FATAL, LevelFilter::ERROR);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

/// Logs the error that ends the program, whatever RUST_LOG says.
pub fn fatal(error: &anyhow::Error) {
    error!(target: FATAL, "{error:#}");
}

/// Reads RUST_LOG. A mistake that would leave out log lines without a word is an error.
fn filter(text: &str) -> Result<Targets> {
    let text = if text.trim().is_empty() { "info" } else { text };
    let mut targets = Targets::new();
    let mut concerns_us = false;
    for part in text.split(',').map(str::trim) {
        let (target, level) = part.split_once('=').unwrap_or(("", part));
        let known: Option<LevelFilter> = level.parse().ok().filter(|_| !level.is_empty());
        let level =
            known.with_context(|| format!("{part:?} is neither a level nor target=level"))?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        ensure!(
            target.chars().all(legal),
            "{target:?} is no target; one of this program is {OURS}"
        );
        concerns_us |= OURS.starts_with(target) || target.starts_with(OURS);
        targets = match target {
            "" => targets.with_default(level),
            target => targets.with_target(target, level),
        };
    }
    ensure!(
        concerns_us,
        "leaves out every line of this program, whose target is {OURS}; a level without a target is for all: info,{text}"
    );
    Ok(targets)
}

/// Writes printable text. The log passes each line to it as a whole, so no log statement can forget this.
struct Printable<W> {
    to: W,
    colours: bool,
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        // What stands before the first escape character, and after each of them.
        let mut parts = text.strip_suffix('\n').unwrap_or(&text).split('\u{1b}');
        let mut safe = parts.next().map(printable).unwrap_or_default().into_owned();
        for part in parts {
            safe += if self.colours && begins_with_colour(part) { "\u{1b}" } else { r"\u001b" };
            safe += &printable(part);
        }
        self.to.write_all((safe + "\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether an escape character before `part` only changes the colour or the weight of the letters, as the log does.
fn begins_with_colour(part: &str) -> bool {
    let code = part.strip_prefix('[').and_then(|part| part.split_once('m'));
    code.is_some_and(|(code, _)| {
        matches!(code, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, colours: bool) -> String {
        let mut writer = Printable { to: Vec::new(), colours };
        writer.write_all(line.as_bytes()).unwrap();
        String::from_utf8(writer.to).unwrap()
    }

    #[test]
    fn line_of_the_log_is_one_line_that_steers_nothing() {
        let line = "INFO \u{1b}[32mname\u{1b}[0m=a\u{9b}2J\nINFO b\u{202e} \u{1b}[8mc 東京\n";
        let plain = r"INFO \u001b[32mname\u001b[0m=a\u009b2J\u000aINFO b\u202e \u001b[8mc 東京";
        let coloured =
            plain.replace(r"\u001b[32m", "\u{1b}[32m").replace(r"\u001b[0m", "\u{1b}[0m");
        assert_eq!(written(line, false), plain.to_owned() + "\n");
        assert_eq!(written(line, true), coloured + "\n");
    }

    #[test]
    fn filter_that_would_silence_the_program_by_mistake_is_refused() {
        let ours = format!("{OURS}=debug");
        for text in [
            "inf",
            "debug;info",
            "info,http=loud",
            "info,",
            "http=",
            "my_app=debug",
            "info,a-b=debug",
        ] {
            assert!(filter(text).is_err(), "{text}");
        }
        for text in ["", " ", "off", "WARN", "info,tower_http=debug", "info, scylla=off", &ours] {
            filter(text).expect(text);
        }
        assert_eq!(filter("").unwrap(), filter("info").unwrap());
    }
}
