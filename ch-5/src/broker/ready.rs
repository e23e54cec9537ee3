//! A client that asks the broker what it knows of a topic. The roles wait for its answer at the start, and `/ready` asks
//! whether it still comes.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::DeliveryResult;
use rdkafka::producer::Producer;
use rdkafka::producer::ProducerContext;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::broker;
use crate::broker::plain;
use crate::config;

/// How long `/ready` waits for an answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long `/ready` uses that answer.
const ANSWER_AGE: Duration = Duration::from_millis(500);

/// When the broker was asked, and the error if it did not answer.
type Answer = (Instant, Result<(), String>);

/// Clones share one client.
#[derive(Clone)]
pub struct Broker {
    /// A producer that sends nothing. Unlike an admin client, it says why a connection has failed. It is never
    /// dropped, because dropping a client can block for ever while a broker is away.
    client: Arc<ManuallyDrop<BaseProducer<Reason>>>,
    topic: Arc<str>,
    /// The last answer for `/ready`.
    answer: Arc<tokio::sync::Mutex<Option<Answer>>>,
}

impl Broker {
    /// Makes the client, whether or not the broker is there.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn connect(config: &config::Broker) -> Result<Self> {
        // Otherwise asking about a topic could create it, with the wrong number of partitions.
        let fixed = [("allow.auto.create.topics", "false")];
        let client = broker::settings(config, &[], &fixed).create_with_context(Reason::default());
        Ok(Self {
            client: Arc::new(ManuallyDrop::new(client.map_err(broker::unusable)?)),
            topic: config.wikipedia_topic.as_str().into(),
            answer: Arc::default(),
        })
    }

    /// What the broker knows of a topic.
    ///
    /// # Errors
    /// The broker does not answer. The error says why, where librdkafka knows it.
    pub async fn ask(&self, topic: &str, timeout: Duration) -> Result<Metadata> {
        let producer = Arc::clone(&self.client);
        let topic = topic.to_owned();
        let asked = spawn_blocking(move || {
            let client = producer.client();
            let asked = client.fetch_metadata(Some(&topic), timeout);
            // This calls `Reason::log` with what librdkafka has logged meanwhile.
            producer.poll(Duration::from_millis(1));
            let mut reason = client.context().lock();
            match (asked, &*reason) {
                (Ok(metadata), _) => {
                    *reason = None;
                    Ok(metadata)
                }
                (Err(error), Some(reason)) => Err(anyhow!("{error}: {reason}")),
                (Err(error), None) => Err(plain(error)),
            }
        });
        asked.await?
    }

    /// # Errors
    /// The broker does not answer.
    pub async fn ready(&self) -> Result<()> {
        // Each question needs a thread, so all requests that come while one is waiting share its answer.
        let mut answer = self.answer.lock().await;
        let answered = match &*answer {
            Some((at, answered)) if at.elapsed() < ANSWER_AGE => answered.clone(),
            _ => {
                let asked = self.ask(&self.topic, READY_TIMEOUT).await;
                let answered = asked.map(drop).map_err(|error| format!("{error:#}"));
                *answer = Some((Instant::now(), answered.clone()));
                answered
            }
        };
        answered.map_err(|error| anyhow!(error).context("the broker does not answer"))
    }
}

/// The last reason why the client did not reach the broker. Some reasons are only in the log of librdkafka.
#[derive(Default)]
struct Reason(Mutex<Option<String>>);

impl Reason {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reason {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            let (_thread, reason) = message.split_once("]: ").unwrap_or(("", message));
            *self.lock() = Some(reason.to_owned());
        }
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reason {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use rdkafka::mocking::MockCluster;
    use tokio::time::sleep;
    use tokio::time::timeout;

    use super::*;

    fn broker(servers: String) -> Broker {
        Broker::connect(&config::Broker::for_test(&[servers])).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn broker_is_ready_until_it_goes_away() {
        let cluster = MockCluster::new(1).unwrap();
        let broker = broker(cluster.bootstrap_servers());
        broker.ready().await.unwrap();
        cluster.broker_down(1).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while broker.ready().await.is_ok() {
            assert!(Instant::now() < deadline, "ready without a broker");
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn crowd_that_asks_whether_the_broker_is_ready_waits_for_one_answer_that_tells_why_not() {
        let broker = broker("127.0.0.1:9".to_owned());
        // Asked one after the other, they would take much longer than this.
        let crowd = join_all((0..200).map(|_| broker.ready()));
        for answer in timeout(10 * READY_TIMEOUT, crowd).await.unwrap() {
            let error = format!("{:#}", answer.unwrap_err());
            assert!(error.contains("127.0.0.1:9") && error.contains("refused"), "{error}");
        }
    }
}
