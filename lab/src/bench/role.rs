//! A role of the chapter that is measured: a process of its own, with a stream that it has not reached yet, for which
//! it asks again and again.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::bench::usage::Usage;
use crate::client::Client;
use crate::ports::free_port;
use crate::process;
use crate::process::Process;
use crate::process::Program;

const POLL: Duration = Duration::from_millis(20);

pub struct Role {
    name: &'static str,
    pub process: Process,
    pub client: Client,
    /// Where it expects the stream.
    pub stream_port: u16,
}

impl Role {
    pub fn start(binary: &Path, name: &'static str, variables: &[(&str, &str)]) -> Result<Self> {
        let (port, stream_port) = (free_port()?, free_port()?);
        let stream = format!("http://127.0.0.1:{stream_port}/v2/stream/recentchange");
        let mut program = Program::new([binary])
            .args([name])
            .folder(std::env::temp_dir())
            .keep_lines(20)
            .env("CONFIG_FILE", "/dev/null")
            .env("HTTP_ADDR", format!("127.0.0.1:{port}"))
            .env("WIKIPEDIA_STREAM_URL", stream);
        for (name, value) in variables {
            program = program.env(name, *value);
        }
        Ok(Self {
            name,
            process: program.start()?,
            client: Client::new(format!("http://127.0.0.1:{port}")),
            stream_port,
        })
    }

    pub fn usage(&self) -> Option<Usage> {
        Usage::of(&self.process)
    }

    /// Waits a moment.
    ///
    /// # Errors
    /// As `within`.
    pub async fn wait(&mut self, begun: Instant, deadline: Duration, what: &str) -> Result<()> {
        self.within(begun, deadline, what)?;
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// # Errors
    /// The deadline has passed, or the program has ended.
    pub fn within(&mut self, begun: Instant, deadline: Duration, what: &str) -> Result<()> {
        self.process.still_runs().context(self.name)?;
        ensure!(
            begun.elapsed() < deadline,
            "{}: {what} within {} s; stderr:\n{}",
            self.name,
            deadline.as_secs(),
            process::tail(&self.process.stderr.lines())
        );
        Ok(())
    }
}
