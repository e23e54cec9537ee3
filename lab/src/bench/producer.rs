//! The row whose program writes: the chapter's `producer`, from the first event that the replay sends to the last one
//! that stands in the topic, acknowledged.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::reader::FIRST_EVENT;
use crate::bench::reader::USERS;
use crate::bench::replay::Replay;
use crate::bench::role::Role;
use crate::bench::row::Measured;
use crate::bench::row::Memory;
use crate::bench::row::Meter;
use crate::bench::row::Used;
use crate::bench::usage::Usage;
use crate::broker::Broker;
use crate::process;
use crate::process::Signal;

const END: Duration = Duration::from_secs(15);

/// A chapter's producer.
pub struct Producer(Role);

impl Producer {
    /// `variables` name the broker and the topic.
    pub fn start(binary: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        Role::start(binary, "producer", variables).map(Self)
    }

    /// Lets it write `events` events of the replay to `topic`, and returns what a correct consumer counts of them.
    pub async fn fill(
        &mut self,
        broker: &Broker,
        broker_usage: impl Fn() -> Option<Usage>,
        topic: &str,
        events: u64,
        deadline: Duration,
    ) -> Result<(Measured, Memory, Value)> {
        let replay = Replay::start(self.0.stream_port, 0, USERS, Some(events)).await?;
        let used =
            |producer: &Self| Used { broker: broker_usage(), ..replay.used(producer.0.usage()) };
        let meter = Meter::begin(used(self));
        let begun = replay.first_event(FIRST_EVENT).await;
        let begun = begun.with_context(|| process::tail(&self.0.process.stderr.lines()))?;
        let mut memory = Memory::default();
        loop {
            let progress = replay.progress().await?;
            memory.see(self.0.usage(), progress.sent, events);
            if progress.finished {
                break;
            }
            self.0.wait(begun, deadline, "the replay has not sent all").await?;
        }
        let truth = replay.truth().await?;
        let expected = messages(&truth);
        loop {
            let partitions = broker.topic(topic, None).await?;
            let written: i64 = partitions.iter().map(|partition| partition.high).sum();
            if written.cast_unsigned() >= expected {
                ensure!(
                    written.cast_unsigned() == expected,
                    "{written} are in the topic, {expected} were sent"
                );
                break;
            }
            let what = format!("{written} of {expected} are in the topic");
            self.0.wait(begun, deadline, &what).await?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let measured = meter.end(used(self), expected, events, seconds);
        Ok((measured, memory, truth))
    }

    /// What stands in the topic must be what the producer says was acknowledged, once each.
    pub async fn stop(mut self, truth: &Value) -> Result<()> {
        self.0.process.signal(Signal::TERM)?;
        let finished = self.0.process.finish(END).await.context("the producer")?;
        finished.has_succeeded().context("the producer")?;
        let acknowledged = finished.stderr.iter().find_map(|line| acknowledged(line));
        let expected = messages(truth);
        ensure!(
            acknowledged == Some(expected),
            "the producer says that {acknowledged:?} were acknowledged, {expected} were sent"
        );
        Ok(())
    }
}

fn messages(truth: &Value) -> u64 {
    truth["messages"].as_u64().unwrap_or_default()
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
