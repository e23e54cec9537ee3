//! Counts the events of Wikimedia's RecentChange stream, and shows the statistics to users who have logged in.
//!
//! The program has one subcommand for each role. This file names the roles and connects their parts.

mod api;
mod auth;
mod config;
mod connections;
mod consumer;
mod counter;
mod error;
mod event;
mod health;
mod healthcheck;
mod http;
mod limit;
mod log_limit;
mod ops;
mod printable;
mod queue;
mod request_log;
mod resume;
mod retry;
mod shutdown;
mod slice;
mod stats;
mod store;
mod telemetry;
mod watch;
mod wikimedia;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use axum::Router;
use clap::Parser;
use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::health::Health;
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
    /// Write the events of the RecentChange stream to stdout, one in each line.
    Watch(config::Watch),
    /// Ask a running server whether it is alive.
    Healthcheck(config::Healthcheck),
    /// Read a password from stdin and print its hash, the value for ADMIN_PASSWORD_HASH.
    HashPassword,
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
        Role::HashPassword => auth::hash_password(),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    telemetry::fatal(&error);
    ExitCode::FAILURE
}

async fn serve(config: config::Serve, shutdown: CancellationToken) -> Result<()> {
    let opened = async {
        let store = StatsStore::open(&config.store, "stream").await?;
        let auth = Auth::open(&config.auth, store.clone()).await?;
        anyhow::Ok((store, auth))
    };
    let Some(opened) = shutdown.run_until_cancelled(opened).await else {
        return Ok(());
    };
    let (store, auth) = opened?;
    let health = Health { store: Some(store.clone()), ..Health::default() };
    let ops = ops::routes(shutdown.clone(), health.clone());
    let routes = ops.merge(api::routes(store.clone(), auth));
    let http_addr = config.http_addr;
    let counters = wikimedia::Counters::default();
    let consumer = consumer::run(config, counters, store, health, shutdown.clone());
    serve_beside(consumer, http_addr, routes, shutdown).await
}

/// Serves HTTP until the shutdown, beside `role`. The role has a task of its own, so that many events at once do not
/// delay new connections.
async fn serve_beside(
    role: impl Future<Output = Result<()>> + Send + 'static,
    address: SocketAddr,
    routes: Router,
    shutdown: CancellationToken,
) -> Result<()> {
    // The port is bound first. If another program uses it, the role does not begin.
    let role = async { tokio::spawn(role).await.context("the role ended")? };
    tokio::try_join!(biased; http::serve(address, routes, shutdown), role)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use tokio::net::TcpListener;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn role_does_not_begin_if_its_port_is_taken() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        let began = Arc::new(AtomicBool::new(false));
        let role = {
            let began = Arc::clone(&began);
            async move {
                began.store(true, Ordering::SeqCst);
                Ok(())
            }
        };
        let served = serve_beside(role, address, Router::new(), CancellationToken::new());
        let error = served.await.unwrap_err().to_string();
        assert!(error.contains("cannot listen on"), "{error}");
        // A role that has a task of its own would begin now.
        yield_now().await;
        assert!(!began.load(Ordering::SeqCst));
    }
}
