//! The program under test: how a check starts it, with every variable that any suite needs, in an empty directory,
//! on a port of its own, and what a check asks of a running one.

use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::stream::Stream;
use crate::client::Client;
use crate::client::free_port;
use crate::docker;
use crate::docker::docker;
use crate::ports;
use crate::process;
use crate::process::Finished;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;
use crate::process::describe;
use crate::services;

pub const USERNAME: &str = "lab";
pub const PASSWORD: &str = "correct horse battery staple";
/// Argon2id of `PASSWORD`, with the algorithm's usual cost.
pub const PASSWORD_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$ivLSGOFd3lA7nn/rwq4ZYg$trIq7403gdwI569WFzRUlUiDNx7DCDY9V3B6SDGKLDg";
pub const JWT_SECRET: &str = "lab-signs-with-this-secret-and-nobody-else-does";

/// A program has this long to answer after its start; generous, because the machine may be busy.
pub const START: Duration = Duration::from_secs(60);
/// The contract: a signal ends the program within 10 s. Two more are for a busy machine.
pub const STOP: Duration = Duration::from_secs(12);
/// Any single answer, and any start that must fail.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Subject {
    chapter: u8,
    target: Target,
    image: Option<String>,
    cassandra: Option<String>,
    /// A program that once did not come up is not waited for as long again.
    never_up: AtomicBool,
}

enum Target {
    Url(String),
    /// The program, and the silent stream that it gets where a check brings no other.
    Program(Program, Stream),
}

impl Subject {
    pub fn at(chapter: u8, url: &str) -> Result<Self> {
        ensure!(
            url.starts_with("http://"),
            "--url must begin with http://, as in http://127.0.0.1:7000"
        );
        Ok(Self {
            chapter,
            target: Target::Url(url.to_owned()),
            image: None,
            cassandra: None,
            never_up: AtomicBool::new(false),
        })
    }

    pub async fn new(chapter: u8, program: Program) -> Result<Self> {
        let target = Target::Program(program, Stream::start(Vec::new()).await?);
        Ok(Self {
            chapter,
            target,
            image: None,
            cassandra: None,
            never_up: AtomicBool::new(false),
        })
    }

    /// The program inside a Docker image that is here.
    pub async fn in_image(chapter: u8, image: &str) -> Result<Self> {
        docker(["image", "inspect", "--format", "{{.Id}}", image])
            .await
            .with_context(|| {
                let (_, build) = docker::image(chapter);
                format!("cannot run {image}; `{build}` makes one")
            })?;
        let subject = Self::new(chapter, Program::in_image(image)).await?;
        Ok(Self {
            image: Some(image.to_owned()),
            ..subject
        })
    }

    /// Takes note of a Cassandra that answers at the first of `nodes`.
    pub async fn with_cassandra(mut self, nodes: &str) -> Self {
        let first = nodes.split(',').next().unwrap_or(nodes).trim();
        self.cassandra = services::cassandra_answers(first)
            .await
            .then(|| nodes.to_owned());
        self
    }

    pub fn chapter(&self) -> u8 {
        self.chapter
    }

    pub fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    pub fn has_program(&self) -> bool {
        matches!(self.target, Target::Program(..))
    }

    pub fn cassandra(&self) -> Option<&str> {
        self.cassandra.as_deref()
    }

    /// The program with every variable set, and no role yet.
    pub fn program(&self) -> Result<Program> {
        let Target::Program(program, stream) = &self.target else {
            bail!("there is no program, only its URL")
        };
        let program = program
            .clone()
            .env("HTTP_ADDR", format!("127.0.0.1:{}", free_port()?))
            .env("WIKIPEDIA_STREAM_URL", stream.url())
            .env("STORAGE", "memory")
            .env("JWT_SECRET", JWT_SECRET)
            .env("ADMIN_USERNAME", USERNAME)
            .env("ADMIN_PASSWORD_HASH", PASSWORD_HASH);
        Ok(program)
    }

    /// The role that serves HTTP: chapter 5 takes it apart, and its consumer is what `serve` was.
    pub fn server_role(&self) -> &'static str {
        if self.chapter < 5 {
            "serve"
        } else {
            "consumer"
        }
    }

    /// A program of chapter 1 may know no `HTTP_ADDR` yet, and take the project's port.
    pub fn has_fixed_port(&self) -> bool {
        self.chapter == 1
    }

    /// A server with every variable at its best value.
    pub async fn serve(&self) -> Result<Server> {
        self.serve_with(|program| program).await
    }

    /// A running server; `change` sets what a check is about. With `--url`, the one that is there.
    pub async fn serve_with(&self, change: impl FnOnce(Program) -> Program) -> Result<Server> {
        self.serve_from(|program, _| Ok(change(program))).await
    }

    /// As `serve_with`; `change` is told the address that the program is expected on.
    pub async fn serve_from(
        &self,
        change: impl FnOnce(Program, &str) -> Result<Program>,
    ) -> Result<Server> {
        if let Target::Url(url) = &self.target {
            return Ok(Server {
                process: None,
                client: Client::new(url),
                _folder: None,
            });
        }
        let folder = Folder::new()?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let program = self
            .program()?
            .env("HTTP_ADDR", address.as_str())
            .folder(folder.path());
        self.start(
            change(program.args([self.server_role()]), &address)?,
            port,
            folder,
        )
        .await
    }

    /// Starts `program`, which must listen on `port`, and waits until it answers.
    async fn start(&self, program: Program, port: u16, folder: Folder) -> Result<Server> {
        // Only if nobody else has it: an answer from there must be the program's.
        let mut ports = vec![port];
        if self.has_fixed_port() && wait_for_free(FIXED_PORT).await {
            ports.push(FIXED_PORT);
        }
        let patience = if self.never_up.load(Ordering::Relaxed) {
            Duration::from_secs(5)
        } else {
            START
        };
        let mut process = program.start()?;
        let start = Instant::now();
        loop {
            for port in &ports {
                let client = Client::new(format!("http://127.0.0.1:{port}"));
                if client.get("/status").await.is_ok() {
                    return Ok(Server {
                        process: Some(process),
                        client,
                        _folder: Some(folder),
                    });
                }
            }
            if let Some(status) = process.ended() {
                let said = process::tail(&process.stderr.all().await);
                let taken = if self.has_fixed_port() && ports.len() == 1 {
                    fixed_port_owner()
                } else {
                    String::new()
                };
                bail!(
                    "the program ended at once, {}{taken}; its stderr:\n{said}",
                    describe(status)
                );
            }
            if start.elapsed() > patience {
                self.never_up.store(true, Ordering::Relaxed);
                let said = process::tail(&process.stderr.lines());
                bail!(
                    "no answer from GET http://127.0.0.1:{port}/status within {} s; its stderr:\n{said}",
                    patience.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the program with `arguments` to its end, `input` on stdin.
    pub async fn output(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        self.output_with(arguments, input, |program| program).await
    }

    pub async fn output_with(
        &self,
        arguments: &[&str],
        input: &str,
        change: impl FnOnce(Program) -> Program,
    ) -> Result<Finished> {
        let folder = Folder::new()?;
        let program = self.program()?.folder(folder.path()).args(arguments);
        change(program).output(input.as_bytes(), SOON).await
    }

    /// A start that must fail: in time, with a status that says so, and a message that holds all of `named`.
    /// Returns the lines of the message.
    pub async fn refuses(
        &self,
        role: &str,
        named: &[&str],
        change: impl FnOnce(Program) -> Program,
    ) -> Result<Vec<String>> {
        let started = self.output_with(&[role], "", change).await;
        let finished = started.context("the program did not refuse to start")?;
        let said = finished.stderr.join("\n");
        ensure!(!finished.status.success(), "exit status 0; stderr:\n{said}");
        ensure!(
            finished.status.code().is_some(),
            "{}; stderr:\n{said}",
            describe(finished.status)
        );
        ensure!(!said.contains("panicked"), "a panic:\n{said}");
        for word in named {
            ensure!(said.contains(word), "a message without {word}:\n{said}");
        }
        Ok(finished
            .stderr
            .into_iter()
            .filter(|line| !line.trim().is_empty())
            .collect())
    }

    /// As `refuses`, with a message of one line.
    pub async fn refuses_in_one_line(
        &self,
        role: &str,
        named: &[&str],
        change: impl FnOnce(Program) -> Program,
    ) -> Result<String> {
        let lines = self.refuses(role, named, change).await?;
        ensure!(
            lines.len() == 1,
            "{} lines on stderr:\n{}",
            lines.len(),
            lines.join("\n")
        );
        Ok(lines.concat())
    }
}

/// The port of a program that knows no `HTTP_ADDR`.
pub const FIXED_PORT: u16 = 7000;

fn fixed_port_owner() -> String {
    match ports::owner(FIXED_PORT) {
        Some(owner) => format!(", and port {FIXED_PORT} is taken by {owner}"),
        None => format!(", and port {FIXED_PORT} is taken"),
    }
}

/// Whether nobody listens on `port`, now or after a moment: the program of the check before may just be going.
async fn wait_for_free(port: u16) -> bool {
    for _ in 0..100 {
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// A server that answers, and the process behind it, if it is ours.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    pub client: Client,
    _folder: Option<Folder>,
}

impl Server {
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .context("there is no process, only a URL")
    }

    /// The server still answers `/status`: what came before did it no harm.
    pub async fn lives(&self) -> Result<()> {
        let response = self
            .client
            .get("/status")
            .await
            .context("afterwards the server no longer answers")?;
        ensure!(
            response.status == 200,
            "afterwards /status answers {}",
            response.status
        );
        Ok(())
    }

    /// Sends `signal`, and expects the end in time, with exit status 0. Returns stdout and stderr.
    pub async fn ends_on(&mut self, signal: Signal) -> Result<(Vec<String>, Vec<String>)> {
        let process = self.process()?;
        process.signal(signal)?;
        let status = process.wait(STOP).await?;
        let stderr = process.stderr.all().await;
        ensure!(
            status.success(),
            "{}; stderr:\n{}",
            describe(status),
            process::tail(&stderr)
        );
        Ok((process.stdout.all().await, stderr))
    }
}

/// An empty directory that goes away with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lab-check-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes `name` into it, and returns the whole path.
    pub fn write(&self, name: &str, content: &str) -> Result<String> {
        let path = self.0.join(name);
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
