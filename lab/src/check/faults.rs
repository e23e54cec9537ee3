//! `--faults`: what must hold while the broker or one of the roles fails, one fault at a time, on a Kafka that lab
//! starts for these alone. What is looked at are counts: nothing is lost, and what is doubled is told.

mod broker;
mod consumers;
mod kills;
mod refusals;

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use tokio::sync::Mutex;

use super::runner::Check;
use super::subject::Folder;
use crate::client::free_port;
use crate::services::kafka::Kafka;

pub fn checks() -> Vec<&'static Check> {
    [
        broker::CHECKS,
        kills::CHECKS,
        consumers::CHECKS,
        refusals::CHECKS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The Kafka of these checks: it can be taken away, and comes back with its data and on its port.
pub struct Node {
    folder: Folder,
    port: u16,
    running: Mutex<Option<Kafka>>,
}

impl Node {
    pub async fn start() -> Result<Self> {
        let node = Self {
            folder: Folder::new()?,
            // The next port is the controller's.
            port: free_port()?,
            running: Mutex::default(),
        };
        node.come_back().await?;
        Ok(node)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a power cut would.
    pub async fn fail(&self) -> Result<()> {
        let kafka = self.running.lock().await.take();
        kafka.context("Kafka is away already")?.kill().await
    }

    /// Starts it again.
    pub async fn come_back(&self) -> Result<()> {
        let folder: &Path = self.folder.path();
        let kafka = Kafka::start(folder, self.port)
            .await
            .context("the Kafka of these checks")?;
        *self.running.lock().await = Some(kafka);
        Ok(())
    }

    /// A check that failed may have left it away.
    pub async fn is_there(&self) -> Result<()> {
        if self.running.lock().await.is_none() {
            self.come_back().await?;
        }
        Ok(())
    }
}
