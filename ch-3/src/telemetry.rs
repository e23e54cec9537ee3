//! Writes the log to stderr, as text for people or as JSON for programs. main.rs calls `init` once it
//! has read the command line.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use anyhow::Context;
use anyhow::Result;
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
    /// Which log lines are written: the level of those of this program (off, error, warn, info, debug, trace), and pairs of target and level for others. Example: info,tower_http=debug
    #[arg(long, env, default_value = "info", value_parser = filter, global = true)]
    rust_log: Targets,

    /// The form of a log line. Example: json
    #[arg(long, env, default_value = "text", global = true)]
    pub log_format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
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

/// Reads RUST_LOG. What it does not name stays as it is without RUST_LOG: this program writes from `info` on, and the crates
/// that it uses write nothing. They log what becomes an error of this program a second time, and some of them a password.
fn filter(text: &str) -> Result<Targets> {
    let mut targets = Targets::new().with_target(OURS, LevelFilter::INFO);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = part.split_once('=').unwrap_or((OURS, part));
        let is_whole = !target.is_empty() && !level.is_empty();
        let known: Option<LevelFilter> = level.parse().ok().filter(|_| is_whole);
        let level =
            known.with_context(|| format!("{part:?} is neither a level nor target=level"))?;
        // A name with `-` in Cargo.toml has `_` as a target.
        targets = targets.with_target(target.replace('-', "_"), level);
    }
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
        let mut safe = printable(text.strip_suffix('\n').unwrap_or(&text)).into_owned();
        if self.colours {
            // Those of the log itself, which change nothing but the colour or the weight of the letters.
            for code in ["0", "1", "2", "3", "31", "32", "33", "34", "35"] {
                safe = safe.replace(&format!("\\u001b[{code}m"), &format!("\u{1b}[{code}m"));
            }
        }
        self.to.write_all((safe + "\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

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
    fn filter_changes_only_what_it_names() {
        for (text, ours, others) in [
            ("", "INFO", "OFF"),
            ("info,", "INFO", "OFF"),
            ("off", "OFF", "OFF"),
            (" WARN", "WARN", "OFF"),
            ("trace", "TRACE", "OFF"),
            ("my_app=debug", "INFO", "OFF"),
            ("tower-http=debug", "INFO", "DEBUG"),
            ("debug, tower_http=warn", "DEBUG", "WARN"),
            (concat!(env!("CARGO_CRATE_NAME"), "::nope=debug"), "INFO", "OFF"),
            (concat!(env!("CARGO_PKG_NAME"), "=error"), "ERROR", "OFF"),
        ] {
            let targets = filter(text).expect(text);
            let level = |target| {
                let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
                let most = levels.into_iter().rfind(|level| targets.would_enable(target, level));
                most.map_or("OFF".to_owned(), |level| level.to_string())
            };
            assert_eq!(level(concat!(env!("CARGO_CRATE_NAME"), "::http")), ours, "{text}");
            assert_eq!(level("tower_http::trace"), others, "{text}");
            assert_eq!(level("scylla"), "OFF", "{text}");
        }
    }

    #[test]
    fn filter_that_cannot_be_read_is_refused() {
        for text in ["inf", "debug;info", "info,http=loud", "http=", "=", "=debug"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
