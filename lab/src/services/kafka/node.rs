//! A Kafka node of a command's own, on a port and in a folder of its choosing: what `check --faults` kills and starts
//! again, and what a bench fills.
#![allow(dead_code, reason = "its callers are being written")]

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
use crate::services::service::address;

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
                bail!(
                    "port {} (for Kafka's {}) is taken by {owner}",
                    port.number,
                    port.purpose
                );
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
        let mut node = Self {
            address: address(port),
            process,
        };
        node.wait_until_it_answers().await?;
        Ok(node)
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
            bail!(
                "Kafka {what}; it says last:{}",
                last_words(&said.join("\n"))
            );
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
