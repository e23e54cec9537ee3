//! The row whose program writes: the chapter's `producer`, from the first event that the replay sends to the last one
//! that stands in the topic, acknowledged.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;

use super::reader::FIRST_EVENT;
use super::replay::Replay;
use super::row::Measured;
use super::row::Memory;
use super::row::Meter;
use super::row::Used;
use super::usage::Usage;
use crate::broker::Broker;
use crate::client::free_port;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;
use crate::process::describe;

const POLL: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(15);

/// A topic that was filled, and what a correct consumer counts of it.
pub struct Filled {
    pub topic: String,
    pub truth: Value,
}

/// Lets the chapter's producer write `events` events of the replay to a new topic.
pub async fn fill(
    binary: &Path,
    broker: &Broker,
    broker_usage: impl Fn() -> Option<Usage>,
    topic: String,
    events: u64,
    deadline: Duration,
) -> Result<(Measured, Memory, Filled)> {
    let (port, stream_port) = (free_port()?, free_port()?);
    let mut process = Program::new([binary])
        .args(["producer"])
        .folder(std::env::temp_dir())
        .keep_lines(20)
        .env("CONFIG_FILE", "/dev/null")
        .env("HTTP_ADDR", format!("127.0.0.1:{port}"))
        .env(
            "WIKIPEDIA_STREAM_URL",
            format!("http://127.0.0.1:{stream_port}/v2/stream/recentchange"),
        )
        .env("REDPANDA_BROKER", &broker.address)
        .env("WIKIPEDIA_TOPIC", &topic)
        .start()?;
    let replay = Replay::start(stream_port, 0, super::reader::USERS, Some(events)).await?;
    let used = |process: &Process| Used {
        broker: broker_usage(),
        ..replay.used(Usage::of(process))
    };
    let meter = Meter::begin(used(&process));
    let begun = replay
        .first_event(FIRST_EVENT)
        .await
        .with_context(|| last_words(&process))?;
    let mut memory = Memory::default();
    loop {
        let progress = replay.progress().await?;
        memory.see(Usage::of(&process), progress.sent, events);
        if progress.finished {
            break;
        }
        wait(&mut process, begun, deadline, "the replay has not sent all").await?;
    }
    let truth = replay.truth().await?;
    let expected = truth["messages"].as_u64().unwrap_or_default();
    loop {
        let partitions = broker.topic(&topic, None).await?;
        let written: i64 = partitions.iter().map(|partition| partition.high).sum();
        if written.cast_unsigned() >= expected {
            break;
        }
        let what = format!("{written} of {expected} are in the topic");
        wait(&mut process, begun, deadline, &what).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let measured = meter.end(used(&process), expected, events, seconds);
    end(process, expected).await?;
    Ok((measured, memory, Filled { topic, truth }))
}

async fn wait(process: &mut Process, begun: Instant, deadline: Duration, what: &str) -> Result<()> {
    if let Some(status) = process.ended() {
        bail!(
            "the producer has ended, {}: {}",
            describe(status),
            last_words(process)
        );
    }
    ensure!(
        begun.elapsed() < deadline,
        "{what} within {} s: {}",
        deadline.as_secs(),
        last_words(process)
    );
    tokio::time::sleep(POLL).await;
    Ok(())
}

/// What stands in the topic must be what the producer says was acknowledged, once each.
async fn end(mut process: Process, expected: u64) -> Result<()> {
    process.signal(Signal::TERM)?;
    let status = process.wait(END).await.context("the producer")?;
    let said = process.stderr.all().await;
    ensure!(
        status.success(),
        "the producer: {}\n{}",
        describe(status),
        said.join("\n")
    );
    let acknowledged = said.iter().find_map(|line| acknowledged(line));
    ensure!(
        acknowledged == Some(expected),
        "the producer says that {acknowledged:?} were acknowledged, {expected} were sent"
    );
    Ok(())
}

fn last_words(process: &Process) -> String {
    process.stderr.lines().join("\n")
}

fn acknowledged(line: &str) -> Option<u64> {
    let (_, number) = line.split_once("acknowledged=")?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_events_are_found_in_the_last_line() {
        let line =
            "2026-01-01T00:00:00Z  INFO ch_5::producer: writing ended acknowledged=20000 refused=0";
        assert_eq!(acknowledged(line), Some(20_000));
        assert_eq!(acknowledged("writing ended"), None);
        assert_eq!(acknowledged("acknowledged=many"), None);
    }
}
