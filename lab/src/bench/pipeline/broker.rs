//! The broker of a bench: a Kafka of its own, or one that runs already.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use tempfile::TempDir;

use crate::bench::row::Measured;
use crate::bench::usage::Usage;
use crate::broker::Broker;
use crate::chapters;
use crate::ports::free_port;
use crate::services::Kafka;
use crate::terminal::waiting;

pub struct BenchBroker {
    pub broker: Broker,
    own: Option<Own>,
}

/// In this order: the folder goes when the node has ended.
struct Own {
    kafka: Kafka,
    folder: TempDir,
}

impl BenchBroker {
    /// `address` is that of a broker that runs already.
    pub async fn open(address: Option<&str>) -> Result<Self> {
        if let Some(address) = address {
            return Ok(Self { broker: Broker::at(address), own: None });
        }
        let services = chapters::target().join("services");
        std::fs::create_dir_all(&services)?;
        let folder = tempfile::Builder::new().prefix("kafka-bench-").tempdir_in(services)?;
        let kafka = Kafka::start(folder.path(), free_port()?);
        let kafka = waiting("a Kafka that is started for this measurement", kafka)
            .await
            .context("no broker to measure with; --broker HOST:PORT takes one that runs already")?;
        Ok(Self { broker: Broker::at(kafka.address.to_string()), own: Some(Own { kafka, folder }) })
    }

    /// Of a broker of our own.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.own.as_ref()?.kafka.process())
    }

    /// Reads `topic` with librdkafka alone.
    pub async fn bare_read(&self, topic: &str, truth: &Value) -> Result<Measured> {
        let counted = self.broker.count(topic).await?;
        ensure!(
            Some(counted.messages) == truth["messages"].as_u64(),
            "{} messages read of {}",
            counted.messages,
            truth["messages"]
        );
        Ok(Measured {
            events_a_second: counted.messages as f64 / counted.seconds,
            ..Measured::default()
        })
    }

    /// Deletes what a round has filled, so that the rounds find the same disk.
    pub async fn forget(&self, topic: &str) -> Result<()> {
        self.broker.delete(topic).await?;
        self.broker.delete(&format!("{topic}.cursor")).await
    }

    pub async fn close(self) -> Result<()> {
        let Some(Own { kafka, folder }) = self.own else {
            return Ok(());
        };
        kafka.stop().await?;
        drop(folder);
        Ok(())
    }
}
