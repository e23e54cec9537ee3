//! From chapter 5 on the program is two roles with a topic between them: what a check starts when it feeds a stream and
//! reads `/stats`.

use anyhow::Context;
use anyhow::Result;

use crate::check::server::Server;
use crate::check::subject::CONSUMER;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::process::Program;

impl Subject {
    /// A server that counts the stream at `url`, over topics that nobody else has.
    pub async fn serve_stream(&self, url: &str) -> Result<Server> {
        let topics = self.topics().await?;
        self.serve_stream_with(url, |program| topics.set(program)).await
    }

    /// One program up to chapter 4; from chapter 5 on the producer too, beside the server.
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
        let mut server = self.launch(role, change)?;
        self.wait_until_up(&mut server).await.with_context(|| format!("the {role}"))?;
        Ok(server)
    }
}
