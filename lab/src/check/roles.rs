//! From chapter 5 on the program is two roles with a topic between them: what a check starts when it feeds a stream and
//! reads `/stats`, and the names by which the broker knows the check.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use anyhow::Context;
use anyhow::Result;
use futures_util::StreamExt;

use super::subject::Server;
use super::subject::Subject;
use crate::process::Program;

pub const PRODUCER: &str = "producer";
pub const CONSUMER: &str = "consumer";

/// The partitions of a topic where nothing else is said.
pub const PARTITIONS: i32 = 6;

/// A topic, its cursor and a group that no other check has.
#[derive(Clone, Debug)]
pub struct Topics {
    pub events: String,
    pub cursor: String,
    pub group: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Topics {
    pub fn new() -> Self {
        Self::numbered(COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// All that this run has named.
    fn all() -> impl Iterator<Item = Self> {
        (0..COUNT.load(Ordering::Relaxed)).map(Self::numbered)
    }

    fn numbered(number: u32) -> Self {
        let events = format!("lab-check-{}-{number}", std::process::id());
        Self {
            cursor: format!("{events}.cursor"),
            group: format!("{events}.group"),
            events,
        }
    }

    pub fn set(&self, program: Program) -> Program {
        program
            .env("WIKIPEDIA_TOPIC", &self.events)
            .env("CURSOR_TOPIC", &self.cursor)
            .env("CONSUMER_GROUP", &self.group)
    }
}

impl Subject {
    /// Topics of a check's own, made where the program could not make them.
    pub async fn topics(&self) -> Result<Topics> {
        let topics = Topics::new();
        self.create(&topics).await?;
        Ok(topics)
    }

    /// The embedded broker has no admin API, by which a program makes its topics.
    pub async fn create(&self, topics: &Topics) -> Result<()> {
        let Ok(broker) = self.broker() else {
            return Ok(());
        };
        if broker.is_embedded() {
            broker.create(&topics.events, PARTITIONS, &[]).await?;
            broker.create(&topics.cursor, 1, &[]).await?;
        }
        Ok(())
    }

    /// Deletes the topics of this run from a broker that others use too.
    pub async fn clean_up(&self) {
        let Ok(broker) = self.broker() else { return };
        if broker.is_embedded() || self.node().is_ok() {
            return;
        }
        let deletions = Topics::all()
            .flat_map(|topics| [topics.events, topics.cursor])
            // A topic that was never made is no loss.
            .map(|name| async move { drop(broker.delete(&name).await) });
        futures_util::stream::iter(deletions)
            .buffer_unordered(8)
            .collect::<()>()
            .await;
    }

    /// A server that counts the stream at `url`, over topics that nobody else has.
    pub async fn serve_stream(&self, url: &str) -> Result<Server> {
        let topics = self.topics().await?;
        self.serve_stream_with(url, |program| topics.set(program))
            .await
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
        let (producer, consumer) = tokio::join!(
            self.start_role(PRODUCER, change),
            self.start_role(CONSUMER, change)
        );
        let mut server = consumer?;
        server.beside = Some(Box::new(producer?));
        Ok(server)
    }

    /// A running producer or consumer.
    pub async fn start_role(
        &self,
        role: &str,
        change: impl FnOnce(Program) -> Program,
    ) -> Result<Server> {
        let mut server = self.launch(role, change)?;
        self.wait_until_up(&mut server)
            .await
            .with_context(|| format!("the {role}"))?;
        Ok(server)
    }
}
