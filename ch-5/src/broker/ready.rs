//! A client that asks the broker what it knows of a topic. The roles wait for its answer at the start, and `/ready` asks
//! whether the topics of the role can be used.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::DeliveryResult;
use rdkafka::producer::Producer;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;

use crate::broker;
use crate::broker::plain;
use crate::config;

/// How long `/ready` waits for each answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Clones share one client.
#[derive(Clone)]
pub struct Broker {
    /// A producer that sends nothing. Unlike an admin client, it says why a connection has failed. It is never
    /// dropped, because dropping a client can block for ever while a broker is away.
    client: Arc<ManuallyDrop<BaseProducer<Reason>>>,
    /// The topics that the role uses.
    topics: Arc<[String]>,
}

impl Broker {
    /// Makes the client, whether or not the broker is there.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn connect(config: &config::Broker, topics: Vec<String>) -> Result<Self> {
        // Otherwise asking about a topic could create it, with the wrong number of partitions.
        let fixed = [("allow.auto.create.topics", "false")];
        let client = broker::settings(config, &[], &fixed).create_with_context(Reason::default());
        Ok(Self {
            client: Arc::new(ManuallyDrop::new(client.map_err(broker::unusable)?)),
            topics: topics.into(),
        })
    }

    /// What the broker knows of a topic.
    ///
    /// # Errors
    /// The broker does not answer. The error says why, where librdkafka knows it.
    pub async fn ask(&self, topic: &str, timeout: Duration) -> Result<Metadata> {
        let (this, topic) = (self.clone(), topic.to_owned());
        spawn_blocking(move || this.metadata(&topic, timeout)).await?
    }

    fn metadata(&self, topic: &str, timeout: Duration) -> Result<Metadata> {
        self.with_reason(self.client.client().fetch_metadata(Some(topic), timeout))
    }

    /// Adds what librdkafka has logged meanwhile to an error.
    fn with_reason<T>(&self, answer: Result<T, KafkaError>) -> Result<T> {
        // This calls `Reason::log`.
        self.client.poll(Duration::from_millis(1));
        let mut reason = self.client.client().context().lock();
        match (answer, &*reason) {
            (Ok(answer), _) => {
                *reason = None;
                Ok(answer)
            }
            (Err(error), Some(reason)) => Err(anyhow!("{error}: {reason}")),
            (Err(error), None) => Err(plain(error)),
        }
    }

    /// Whether each partition of the topics has a leader, and each leader answers.
    ///
    /// # Errors
    /// The outermost message names what is missing, and may be sent to everybody.
    pub async fn ready(&self) -> Result<()> {
        let this = self.clone();
        spawn_blocking(move || this.topics.iter().try_for_each(|topic| this.usable(topic))).await?
    }

    fn usable(&self, topic: &str) -> Result<()> {
        let metadata = self.metadata(topic, READY_TIMEOUT).context("the broker does not answer")?;
        let found = metadata.topics().first().context("the broker does not know the topic")?;
        if let Some(error) = found.error() {
            match RDKafkaErrorCode::from(error) {
                RDKafkaErrorCode::UnknownTopicOrPartition => bail!("topic {topic} does not exist"),
                code => bail!("topic {topic} cannot be used: {code}"),
            }
        }
        // A partition of each leader. The leader may be another broker than the one that has answered.
        let mut leaders = BTreeMap::new();
        for partition in found.partitions() {
            let (number, leader) = (partition.id(), partition.leader());
            ensure!(leader >= 0, "partition {number} of topic {topic} has no leader");
            leaders.insert(leader, number);
        }
        for (leader, partition) in leaders {
            let broker = metadata.brokers().iter().find(|broker| broker.id() == leader);
            let address = broker.map(|broker| format!("{}:{}", broker.host(), broker.port()));
            let answer = self.client.client().fetch_watermarks(topic, partition, READY_TIMEOUT);
            self.with_reason(answer).with_context(|| {
                let address = address.unwrap_or_default();
                format!("broker {leader} at {address}, which has topic {topic}, does not answer")
            })?;
        }
        Ok(())
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
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::RDKafkaApiKey;
    use rdkafka::types::RDKafkaRespErr;
    use tokio::time::Instant;
    use tokio::time::sleep;

    use super::*;

    const TOPIC: &str = "wikipedia.changes";

    fn broker(servers: String) -> Broker {
        let config = config::Broker::for_test(&[servers]);
        Broker::connect(&config, vec![TOPIC.to_owned()]).unwrap()
    }

    fn cluster() -> MockCluster<'static, DefaultProducerContext> {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        cluster
    }

    async fn missing(broker: &Broker) -> String {
        broker.ready().await.unwrap_err().to_string()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn broker_is_ready_until_it_goes_away() {
        let cluster = cluster();
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
    async fn broker_that_is_not_there_is_named_with_the_reason() {
        let error = broker("127.0.0.1:9".to_owned()).ready().await.unwrap_err();
        assert_eq!(error.to_string(), "the broker does not answer");
        let error = format!("{error:#}");
        assert!(error.contains("127.0.0.1:9") && error.contains("refused"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn topic_that_cannot_be_used_is_named() {
        let cluster = cluster();
        let broker = broker(cluster.bootstrap_servers());
        let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.topic_error(TOPIC, forbidden).unwrap();
        let missing_now = missing(&broker).await;
        let begin = format!("topic {TOPIC} cannot be used: TopicAuthorizationFailed");
        assert!(missing_now.starts_with(&begin), "{missing_now}");
        let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        cluster.topic_error(TOPIC, unknown).unwrap();
        assert_eq!(missing(&broker).await, format!("topic {TOPIC} does not exist"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn partition_without_a_leader_is_named() {
        let cluster = cluster();
        let broker = broker(cluster.bootstrap_servers());
        cluster.partition_leader(TOPIC, 1, None).unwrap();
        assert_eq!(missing(&broker).await, format!("partition 1 of topic {TOPIC} has no leader"));
        cluster.partition_leader(TOPIC, 1, Some(1)).unwrap();
        broker.ready().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn leader_that_does_not_answer_is_named() {
        let cluster = cluster();
        let broker = broker(cluster.bootstrap_servers());
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[denied; 100]);
        let missing = missing(&broker).await;
        let begin = format!("broker 1 at {}, which has", cluster.bootstrap_servers());
        assert!(missing.starts_with(&begin), "{missing}");
    }
}
