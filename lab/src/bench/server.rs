//! The rows whose program counts: the chapter's `serve`, or later its `consumer`, asked by HTTP what it has counted,
//! which must be the truth when all has been read.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::bench::replay::Replay;
use crate::bench::role::Role;
use crate::bench::row::Measured;
use crate::bench::row::Memory;
use crate::bench::row::Meter;
use crate::bench::row::Used;
use crate::bench::usage::Usage;
use crate::client::Client;
use crate::credentials::JWT_SECRET;
use crate::credentials::PASSWORD;
use crate::credentials::PASSWORD_HASH;
use crate::credentials::USERNAME;
use crate::totals;

const START: Duration = Duration::from_secs(60);

/// The shortest and the longest time between two questions for the totals that a consumer has so far.
const DRAIN_POLL: Duration = Duration::from_millis(50);
const LONGEST_DRAIN_POLL: Duration = Duration::from_secs(1);

/// How often a consumer is asked while it drains a topic; some more times when little is left.
const DRAIN_QUESTIONS: u32 = 20;

/// A chapter that serves, and a token for it.
pub struct Server {
    role: Role,
    pub token: String,
}

impl Server {
    /// `store` says where the totals are kept, and what is read other than the stream.
    pub async fn start(binary: &Path, role: &'static str, store: &[(&str, &str)]) -> Result<Self> {
        let users = [
            ("JWT_SECRET", JWT_SECRET),
            ("ADMIN_USERNAME", USERNAME),
            ("ADMIN_PASSWORD_HASH", PASSWORD_HASH),
        ];
        let mut role = Role::start(binary, role, &[&users, store].concat())?;
        let begun = Instant::now();
        while role.client.get("/status").await.is_err() {
            role.wait(begun, START, "no answer from /status").await?;
        }
        let credentials = json!({"username": USERNAME, "password": PASSWORD});
        let answer = role.client.post_json("/login", &credentials).await?;
        let token = answer.json()?["token"].as_str().map(str::to_owned);
        let token = token.with_context(|| format!("cannot log in: {}", answer.text()))?;
        Ok(Self { role, token })
    }

    /// `host:port`.
    pub fn authority(&self) -> &str {
        self.role.client.authority()
    }

    /// The stream that the server is waiting for, at `rate` or, with 0, as fast as it is read.
    pub async fn replay(&self, rate: u64, users: u32, events: Option<u64>) -> Result<Replay> {
        Replay::start(self.role.stream_port, rate, users, events).await
    }

    pub async fn stats(&self) -> Result<Value> {
        // On a connection of its own: a kept one that was idle for 10 s may be closed just when it is used again.
        let client = Client::new(self.role.client.base());
        let answer = client.get_with_token("/stats", &self.token).await?;
        answer.has_status(200).context("/stats")?;
        answer.json()
    }

    pub async fn messages(&self) -> Result<u64> {
        self.stats().await?["messages"].as_u64().context("/stats has no messages")
    }

    pub fn usage(&self) -> Option<Usage> {
        self.role.usage()
    }

    /// Lets the server read `events` events, from the first one sent to the last one counted; an error if its totals
    /// are not the truth then.
    pub async fn count(
        &mut self,
        users: u32,
        events: u64,
        deadline: Duration,
    ) -> Result<(Measured, Value)> {
        let before = self.usage();
        let replay = self.replay(0, users, Some(events)).await?;
        let meter = Meter::begin(replay.used(before));
        let begun = replay.first_event(START).await?;
        while !replay.progress().await?.finished {
            self.role.wait(begun, deadline, "the replay has not sent all").await?;
        }
        let truth = replay.truth().await?;
        let mut stats = self.stats().await?;
        while stats["messages"].as_u64() < truth["messages"].as_u64() {
            let what = format!("counted {} of {}", stats["messages"], truth["messages"]);
            self.role.wait(begun, deadline, &what).await?;
            stats = self.stats().await?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let counted = truth["messages"].as_u64().unwrap_or_default();
        let measured = meter.end(replay.used(self.usage()), counted, events, seconds);
        totals::compare(&stats, &truth).context("wrong totals")?;
        Ok((measured, stats))
    }

    /// Lets a consumer read a topic that is filled already, from the first total that is seen to the last one, which
    /// must be the truth; `broker` tells what the broker has used.
    pub async fn drain(
        &mut self,
        truth: &Value,
        broker: impl Fn() -> Option<Usage>,
        deadline: Duration,
    ) -> Result<(Measured, Memory)> {
        let mut memory = Memory::default();
        let messages = |stats: &Value| stats["messages"].as_u64().unwrap_or_default();
        let begun = Instant::now();
        let mut first = None;
        loop {
            let stats = self.stats().await?;
            let used = Used { reader: self.usage(), broker: broker(), replay: None };
            let counted = messages(&stats);
            memory.see(used.reader, counted, messages(truth));
            let mut pause = DRAIN_POLL;
            match &first {
                None if counted > 0 => first = Some((Meter::begin(used), Instant::now(), counted)),
                Some((meter, since, before)) => {
                    let (events, elapsed) = (counted.saturating_sub(*before), since.elapsed());
                    if counted >= messages(truth) {
                        totals::compare(&stats, truth).context("wrong totals")?;
                        ensure!(
                            events > 0,
                            "all was counted at the first look: take more --events"
                        );
                        let seconds = elapsed.as_secs_f64();
                        return Ok((meter.end(used, events, events, seconds), memory));
                    }
                    pause = drain_pause(elapsed, events, messages(truth) - counted);
                }
                None => {}
            }
            let what = format!("counted {counted} of {}", truth["messages"]);
            self.role.within(begun, deadline, &what)?;
            tokio::time::sleep(pause).await;
        }
    }
}

/// Until the next question, after `done` events in `elapsed` and with `left` to come. A question costs what it is asked
/// about: Cassandra reads 16,000 rows for an answer, and asked every 50 ms it has a third less left for writing. So
/// they are few, and close to each other only before the end, which is to be seen when it is there.
fn drain_pause(elapsed: Duration, done: u64, left: u64) -> Duration {
    if done == 0 {
        return DRAIN_POLL; // There is no rate yet.
    }
    let left = elapsed.mul_f64(left as f64 / done as f64);
    let pause = ((elapsed + left) / DRAIN_QUESTIONS).min(left / 2);
    pause.clamp(DRAIN_POLL, LONGEST_DRAIN_POLL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumer_is_asked_seldom_and_often_only_before_the_end() {
        let seconds = Duration::from_secs;
        assert_eq!(drain_pause(seconds(10), 50, 50), seconds(1));
        assert_eq!(drain_pause(seconds(19), 95, 5), Duration::from_millis(500));
        assert_eq!(drain_pause(seconds(20), 100_000, 1), DRAIN_POLL);
        assert_eq!(drain_pause(Duration::from_millis(50), 50, 50), DRAIN_POLL);
        assert_eq!(drain_pause(seconds(1), 0, 1_000_000), DRAIN_POLL);
        assert_eq!(drain_pause(seconds(1), 1, 1_000_000), LONGEST_DRAIN_POLL);
    }
}
