//! `cargo lab replay`: a server that behaves like Wikimedia's RecentChange stream, and knows what a correct program
//! counts of the events that it has sent. The command serves until Ctrl-C; `check`, `up` and `bench` start the same
//! server inside their own process.
#![expect(clippy::print_stdout, reason = "the command says where it listens")]

mod clock;
mod connection;
mod cursor;
mod event;
mod fields;
mod generator;
mod odd;
mod options;
mod recording;
mod server;
mod source;
mod state;
mod text;
mod truth;
mod wikis;
mod wire;
mod words;

use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use crate::replay::source::Source;
use crate::replay::state::Shared;
use crate::stop;

pub use crate::replay::options::Options;
pub use crate::replay::state::Progress;
pub use crate::replay::truth::Truth;

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    if options.stdout {
        return write_to_stdout(&options).map(|()| ExitCode::SUCCESS);
    }
    let stop = stop::signals()?;
    let replay = start(options).await?;
    println!("stream    {}", replay.stream_url());
    println!("truth     http://{}/truth", replay.address());
    println!("progress  http://{}/progress", replay.address());
    println!("try       curl -sN -A me {}", replay.stream_url());
    stop.await;
    let (progress, truth) = (replay.progress(), replay.truth());
    replay.stop().await;
    println!(
        "sent {} events on {} connections; a correct program counts {} messages of {} users",
        progress.sent, progress.connections_opened, truth.messages, truth.distinct_users
    );
    Ok(ExitCode::SUCCESS)
}

/// A replay that is running in this process. It ends with `stop`, or when it is dropped.
pub struct Replay {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    _stop_on_drop: DropGuard,
}

/// Binds and serves on the current runtime. With port 0, `address` knows the port.
pub async fn start(options: Options) -> anyhow::Result<Replay> {
    let address = options.address;
    let shared = Arc::new(Shared::open(options)?);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another address with --address")
    })?;
    Ok(Replay {
        address: listener.local_addr()?,
        _stop_on_drop: shared.shutdown.clone().drop_guard(),
        server: tokio::spawn(server::serve(listener, Arc::clone(&shared))),
        shared,
    })
}

impl Replay {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn stream_url(&self) -> String {
        format!("http://{}/v2/stream/recentchange", self.address)
    }

    /// What a correct program has counted when it has read everything that was sent so far, with the first 100 users.
    pub fn truth(&self) -> Truth {
        self.shared.truth(100)
    }

    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Sends no more events, and returns what a correct program counts of those that were sent.
    pub fn pause(&self) -> Truth {
        self.shared.state().paused = true;
        self.truth()
    }

    /// Ends all streams. It waits a second at most for clients that do not read.
    pub async fn stop(self) {
        self.shared.shutdown.cancel();
        _ = self.server.await;
    }
}

/// Appends events in the format of the stream. `--stdout` writes these, and a bench measures what making them costs.
pub fn generate(source: &Source, positions: std::ops::Range<u64>, eol: &str, out: &mut Vec<u8>) {
    for position in positions {
        source.write_event(position, eol, out);
    }
}

fn write_to_stdout(options: &Options) -> anyhow::Result<()> {
    let source = Source::open(options)?;
    let end = options.events.unwrap_or(u64::MAX).min(source.len());
    anyhow::ensure!(
        end < u64::MAX,
        "--stdout needs an end: say with --events how many events to write"
    );
    let eol = options.faults.line_end();
    let mut out = format!(":ok{eol}{eol}").into_bytes();
    let mut stdout = io::stdout().lock();
    for begin in (0..end).step_by(50) {
        generate(&source, begin..end.min(begin + 50), eol, &mut out);
        match stdout.write_all(&out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        out.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
