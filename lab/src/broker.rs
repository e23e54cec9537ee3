//! A Kafka broker as lab sees it: one that runs already, or a small one in memory that lab starts. All of Kafka's
//! protocol is in `lab-broker`, a program of the workspace that is built when it is first needed, so that a learner of
//! the first chapters does not compile librdkafka. Used by `up`, `check` and `bench`.

mod program;
#[path = "../broker/src/record.rs"]
mod record;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;

pub use self::program::binary;
pub use self::record::Bytes;
pub use self::record::Record;
use crate::process::Output;
use crate::process::Process;
use crate::process::Program;
use crate::process::describe;

/// What the embedded broker keeps of a partition.
pub const EMBEDDED_LIMIT: &str = "5 MiB a partition";
const START: Duration = Duration::from_secs(30);
const ORDER: Duration = Duration::from_secs(10);
/// For a command over a whole topic.
const ANSWER: Duration = Duration::from_secs(300);

pub struct Broker {
    /// `host:port`, for `REDPANDA_BROKER`.
    pub address: String,
    embedded: Option<Embedded>,
}

struct Embedded {
    process: Mutex<Process>,
    said: Output,
    errors: Output,
}

/// A partition of a topic: its first offset, the offset after its last record, and the offset that the group reads
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Partition {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
    /// `None` if no group was asked for, or if it has committed nothing.
    pub committed: Option<i64>,
}

impl Partition {
    /// How many records the group has not read yet.
    pub fn lag(&self) -> u64 {
        let next = self.committed.unwrap_or(self.low).max(self.low);
        u64::try_from(self.high - next).unwrap_or_default()
    }
}

/// How long it took to read a topic and to do nothing with it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Counted {
    pub messages: u64,
    /// From the first message on.
    pub seconds: f64,
}

impl Broker {
    /// A broker that runs already. Whether it really does is only known after the first request.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), embedded: None }
    }

    /// Starts a broker in memory, which ends when this is dropped. It has no admin API, the first member of a group
    /// waits 3 s for others, and it keeps only `EMBEDDED_LIMIT`, so `evicted` must be asked before a count is trusted.
    pub async fn embedded() -> Result<Self> {
        let process = Program::new([binary().await?]).args(["serve"]).start()?;
        let said = process.stdout.clone();
        let is_bootstrap = |line: &str| line.starts_with(r#"{"bootstrap""#);
        let Ok(line) = said.line(START, is_bootstrap).await else {
            let reason = process.stderr.all().await.join("\n");
            bail!("the embedded broker does not start: {reason}");
        };
        let line: Value = serde_json::from_str(&line)?;
        let address = line["bootstrap"].as_str().context("no address")?.to_owned();
        Ok(Self {
            address,
            embedded: Some(Embedded {
                errors: process.stderr.clone(),
                process: Mutex::new(process),
                said,
            }),
        })
    }

    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// If the embedded broker has dropped records, a sentence that names topic and partition. The broker looks for this
    /// 5 times a second, and not at compacted topics, whose old records nobody needs.
    pub fn evicted(&self) -> Option<String> {
        let lines = self.embedded.as_ref()?.said.lines();
        lines.iter().find_map(|line| eviction(line))
    }

    /// # Errors
    /// The embedded broker has ended by itself.
    pub fn check(&self) -> Result<()> {
        if let Some(embedded) = &self.embedded {
            let said = embedded.errors.lines();
            let said: String = said.iter().map(|line| format!("\n  {line}")).collect();
            ensure!(
                !embedded.said.is_closed(),
                "the embedded broker has ended by itself, and its topics are lost: run the command again{said}"
            );
        }
        Ok(())
    }

    /// The topic's partitions, in order, and what `group` has committed.
    pub async fn topic(&self, name: &str, group: Option<&str>) -> Result<Vec<Partition>> {
        let mut arguments = vec![name];
        arguments.extend(group.iter().flat_map(|group| ["--group", group]));
        let mut answer = self.answer("topic", &arguments).await?;
        serde_json::from_value(answer["partitions"].take()).context("lab-broker topic")
    }

    /// Creates a topic; `config` is that of Kafka, as in `("cleanup.policy", "compact")`.
    pub async fn create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> Result<()> {
        if let Some(embedded) = &self.embedded {
            let compacted = config.contains(&("cleanup.policy", "compact"));
            return embedded.create(name, partitions, compacted).await;
        }
        let partitions = partitions.to_string();
        let config: Vec<String> = config.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut arguments = vec![name, "--partitions", &partitions];
        arguments.extend(config.iter().flat_map(|setting| ["--config", setting]));
        self.answer("create", &arguments).await.map(drop)
    }

    /// Deletes a topic of a broker that runs on; the embedded one forgets all when it ends.
    pub async fn delete(&self, name: &str) -> Result<()> {
        match self.embedded {
            Some(_) => Ok(()),
            None => self.answer("delete", &[name]).await.map(drop),
        }
    }

    /// Deletes the records of each partition whose offsets are below `before`.
    pub async fn delete_records(&self, topic: &str, before: u64) -> Result<()> {
        let arguments = [topic, "--before", &before.to_string()];
        self.answer("delete-records", &arguments).await.map(drop)
    }

    /// Writes the records in their order, waits until all are acknowledged, and returns how many these were.
    pub async fn produce(&self, topic: &str, records: &[Record]) -> Result<u64> {
        self.produce_in(topic, records, "none").await
    }

    /// As `produce`, in batches that are compressed with `codec`.
    pub async fn produce_in(&self, topic: &str, records: &[Record], codec: &str) -> Result<u64> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        let answer = self.run("produce", &[topic, "--codec", codec], &lines).await?;
        let answer: Value = serde_json::from_str(answer.first().map_or("", String::as_str))?;
        answer["acknowledged"].as_u64().context("lab-broker produce")
    }

    /// All that is in the topic now, each partition in its order.
    pub async fn consume(&self, topic: &str) -> Result<Vec<Record>> {
        let lines = self.run("consume", &[topic], b"").await?;
        let records = lines.iter().map(|line| serde_json::from_str(line));
        records.collect::<Result<_, _>>().context("lab-broker consume")
    }

    /// Reads the whole topic and does nothing with it, to see how fast librdkafka itself is here.
    pub async fn count(&self, topic: &str) -> Result<Counted> {
        let answer = self.answer("count", &[topic]).await?;
        serde_json::from_value(answer).context("lab-broker count")
    }

    async fn answer(&self, command: &str, arguments: &[&str]) -> Result<Value> {
        let lines = self.run(command, arguments, b"").await?;
        let line = lines.first().map_or("", String::as_str);
        serde_json::from_str(line).with_context(|| format!("lab-broker {command}"))
    }

    async fn run(&self, command: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<String>> {
        let finished = Program::new([binary().await?])
            .args([command, "--broker", &self.address])
            .args(arguments.iter().copied())
            .output(input, ANSWER)
            .await
            .with_context(|| format!("lab-broker {command}"))?;
        let said = finished.stderr.join("\n");
        ensure!(
            finished.status.success(),
            "{}",
            if said.is_empty() {
                format!("lab-broker {command}: {}", describe(finished.status))
            } else {
                said
            }
        );
        Ok(finished.stdout)
    }
}

impl Embedded {
    async fn create(&self, name: &str, partitions: i32, compacted: bool) -> Result<()> {
        // One order at a time, so that answers are not mistaken for each other's.
        let mut process = self.process.lock().await;
        let order = json!({ "create": name, "partitions": partitions, "compacted": compacted });
        let before = self.said.lines().len();
        process.write_line(&order.to_string()).await?;
        let is_answer = |line: &Value| line["created"] == *name || line["refused"] == *name;
        let answer = self.said.line_after(before, ORDER, |line| {
            serde_json::from_str(line).is_ok_and(|line: Value| is_answer(&line))
        });
        let answer: Value = serde_json::from_str(&answer.await.context("the embedded broker")?)?;
        let reason = &answer["reason"];
        ensure!(reason.is_null(), "the embedded broker does not create topic {name}: {reason}");
        Ok(())
    }
}

fn eviction(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let of = &line["evicted"];
    Some(format!(
        "the embedded broker keeps {EMBEDDED_LIMIT} and has dropped the first {} records of topic {}, partition {}: \
         use a real one, see `cargo lab services up kafka`",
        of["low"].as_i64()?,
        of["topic"].as_str()?,
        of["partition"].as_i64()?,
    ))
}
