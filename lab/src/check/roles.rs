//! The roles of the program. Each is tried out before the first check that needs it. From chapter 5 on a producer and a
//! consumer are started together, with a topic between them, when a check sends events and reads `/stats`.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::check::runner::Broken;
use crate::check::server::Server;
use crate::check::stream::Reply;
use crate::check::stream::Stream;
use crate::check::stream::events;
use crate::check::subject::CONSUMER;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::check::wait::SOON;
use crate::check::wait::START;
use crate::client::Client;
use crate::process::Program;
use crate::process::describe;
use crate::scratch;

/// A program that has closed its stdout is about to end.
const END: Duration = Duration::from_secs(1);

impl Subject {
    /// Tries out a role, once, before the first check that needs it.
    ///
    /// # Errors
    /// The role does not work. The error is `Broken`; the first time it also says what happened.
    pub async fn works(&self, role: &str) -> Result<()> {
        let mut roles = self.roles.lock().await;
        let broken = Broken(format!("{role} does not work"));
        if let Some(works) = roles.get(role) {
            ensure!(works, broken);
            return Ok(());
        }
        let tried = match role {
            "watch" => self.watch_prints().await,
            _ => self.answers(role).await,
        };
        roles.insert(role.to_owned(), tried.is_ok());
        tried.context(broken)
    }

    async fn answers(&self, role: &str) -> Result<()> {
        if let Some(url) = self.url() {
            return Client::new(url).get("/status").await.map(drop);
        }
        self.bring_up(role, SOON, |program, _| Ok(program)).await.map(drop)
    }

    async fn watch_prints(&self) -> Result<()> {
        let stream = Stream::start(vec![Reply::hold(events(0..9))]).await?;
        let folder = scratch::folder()?;
        let program = self.program()?.folder(folder.path()).args(["watch"]);
        let mut watch = program.env("WIKIPEDIA_STREAM_URL", stream.url()).start()?;
        if watch.stdout.line(SOON, |_| true).await.is_ok() {
            return Ok(());
        }
        let how = match watch.wait(END).await {
            Ok(status) => format!("the program ended, {}", describe(status)),
            Err(_) => format!("the program runs, but prints no event within {} s", SOON.as_secs()),
        };
        bail!("{how}, although the stream sent nine events{}", watch.last_words().await)
    }

    /// A server that counts the events of the stream at `url`, with topics that no other check uses.
    pub async fn serve_stream(&self, url: &str) -> Result<Server> {
        let topics = self.topics().await?;
        self.serve_stream_with(url, |program| topics.set(program)).await
    }

    /// Up to chapter 4 this is one program; from chapter 5 on the producer runs beside the server.
    pub async fn serve_stream_with(
        &self,
        url: &str,
        change: impl Fn(Program) -> Program,
    ) -> Result<Server> {
        let change = |program| change(program).env("WIKIPEDIA_STREAM_URL", url);
        if !self.is_split() {
            return self.serve_with(change).await;
        }
        let (producer, consumer) =
            tokio::join!(self.start_role(PRODUCER, change), self.start_role(CONSUMER, change));
        let mut server = consumer?;
        server.beside = Some(Box::new(producer?));
        Ok(server)
    }

    /// A running producer of the stream at `url`.
    pub async fn start_producer(&self, topics: &Topics, url: &str) -> Result<Server> {
        self.start_role(PRODUCER, |program| topics.set(program).env("WIKIPEDIA_STREAM_URL", url))
            .await
    }

    /// A running producer or consumer.
    pub async fn start_role(
        &self,
        role: &str,
        change: impl FnOnce(Program) -> Program,
    ) -> Result<Server> {
        self.works(role).await.with_context(|| format!("the {role}"))?;
        let server = self.bring_up(role, START, |program, _| Ok(change(program)));
        server.await.with_context(|| format!("the {role}"))
    }
}
