//! The stream that a bench reads: `lab replay` as a process of its own, so that its CPU time is not the reader's.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;

use crate::bench::row::Used;
use crate::bench::usage::Usage;
use crate::client::Client;
use crate::process::Process;
use crate::process::Program;

const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Enough for a mean that the whole stream keeps to.
const SAMPLE: u64 = 5_000;

pub struct Replay {
    process: Process,
    client: Client,
    pub url: String,
}

/// The part of `/progress` that is looked at.
#[derive(Clone, Copy, Deserialize)]
pub struct Progress {
    pub sent: u64,
    pub finished: bool,
}

impl Replay {
    /// Port 0 takes a free one; `events` is where the stream falls silent, without it it has no end.
    pub async fn start(port: u16, rate: u64, users: u32, events: Option<u64>) -> Result<Self> {
        let mut program = Program::new([this_program()?])
            .keep_lines(20)
            .args(["replay", "--address", &format!("127.0.0.1:{port}")])
            .args(["--rate", &rate.to_string()])
            .args(["--users", &users.to_string()]);
        if let Some(events) = events {
            program = program.args(["--events", &events.to_string()]);
        }
        let process = program.start()?;
        let listens = |line: &str| line.starts_with("stream ");
        let line = match process.stdout.line(START, listens).await {
            Ok(line) => line,
            Err(error) => {
                let said = process.stderr.all().await.join("\n");
                return Err(error.context(format!("lab replay does not come up: {said}")));
            }
        };
        let url = line.split_ascii_whitespace().nth(1).context("lab replay printed no URL")?;
        let (base, _) = url.split_once("/v2/").context("lab replay's URL is odd")?;
        Ok(Self { process, client: Client::new(base), url: url.to_owned() })
    }

    pub async fn progress(&self) -> Result<Progress> {
        let answer = self.client.get("/progress").await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// What a correct consumer has counted of all that was sent.
    pub async fn truth(&self) -> Result<Value> {
        self.client.get("/truth").await?.json()
    }

    /// Waits for the first event, and returns when it was seen to be sent.
    pub async fn first_event(&self, deadline: Duration) -> Result<Instant> {
        let begun = Instant::now();
        while self.progress().await?.sent == 0 {
            if begun.elapsed() > deadline {
                bail!("nobody has read the stream for {} s", deadline.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Instant::now())
    }

    pub fn usage(&self) -> Option<Usage> {
        Usage::of(&self.process)
    }

    /// Beside that of whoever reads it.
    pub fn used(&self, reader: Option<Usage>) -> Used {
        Used { reader, replay: self.usage(), broker: None }
    }
}

/// The mean size of an event on the wire.
pub async fn event_bytes() -> Result<f64> {
    let program = Program::new([this_program()?]).args(["replay", "--stdout", "--events"]);
    let finished = program.args([SAMPLE.to_string()]).output(b"", START).await?;
    // Each line was ended by one more byte.
    let bytes: usize = finished.stdout.iter().map(|line| line.len() + 1).sum();
    Ok(bytes as f64 / SAMPLE as f64)
}

fn this_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find lab's own binary")
}
