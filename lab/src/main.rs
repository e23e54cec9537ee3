//! `cargo lab`: the companion of the course. It runs the chapters, checks them from outside, compares one with the
//! next, and gives them a stream that can be made faulty. Each command is a module; `cargo lab help COMMAND` explains
//! it.

mod bench;
mod broker;
mod chapters;
mod check;
mod ci;
mod client;
mod credentials;
mod diff;
mod docker;
mod doctor;
mod drift;
mod ports;
mod process;
mod replay;
mod scratch;
mod screen;
mod services;
mod stop;
mod terminal;
mod totals;
mod up;

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

/// The course's companion: runs, checks, compares and breaks the chapters.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Options),
    Check(check::Options),
    Diff(diff::Options),
    Drift(drift::Options),
    Ci(ci::Options),
    Replay(Box<replay::Options>),
    Services(services::Options),
    Doctor(doctor::Options),
    Bench(bench::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(options) => up::run(options).await,
        Command::Check(options) => check::run(options).await,
        Command::Diff(options) => diff::run(&options),
        Command::Drift(options) => drift::run(&options),
        Command::Ci(options) => ci::run(&options).await,
        Command::Replay(options) => replay::run(*options).await,
        Command::Services(options) => services::run(options).await,
        Command::Doctor(options) => doctor::run(&options).await,
        Command::Bench(options) => bench::run(options).await,
    };
    result.unwrap_or_else(|error| {
        // The error may quote what a program or a server has written.
        let lines: Vec<String> = format!("{error:#}").split('\n').map(screen::plain).collect();
        eprintln!("error: {}", lines.join("\n"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
