//! The program as a server: it is started in an empty directory and on a port of its own. A check sends requests to it
//! while it runs, and looks at how it ends.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tempfile::TempDir;

use crate::check::runner::Broken;
use crate::check::subject::FIXED_PORT;
use crate::check::subject::Subject;
use crate::check::wait::START;
use crate::check::wait::STOP;
use crate::client::Client;
use crate::ports;
use crate::ports::free_port;
use crate::process::Finished;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;
use crate::process::describe;
use crate::scratch;

/// A server that answers, and its process if lab has started it.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    pub client: Client,
    /// The addresses on which it may answer; before its first answer it is not known which one it is.
    addresses: Vec<String>,
    /// The server of the other role of the same program.
    pub beside: Option<Box<Server>>,
    _folder: Option<TempDir>,
}

impl Server {
    /// A server that runs already.
    pub fn at(url: &str) -> Self {
        Self {
            process: None,
            client: Client::new(url),
            addresses: Vec::new(),
            beside: None,
            _folder: None,
        }
    }

    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("there is no process, only a URL")
    }

    /// Expects that the server still answers `/status` after what a check has done to it.
    pub async fn lives(&self) -> Result<()> {
        let response = self.client.get("/status").await;
        let response = response.context("afterwards the server no longer answers")?;
        response.has_status(200).context("afterwards GET /status")
    }

    /// Sends `signal` to this server and to the one beside it, and waits for the end of both.
    pub async fn leaves_on(&mut self, signal: Signal) -> Result<()> {
        let beside = self.beside.as_mut().map(|server| server.process.as_mut());
        let mut processes: Vec<&mut Process> =
            [self.process.as_mut(), beside.flatten()].into_iter().flatten().collect();
        for process in &processes {
            process.signal(signal)?;
        }
        for process in &mut processes {
            process.wait(STOP).await?;
        }
        Ok(())
    }

    /// Sends `signal`, and expects the end in time, with exit status 0. Returns stdout and stderr.
    pub async fn ends_on(&mut self, signal: Signal) -> Result<(Vec<String>, Vec<String>)> {
        let finished = end(self.process()?, signal).await?;
        Ok((finished.stdout, finished.stderr))
    }

    /// Ends the program for a check to which it does not matter how it ends, and returns stdout and stderr.
    pub async fn said(&mut self) -> Result<(Vec<String>, Vec<String>)> {
        let process = self.process()?;
        process.signal(Signal::TERM)?;
        if process.wait(STOP).await.is_err() {
            process.signal(Signal::KILL)?;
        }
        let finished = process.finish(STOP).await?;
        Ok((finished.stdout, finished.stderr))
    }
}

/// Sends `signal`, and expects the end in time, with exit status 0.
///
/// # Errors
/// `Broken` where the program has no handler for the signal.
pub async fn end(process: &mut Process, signal: Signal) -> Result<Finished> {
    process.signal(signal)?;
    let finished = process.finish(STOP).await?;
    if finished.status.signal() == Some(signal.as_raw()) {
        let name = if signal == Signal::TERM { "SIGTERM" } else { "SIGINT" };
        let ended = describe(finished.status);
        bail!(Broken(format!("the program has no handler for {name}: it was {ended}")));
    }
    finished.has_succeeded()?;
    Ok(finished)
}

impl Subject {
    /// A running server with all its variables set to good values.
    pub async fn serve(&self) -> Result<Server> {
        self.serve_with(|program| program).await
    }

    /// A running server; `change` sets what a check is about. With `--url` it is the server that runs there.
    pub async fn serve_with(&self, change: impl FnOnce(Program) -> Program) -> Result<Server> {
        self.serve_from(|program, _| Ok(change(program))).await
    }

    /// As `serve_with`; `change` also gets the address on which the program should listen.
    pub async fn serve_from(
        &self,
        change: impl FnOnce(Program, &str) -> Result<Program>,
    ) -> Result<Server> {
        self.works(self.server_role()).await?;
        match self.url() {
            Some(url) => Ok(Server::at(url)),
            None => self.bring_up(self.server_role(), START, change).await,
        }
    }

    /// Starts a role, and waits up to `patience` until it answers.
    pub async fn bring_up(
        &self,
        role: &str,
        patience: Duration,
        change: impl FnOnce(Program, &str) -> Result<Program>,
    ) -> Result<Server> {
        // Only if no other program has this port, because an answer from there must come from the program under test.
        let fixed = self.has_fixed_port() && ports::hold(FIXED_PORT).await.is_some();
        let mut server = self.launch_from(role, change)?;
        if fixed {
            server.addresses.push(format!("http://127.0.0.1:{FIXED_PORT}"));
        }
        self.wait_until_up(&mut server, patience).await?;
        Ok(server)
    }

    /// Starts the program in `role`, and does not wait until it answers.
    pub fn launch(&self, role: &str, change: impl FnOnce(Program) -> Program) -> Result<Server> {
        self.launch_from(role, |program, _| Ok(change(program)))
    }

    fn launch_from(
        &self,
        role: &str,
        change: impl FnOnce(Program, &str) -> Result<Program>,
    ) -> Result<Server> {
        let folder = scratch::folder()?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let program =
            self.program()?.env("HTTP_ADDR", address.as_str()).folder(folder.path()).args([role]);
        let url = format!("http://{address}");
        Ok(Server {
            process: Some(change(program, &address)?.start()?),
            client: Client::new(&url),
            addresses: vec![url],
            beside: None,
            _folder: Some(folder),
        })
    }

    /// Waits until the program answers.
    pub async fn wait_until_up(&self, server: &mut Server, patience: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            for url in &server.addresses {
                let client = Client::new(url);
                if client.get("/status").await.is_ok() {
                    server.client = client;
                    return Ok(());
                }
            }
            let asked = server.addresses.join(" or at ");
            let only_address = server.addresses.len() == 1;
            let process = server.process()?;
            if let Some(status) = process.ended() {
                let said = process.last_words().await;
                let taken = if self.has_fixed_port() && only_address {
                    fixed_port_owner()
                } else {
                    String::new()
                };
                bail!("the program ended at once, {}{taken}{said}", describe(status));
            }
            if start.elapsed() > patience {
                let said = process.last_words().await;
                let own = format!("(pid {})", process.id());
                let owner = ports::owner(FIXED_PORT).filter(|_| !self.has_fixed_port());
                let elsewhere = if owner.is_some_and(|owner| owner.ends_with(&own)) {
                    format!(": it listens on port {FIXED_PORT} instead, as in chapter 1")
                } else {
                    String::new()
                };
                bail!(
                    "the program runs, but nothing answers GET /status at {asked} within {} s, although it was started \
                     with HTTP_ADDR={}{elsewhere}{said}",
                    patience.as_secs(),
                    server.client.authority()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn fixed_port_owner() -> String {
    match ports::owner(FIXED_PORT) {
        Some(owner) => format!(", and port {FIXED_PORT} is taken by {owner}"),
        None => format!(", and port {FIXED_PORT} is taken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_without_a_handler_for_the_signal_is_told_so() {
        let process = Some(Program::new(["sleep", "600"]).start().unwrap());
        let mut server = Server { process, ..Server::at("http://127.0.0.1:1") };
        let error = server.ends_on(Signal::TERM).await.unwrap_err().to_string();
        assert_eq!(error, "the program has no handler for SIGTERM: it was killed by signal 15");
    }
}
