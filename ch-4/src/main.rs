//! Counts the RecentChange stream of Wikimedia, and shows the statistics behind a login.
//!
//! One program, its roles as subcommands; this file names them and wires their parts together.

mod api;
mod auth;
mod config;
mod connections;
mod consumer;
mod counter;
mod error;
mod event;
mod healthcheck;
mod http;
mod limit;
mod log_limit;
mod ops;
mod resume;
mod retry;
mod shutdown;
mod stats;
mod store;
mod telemetry;
mod watch;
mod wikimedia;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::ops::Ops;
use crate::store::StatsStore;

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
    /// Write the RecentChange stream to stdout, a line an event.
    Watch(config::Watch),
    /// Ask a running instance whether it is alive.
    Healthcheck(config::Healthcheck),
    /// Read a password from stdin, print its hash for ADMIN_PASSWORD_HASH.
    HashPassword,
}

fn main() -> ExitCode {
    let cli: Cli = config::parse();
    telemetry::init(&cli.log);
    let result = match cli.role {
        Role::Serve(config) => shutdown::run(|shutdown| serve(config, shutdown)),
        Role::Watch(config) => shutdown::run(|shutdown| watch::run(config, shutdown)),
        Role::Healthcheck(config) => healthcheck::run(&config),
        Role::HashPassword => auth::hash_password(),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    tracing::error!("{error:#}");
    ExitCode::FAILURE
}

async fn serve(config: config::Serve, shutdown: CancellationToken) -> Result<()> {
    let Some(store) = shutdown
        .run_until_cancelled(StatsStore::open(&config.store, "stream"))
        .await
    else {
        return Ok(());
    };
    let store = store?;
    let auth = Auth::open(&config.auth, store.clone()).await?;
    let ops = Ops {
        shutdown: shutdown.clone(),
        log_limit: Arc::default(),
        store: store.clone(),
    };
    let routes = ops::routes(ops).merge(api::routes(store.clone(), auth));
    let http_addr = config.http_addr;
    let counters = wikimedia::Counters::default();
    // On a task of its own, so that a flood of events does not hold up the accepting of connections.
    let consumer = tokio::spawn(consumer::run(config, counters, store, shutdown.clone()));
    tokio::try_join!(http::serve(http_addr, routes, shutdown), async {
        consumer.await.context("the consumer ended")?
    },)?;
    Ok(())
}
