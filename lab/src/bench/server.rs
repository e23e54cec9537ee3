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
use crate::ports::free_port;
use crate::process::Process;
use crate::process::Program;
use crate::totals;

const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The shortest and the longest time between two questions for the totals that a consumer has so far.
const DRAIN_POLL: Duration = Duration::from_millis(50);
const LONGEST_DRAIN_POLL: Duration = Duration::from_secs(1);

/// How often a consumer is asked while it drains a topic; some more times when little is left.
const DRAIN_QUESTIONS: u32 = 20;

/// A chapter that serves, with a stream that it has not reached yet: it asks for it again and again.
pub struct Server {
    role: &'static str,
    process: Process,
    pub client: Client,
    pub token: String,
    stream_port: u16,
}

impl Server {
    /// `environment` says where the totals are kept, and what is read other than the stream.
    pub async fn start(
        binary: &Path,
        role: &'static str,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let (port, stream_port) = (free_port()?, free_port()?);
        let mut program = Program::new([binary])
            .args([role])
            .folder(std::env::temp_dir())
            .keep_lines(20)
            .env("CONFIG_FILE", "/dev/null")
            .env("HTTP_ADDR", format!("127.0.0.1:{port}"))
            .env(
                "WIKIPEDIA_STREAM_URL",
                format!("http://127.0.0.1:{stream_port}/v2/stream/recentchange"),
            )
            .env("JWT_SECRET", JWT_SECRET)
            .env("ADMIN_USERNAME", USERNAME)
            .env("ADMIN_PASSWORD_HASH", PASSWORD_HASH);
        for (name, value) in environment {
            program = program.env(name, *value);
        }
        let mut server = Self {
            role,
            process: program.start()?,
            client: Client::new(format!("http://127.0.0.1:{port}")),
            token: String::new(),
            stream_port,
        };
        server.wait_for_status().await?;
        let credentials = json!({"username": USERNAME, "password": PASSWORD});
        let answer = server.client.post_json("/login", &credentials).await?;
        let token = answer.json()?["token"].as_str().map(str::to_owned);
        server.token = token.with_context(|| format!("cannot log in: {}", answer.text()))?;
        Ok(server)
    }

    async fn wait_for_status(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.client.get("/status").await.is_err() {
            self.check()?;
            ensure!(
                begun.elapsed() < START,
                "no answer from /status within {} s: {}",
                START.as_secs(),
                self.last_words()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.process.still_runs().context(self.role)
    }

    fn last_words(&self) -> String {
        self.process.stderr.lines().join("\n")
    }

    /// The stream that the server is waiting for, at `rate` or, with 0, as fast as it is read.
    pub async fn replay(&self, rate: u64, users: u32, events: Option<u64>) -> Result<Replay> {
        Replay::start(self.stream_port, rate, users, events).await
    }

    pub async fn stats(&self) -> Result<Value> {
        // On a connection of its own: a kept one that was idle for 10 s may be closed just when it is used again.
        let client = Client::new(self.client.base());
        let answer = client.get_with_token("/stats", &self.token).await?;
        answer.has_status(200).context("/stats")?;
        answer.json()
    }

    pub async fn messages(&self) -> Result<u64> {
        self.stats().await?["messages"]
            .as_u64()
            .context("/stats has no messages")
    }

    pub fn usage(&self) -> Option<Usage> {
        Usage::of(&self.process)
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
            self.wait(begun, deadline, "the replay has not sent all")
                .await?;
        }
        let truth = replay.truth().await?;
        let mut stats = self.stats().await?;
        while stats["messages"].as_u64() < truth["messages"].as_u64() {
            let what = format!("counted {} of {}", stats["messages"], truth["messages"]);
            self.wait(begun, deadline, &what).await?;
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
            let used = Used {
                reader: self.usage(),
                broker: broker(),
                replay: None,
            };
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
            self.within(begun, deadline, &what)?;
            tokio::time::sleep(pause).await;
        }
    }

    async fn wait(&mut self, begun: Instant, deadline: Duration, what: &str) -> Result<()> {
        self.within(begun, deadline, what)?;
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// An error once the deadline has passed, or the server has ended.
    fn within(&mut self, begun: Instant, deadline: Duration, what: &str) -> Result<()> {
        self.check()?;
        ensure!(
            begun.elapsed() < deadline,
            "{what} within {} s: {}",
            deadline.as_secs(),
            self.last_words()
        );
        Ok(())
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
