//! The topic between the roles, from ch-5 on: on a broker in memory that ends with `up`, or on a real one, where it is
//! made for this run and deleted at its end.

use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use tokio::time::timeout;

use crate::broker;
use crate::broker::Broker;
use crate::broker::EMBEDDED_LIMIT;
use crate::broker::Partition;
use crate::process::Program;
use crate::services;
use crate::terminal::waiting;
use crate::up::secret::random_hex;

const PARTITIONS: i32 = 6;
/// How long the table waits for an answer of the broker.
const ANSWER: Duration = Duration::from_secs(2);

pub struct Topic {
    pub name: String,
    broker: Broker,
}

/// Looks whether a broker answers. This is done before anything is built, because building takes minutes.
///
/// # Errors
/// No broker answers there.
pub async fn look_for(broker: &str) -> Result<()> {
    ensure!(
        waiting(&format!("the broker at {broker}"), services::kafka_answers(broker)).await,
        "no Kafka broker answers at {broker}; `cargo lab services up kafka` starts one on 127.0.0.1:9092"
    );
    Ok(())
}

/// How many records were written to the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub records: u64,
    /// How many of them the embedded broker has dropped.
    pub dropped: u64,
}

impl Topic {
    /// # Errors
    /// Lab's own broker can't be built or started.
    pub async fn open(chapter: u8, broker: Option<&str>) -> Result<Self> {
        let name = match chapter {
            5 => "wikipedia.changes",
            _ => "wikipedia.protobuf",
        };
        if let Some(address) = broker {
            // Now, because later cargo would write into the table.
            broker::binary().await?;
            // The producer makes the topic, as it would anywhere.
            return Ok(Self {
                name: format!("{name}.lab-{}", random_hex::<4>()?),
                broker: Broker::at(address),
            });
        }
        let topic = Self { name: name.to_owned(), broker: Broker::embedded().await? };
        // The embedded one has no admin API, by which the producer would make them.
        let broker = &topic.broker;
        broker.create(name, PARTITIONS, &[]).await?;
        let compacted = [("cleanup.policy", "compact")];
        broker.create(&topic.cursor(), 1, &compacted).await?;
        Ok(topic)
    }

    fn cursor(&self) -> String {
        format!("{}.cursor", self.name)
    }

    pub fn environment(&self, program: Program) -> Program {
        program
            .env("REDPANDA_BROKER", &self.broker.address)
            .env("WIKIPEDIA_TOPIC", &self.name)
            .env("WIKIPEDIA_TOPIC_PARTITIONS", PARTITIONS.to_string())
    }

    /// A line that says where the broker is, and what it keeps.
    pub fn describe(&self) -> String {
        let address = &self.broker.address;
        if self.broker.is_embedded() {
            format!("{address}, in memory; it keeps only {EMBEDDED_LIMIT} (--broker: a real one)")
        } else {
            format!("{address}; the topic is deleted at the end")
        }
    }

    pub async fn written(&self) -> Result<Written> {
        match timeout(ANSWER, self.broker.topic(&self.name, None)).await {
            Ok(partitions) => Ok(sum(&partitions?)),
            Err(_) => bail!("the broker does not answer"),
        }
    }

    /// # Errors
    /// The embedded broker has ended.
    pub fn check(&self) -> Result<()> {
        self.broker.check()
    }

    pub async fn close(self) -> Result<()> {
        self.broker.delete(&self.name).await?;
        self.broker.delete(&self.cursor()).await
    }
}

fn sum(partitions: &[Partition]) -> Written {
    let count = |offset: i64| u64::try_from(offset).unwrap_or_default();
    Written {
        records: partitions.iter().map(|one| count(one.high)).sum(),
        dropped: partitions.iter().map(|one| count(one.low)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_add_up() {
        let partition = |low, high| Partition { partition: 0, low, high, committed: None };
        let written = sum(&[partition(0, 10), partition(3, 7)]);
        let expected = Written { records: 17, dropped: 3 };
        assert_eq!(written, expected);
    }

    #[tokio::test]
    async fn real_broker_that_is_not_there_is_named_with_a_way_out() {
        let nobody = format!("127.0.0.1:{}", crate::ports::free_port().unwrap());
        let error = look_for(&nobody).await.unwrap_err().to_string();
        assert!(error.contains(&nobody) && error.contains("services up kafka"), "{error}");
    }
}
