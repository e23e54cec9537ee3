//! A server that says it is alive, and stops when it is told to.
//!
//! The program has one subcommand for each role. This file names the roles and connects their parts.

mod http;
mod ops;
mod printable;
mod shutdown;
mod telemetry;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::Subcommand;
use tokio_util::sync::CancellationToken;

const HTTP_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7000);

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    log: telemetry::Config,
}

#[derive(Subcommand)]
enum Role {
    /// Serve HTTP on port 7000 (the default role).
    Serve,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(&cli.log);
    let result = match cli.role {
        None | Some(Role::Serve) => shutdown::run(serve),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    telemetry::fatal(&error);
    ExitCode::FAILURE
}

async fn serve(shutdown: CancellationToken) -> Result<()> {
    http::serve(HTTP_ADDR, ops::routes(), shutdown).await
}
