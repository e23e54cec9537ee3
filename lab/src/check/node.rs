//! The Kafka of `--faults`: it can be taken away, and comes back with its data and on its port.

use anyhow::Context;
use anyhow::Result;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::ports::free_port;
use crate::scratch;
use crate::services::Kafka;

pub struct Node {
    folder: TempDir,
    port: u16,
    running: Mutex<Option<Kafka>>,
}

impl Node {
    pub async fn start() -> Result<Self> {
        let node =
            Self { folder: scratch::folder()?, port: free_port()?, running: Mutex::default() };
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
        let kafka = Kafka::start(self.folder.path(), self.port)
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
