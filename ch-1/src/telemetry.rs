//! Writes the log to stderr, as text for people or as JSON for programs. main.rs calls `init` before anything else.

use std::io;
use std::io::IsTerminal;

use clap::Args;
use clap::ValueEnum;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Which log lines are written, and in which form.
#[derive(Args)]
pub struct Config {
    /// Which log lines are written: a level, or pairs of target and level. Example: info,tower_http=debug
    #[arg(long, env, default_value = "info", global = true)]
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
    let lines = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        // A line that cannot be written is not reported: the report would go to the same stderr, and end the program.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let lines = match config.log_format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(config.rust_log.clone())).init();
}
