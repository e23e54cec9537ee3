//! A Kafka node of a command's own, on a port and in a folder of its choosing: what `check --faults` kills and starts
//! again, and what a bench fills.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tokio::time::Instant;

use crate::ports;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;
use crate::process::describe;
use crate::services::kafka;
use crate::services::process::last_words;
use crate::services::program::address;

const POLL: Duration = Duration::from_millis(100);
const END: Duration = Duration::from_secs(30);

/// A node of this command's own, on a port and in a folder of its choosing; it ends when this is dropped. Started again
/// on the same folder it has its data, also after `kill`: what is acknowledged is in the system's page cache by then.
pub struct Kafka {
    pub address: SocketAddr,
    process: Process,
}

impl Kafka {
    /// Starts the node and returns when it answers. The first start of all fetches Kafka with Maven.
    pub async fn start(folder: &Path, port: u16) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        for port in kafka::ports(port) {
            if let Some(owner) = ports::owner(port.number) {
                bail!("port {} (for Kafka's {}) is taken by {owner}", port.number, port.purpose);
            }
        }
        let prepared = tokio::task::spawn_blocking({
            let folder = folder.clone();
            move || kafka::prepare(&folder, port)
        });
        let program = prepared.await??;
        let process = Program::new([program.path])
            .args(program.arguments)
            .folder(folder)
            .keep_lines(200)
            .start()?;
        let mut node = Self { address: address(port), process };
        node.wait_until_it_answers().await?;
        Ok(node)
    }

    /// Whose CPU time a bench tells.
    pub fn process(&self) -> &Process {
        &self.process
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + kafka::PATIENCE;
        while !kafka::answers(self.address).await {
            let what = match self.process.ended() {
                Some(status) => format!("ended while it started, {}", describe(status)),
                None if Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                None => format!("did not answer within {} s", kafka::PATIENCE.as_secs()),
            };
            let said = [self.process.stdout.lines(), self.process.stderr.lines()].concat();
            bail!("Kafka {what}; it says last:{}", last_words(&said.join("\n")));
        }
        Ok(())
    }

    /// As a power cut would: no time for anything.
    pub async fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(END).await?;
        Ok(())
    }

    /// In order, which takes a second or two.
    pub async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(END).await.context("Kafka")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::broker::Record;
    use crate::ports::free_port;
    use crate::scratch::Scratch;

    #[tokio::test]
    #[ignore = "needs Java 17 and Maven, and builds lab-broker"]
    async fn what_is_acknowledged_outlives_a_kill() {
        let (folder, port) = (Scratch::new(), free_port().unwrap());
        let node = Kafka::start(folder.path(), port).await.unwrap();
        let broker = Broker::at(node.address.to_string());
        let config = [("cleanup.policy", "compact")];
        broker.create("a", 2, &config).await.unwrap();
        let records: Vec<Record> = (0..2_000)
            .map(|number| Record {
                key: Some(format!("key {number}").into()),
                value: Some(number.to_string().into()),
                ..Record::default()
            })
            .collect();
        assert_eq!(broker.produce("a", &records).await.unwrap(), 2_000);
        node.kill().await.unwrap();
        assert!(broker.topic("a", None).await.is_err(), "it must be away");

        let node = Kafka::start(folder.path(), port).await.unwrap();
        let partitions = broker.topic("a", Some("group")).await.unwrap();
        assert_eq!(partitions.iter().map(|one| one.high).sum::<i64>(), 2_000);
        assert_eq!(partitions.iter().map(|one| one.committed).max(), Some(None));
        let mut read = broker.consume("a").await.unwrap();
        for record in &mut read {
            (record.partition, record.offset) = (None, None);
        }
        read.sort_by_key(|record| record.value.clone().map(|value| (value.0.len(), value.0)));
        assert_eq!(read, records);
        assert_eq!(broker.count("a").await.unwrap().messages, 2_000);
        let taken = Kafka::start(folder.path(), port).await.err().unwrap();
        assert!(taken.to_string().contains(&port.to_string()), "{taken}");
        broker.delete("a").await.unwrap();
        broker.delete("a").await.unwrap();
        let gone = broker.topic("a", None).await.unwrap_err();
        assert!(gone.to_string().contains("has no topic a"), "{gone}");
        node.stop().await.unwrap();
    }
}
