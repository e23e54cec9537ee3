//! The rows whose program only reads: lab-probe, which shows what reading and parsing cost at least, and the
//! chapter's own `watch`. Each ends by itself after the events asked for.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;

use crate::bench::replay::Replay;
use crate::bench::row::Measured;
use crate::bench::row::Meter;
use crate::bench::usage::Usage;
use crate::process::Process;
use crate::process::Program;
use crate::process::describe;

pub const FIRST_EVENT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// The replay's own default.
pub const USERS: u32 = 100_000;

/// What lab-probe prints.
#[derive(Deserialize)]
struct Answer {
    events: u64,
    seconds: f64,
}

/// Runs lab-probe; `mode` is `read` or `parse`.
pub async fn probe(binary: &Path, mode: &str, events: u64, deadline: Duration) -> Result<Measured> {
    let replay = Replay::start(0, 0, USERS, None).await?;
    let meter = Meter::begin(replay.used(Some(Usage::default())));
    let program = Program::new([binary]).keep_lines(20);
    let process = program.args([mode, &replay.url, &events.to_string()]).start()?;
    let line = match process.stdout.line(deadline, |_| true).await {
        Ok(line) => line,
        Err(error) => {
            let said = process.stderr.lines().join("\n");
            return Err(error.context(format!("lab-probe {mode}: {said}")));
        }
    };
    // It is still there, and idle.
    let used = Usage::of(&process);
    let answer: Answer = serde_json::from_str(&line)?;
    let sent = replay.progress().await?.sent;
    Ok(meter.end(replay.used(used), answer.events, sent, answer.seconds))
}

/// Runs the chapter's `watch` with stdout thrown away, from the first event to the end of the process.
pub async fn watch(binary: &Path, events: u64, deadline: Duration) -> Result<Measured> {
    let replay = Replay::start(0, 0, USERS, None).await?;
    let meter = Meter::begin(replay.used(Some(Usage::default())));
    // The shell becomes the chapter: one process, and stdout goes nowhere.
    let shell = ["sh", "-c", r#"exec "$0" "$@" > /dev/null"#];
    let mut process = Program::new(shell)
        .args([binary])
        .folder(std::env::temp_dir())
        .keep_lines(20)
        .env("CONFIG_FILE", "/dev/null")
        .env("WIKIPEDIA_STREAM_URL", &replay.url)
        .args(["watch", "--limit", &events.to_string()])
        .start()?;
    let begun = replay.first_event(FIRST_EVENT).await?;
    let used = tokio::time::timeout(deadline, last_usage(&process)).await.map_err(|_| {
        anyhow::anyhow!("watch has not read {events} events within {} s", deadline.as_secs())
    })?;
    let status = process.wait(deadline).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let said = process.stderr.lines().join("\n");
    ensure!(status.success(), "watch: {}\n{said}", describe(status));
    let sent = replay.progress().await?.sent;
    Ok(meter.end(replay.used(used), events, sent, seconds))
}

/// Looks until the process has ended and not been waited for yet: its times can still be read then, its memory not.
async fn last_usage(process: &Process) -> Option<Usage> {
    let mut peak_kib = 0;
    loop {
        let usage = Usage::of(process)?;
        peak_kib = usage.peak_kib.max(peak_kib);
        if usage.is_zombie {
            return Some(Usage { peak_kib, ..usage });
        }
        tokio::time::sleep(POLL).await;
    }
}
