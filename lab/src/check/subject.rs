//! The program under test, with every variable that any suite needs, and what it works with: its stream, the broker and
//! Cassandra.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs::File;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;

use crate::broker;
use crate::broker::Broker;
use crate::check::node::Node;
use crate::check::stream::Stream;
use crate::check::topics::Topics;
use crate::credentials::JWT_SECRET;
use crate::credentials::PASSWORD_HASH;
use crate::credentials::USERNAME;
use crate::docker;
use crate::docker::docker;
use crate::ports;
use crate::ports::free_port;
use crate::process::Program;
use crate::services::Keyspace;
use crate::terminal::waiting;

/// The chapter in which the server is split into a producer and a consumer.
pub const SPLIT: u8 = 5;
pub const PRODUCER: &str = "producer";
pub const CONSUMER: &str = "consumer";

/// The port of a program that knows no `HTTP_ADDR`.
pub const FIXED_PORT: u16 = 7000;

pub struct Subject {
    chapter: u8,
    target: Target,
    image: Option<String>,
    cassandra: Option<String>,
    broker: Option<Broker>,
    /// The broker, if it is one that checks can stop and start.
    node: Option<Node>,
    /// Topics for the checks that neither write to a topic nor read from one.
    quiet: Topics,
    /// The roles that were tried out, and whether they work.
    pub roles: tokio::sync::Mutex<HashMap<String, bool>>,
    /// The reasons of `Broken` that were told.
    told: Mutex<HashSet<String>>,
    note: Mutex<Option<String>>,
    /// Keeps other runs of lab from testing a program on the fixed port of chapter 1 at the same time.
    _port: Option<File>,
}

enum Target {
    Url(String),
    /// The program, and the stream without events that it gets if a check brings no other one.
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
        let mut subject = Self::of(chapter, target);
        if subject.has_fixed_port() {
            subject._port = Some(ports::reserve(FIXED_PORT).await?);
        }
        Ok(subject)
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
            roles: tokio::sync::Mutex::default(),
            told: Mutex::default(),
            note: Mutex::default(),
            _port: None,
        }
    }

    /// The program inside a Docker image, which must be on this machine.
    pub async fn in_image(chapter: u8, image: &str) -> Result<Self> {
        let inspected = docker(["image", "inspect", "--format", "{{.Id}}", image]).await;
        inspected.map_err(|error| no_image(image, chapter, &error))?;
        let subject = Self::new(chapter, Program::in_image(image)).await?;
        Ok(Self { image: Some(image.to_owned()), ..subject })
    }

    /// A Cassandra that answers at the first of its nodes.
    pub fn with_cassandra(self, nodes: Option<String>) -> Self {
        Self { cassandra: nodes, ..self }
    }

    /// The broker that the roles of chapter 5 and later have between them.
    pub async fn with_broker(mut self, broker: Broker) -> Result<Self> {
        // lab-broker is built now if it must be, and not in the middle of a check.
        broker::binary().await?;
        let what = format!("topics of this run on the broker at {}", broker.address);
        waiting(&what, self.quiet.make(&broker)).await?;
        self.broker = Some(broker);
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

    /// Topics for one check alone. They are created here if the program can't create them itself.
    pub async fn topics(&self) -> Result<Topics> {
        let topics = Topics::new();
        if let Some(broker) = &self.broker {
            topics.make(broker).await?;
        }
        Ok(topics)
    }

    /// Deletes the topics of this run from a broker that others use too.
    pub async fn clean_up(&self) {
        if let (Some(broker), None) = (&self.broker, &self.node)
            && !broker.is_embedded()
        {
            Topics::delete_all(broker).await;
        }
    }

    /// A keyspace of a check's own.
    pub fn keyspace(&self) -> Result<Keyspace> {
        let nodes = self.cassandra().context("no Cassandra")?;
        Ok(Keyspace::new("check", nodes))
    }

    /// A sentence about the records that the embedded broker has dropped, if there are any.
    pub fn evicted(&self) -> Option<String> {
        self.broker.as_ref()?.evicted()
    }

    /// Keeps what a check has measured, which the report shows if the check passes.
    pub fn note(&self, text: String) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub fn take_note(&self) -> Option<String> {
        let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        note.take()
    }

    /// Whether `reason` was not told before.
    pub fn tells_first(&self, reason: &str) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(reason.to_owned())
    }

    pub fn chapter(&self) -> u8 {
        self.chapter
    }

    pub fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// The URL of a server that runs already.
    pub fn url(&self) -> Option<&str> {
        match &self.target {
            Target::Url(url) => Some(url),
            Target::Program(..) => None,
        }
    }

    pub fn has_program(&self) -> bool {
        self.url().is_none()
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
        let program = self.quiet.set(program.env("REDPANDA_BROKER", &broker.address));
        if broker.is_embedded() {
            // After a member has left a group, this broker lets the next one wait for nearly as long as a session,
            // which is 45 s if nothing else is set.
            return Ok(program.env("REDPANDA_PROPERTIES", "session.timeout.ms=6000"));
        }
        Ok(program)
    }

    /// The role that answers users: `serve`, and from chapter 5 on the consumer.
    pub fn server_role(&self) -> &'static str {
        if self.is_split() { CONSUMER } else { "serve" }
    }

    /// From chapter 5 on there are two roles, with a topic between them.
    pub fn is_split(&self) -> bool {
        self.chapter >= SPLIT
    }

    /// A program of chapter 1 need not know `HTTP_ADDR` yet; then it listens on the fixed port.
    pub fn has_fixed_port(&self) -> bool {
        self.chapter == 1
    }
}

/// What to do about an image that can't be run.
fn no_image(image: &str, chapter: u8, error: &anyhow::Error) -> anyhow::Error {
    if error.to_string().contains("No such image") {
        let (_, build) = docker::image(chapter);
        return anyhow!(
            "this machine has no image {image}: build it first, as in `{build}`; `docker images` lists those that are here"
        );
    }
    anyhow!("cannot look for the image {image}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_not_here_is_told_with_the_way_to_build_one() {
        let said = |why: &'static str| no_image("mine", 1, &anyhow!(why)).to_string();
        let missing = said("docker: Error: No such image: mine");
        assert!(missing.contains("docker build -f ch-2/Dockerfile"), "{missing}");
        let away = said("docker: Cannot connect to the Docker daemon");
        assert!(away.contains("mine") && !away.contains("docker build"), "{away}");
    }
}
