//! The program under test: how a check starts it, with every variable that any suite needs, in an empty directory,
//! on a port of its own, and what a check asks of a running one.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::faults::Node;
use super::roles::Topics;
use super::stream::Stream;
use crate::broker;
use crate::broker::Broker;
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

/// The chapter that takes the server apart into a producer and a consumer.
pub const SPLIT: u8 = 5;

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
    broker: Option<Broker>,
    /// The broker, where it is one that can be made to fail.
    node: Option<Node>,
    /// The broker's names for the checks that neither write nor read a topic.
    quiet: Topics,
    /// A program that once did not come up is not waited for as long again.
    never_up: AtomicBool,
    note: Mutex<Option<String>>,
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
        Ok(Self::of(chapter, Target::Url(url.to_owned())))
    }

    pub async fn new(chapter: u8, program: Program) -> Result<Self> {
        let target = Target::Program(program, Stream::start(Vec::new()).await?);
        Ok(Self::of(chapter, target))
    }

    fn of(chapter: u8, target: Target) -> Self {
        Self {
            chapter,
            target,
            image: None,
            cassandra: None,
            broker: None,
            node: None,
            quiet: Topics::new(),
            never_up: AtomicBool::new(false),
            note: Mutex::default(),
        }
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

    /// The broker that the roles of chapter 5 and later have between them.
    pub async fn with_broker(mut self, broker: Broker) -> Result<Self> {
        // Built now, if it must be: not in the middle of a check.
        broker::binary().await?;
        self.broker = Some(broker);
        self.create(&self.quiet).await?;
        Ok(self)
    }

    /// A broker that can be made to fail.
    pub async fn with_node(mut self, node: Node) -> Result<Self> {
        let broker = Broker::at(node.address());
        self.node = Some(node);
        self.with_broker(broker).await
    }

    pub fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("there is no Kafka of lab's own")
    }

    pub fn broker(&self) -> Result<&Broker> {
        self.broker.as_ref().context("there is no broker")
    }

    /// What the embedded broker has thrown away, if it is that one and has.
    pub fn evicted(&self) -> Option<String> {
        self.broker.as_ref()?.evicted()
    }

    /// Tells what a check has measured; it is shown when the check has passed.
    pub fn note(&self, text: String) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub fn take_note(&self) -> Option<String> {
        let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        note.take()
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
        let Some(broker) = &self.broker else {
            return Ok(program);
        };
        let program = self
            .quiet
            .set(program.env("REDPANDA_BROKER", &broker.address));
        Ok(match broker.is_embedded() {
            // After a member has left, it has the next one wait for nearly as long: 44 s where nothing is said.
            true => program.env("REDPANDA_PROPERTIES", "session.timeout.ms=6000"),
            false => program,
        })
    }

    /// The role that serves HTTP: chapter 5 takes it apart, and its consumer is what `serve` was.
    pub fn server_role(&self) -> &'static str {
        if self.is_split() { "consumer" } else { "serve" }
    }

    /// From chapter 5 on there are two roles, with a topic between them.
    pub fn is_split(&self) -> bool {
        self.chapter >= SPLIT
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
                addresses: Vec::new(),
                beside: None,
                _folder: None,
            });
        }
        // Only if nobody else has it: an answer from there must be the program's.
        let fixed = self.has_fixed_port() && wait_for_free(FIXED_PORT).await;
        let mut server = self.launch_from(self.server_role(), change)?;
        if fixed {
            server
                .addresses
                .push(format!("http://127.0.0.1:{FIXED_PORT}"));
        }
        self.wait_until_up(&mut server).await?;
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
        let folder = Folder::new()?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let program = self
            .program()?
            .env("HTTP_ADDR", address.as_str())
            .folder(folder.path())
            .args([role]);
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
    pub async fn wait_until_up(&self, server: &mut Server) -> Result<()> {
        let patience = if self.never_up.load(Ordering::Relaxed) {
            Duration::from_secs(5)
        } else {
            START
        };
        let start = Instant::now();
        loop {
            for url in &server.addresses {
                let client = Client::new(url);
                if client.get("/status").await.is_ok() {
                    server.client = client;
                    return Ok(());
                }
            }
            let only_address = server.addresses.len() == 1;
            let process = server.process()?;
            if let Some(status) = process.ended() {
                let said = process::tail(&process.stderr.all().await);
                let taken = if self.has_fixed_port() && only_address {
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
                    "no answer from GET {}/status within {} s; its stderr:\n{said}",
                    server.client.base(),
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
    /// Where it may answer, before it has.
    addresses: Vec<String>,
    /// The other role of the same program.
    pub beside: Option<Box<Server>>,
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

    /// Sends `signal` to it, and to the role beside it, and waits for the end of both.
    pub async fn leaves_on(&mut self, signal: Signal) -> Result<()> {
        let beside = self.beside.as_mut().map(|server| server.process.as_mut());
        let mut processes: Vec<&mut Process> = [self.process.as_mut(), beside.flatten()]
            .into_iter()
            .flatten()
            .collect();
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
