//! Logging: lines on stderr, as text for people or as JSON for machines. main.rs sets it up first.

use std::io;
use std::io::IsTerminal;

use clap::Args;
use clap::ValueEnum;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged, and how.
#[derive(Args)]
pub struct Config {
    /// What is logged: a level, or pairs of `target=level`. Example: info,tower_http=debug
    #[arg(long, env, default_value = "info", global = true)]
    rust_log: Targets,

    /// How a log line is written. Example: json
    #[arg(long, env, default_value = "text", global = true)]
    log_format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Lines for people, coloured on a terminal.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Sends every log line of this process to stderr. What a role prints goes to stdout.
pub fn init(config: &Config) {
    let lines = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        // If stderr is closed, a report about that on stderr would end the program.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let lines = match config.log_format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(config.rust_log.clone())).init();
}
