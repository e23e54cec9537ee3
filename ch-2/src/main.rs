//! Prints the RecentChange stream of Wikimedia, or serves its own status.
//!
//! The program has one subcommand for each role. This file names the roles and connects their parts.

mod config;
mod counter;
mod event;
mod healthcheck;
mod http;
mod ops;
mod printable;
mod resume;
mod shutdown;
mod slice;
mod telemetry;
mod watch;
mod wikimedia;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::Subcommand;
use tokio_util::sync::CancellationToken;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("REVISION"), ")");

#[derive(Parser)]
#[command(version = VERSION, about, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    role: Role,
    #[command(flatten)]
    log: telemetry::Config,
}

#[derive(Subcommand)]
enum Role {
    /// Serve HTTP (the default role).
    Serve(config::Serve),
    /// Write the events of the RecentChange stream to stdout, one in each line.
    Watch(config::Watch),
    /// Ask a running server whether it is alive.
    Healthcheck(config::Healthcheck),
}

fn main() -> ExitCode {
    let cli: Cli = config::parse(Some("serve"));
    telemetry::init(&cli.log);
    let result = match cli.role {
        Role::Serve(config) => shutdown::run(|shutdown| serve(config, shutdown)),
        Role::Watch(config) => {
            shutdown::run(|shutdown| watch::run(config, cli.log.log_format, shutdown))
        }
        Role::Healthcheck(config) => healthcheck::run(&config),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    telemetry::fatal(&error);
    ExitCode::FAILURE
}

async fn serve(config: config::Serve, shutdown: CancellationToken) -> Result<()> {
    http::serve(config.http_addr, ops::routes(), shutdown).await
}
