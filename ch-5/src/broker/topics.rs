//! The topics that a role uses. Those that are missing are created at the start, and `/ready` asks whether they can be
//! used.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use tokio::task::spawn_blocking;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::Log;
use crate::broker::plain;
use crate::config;
use crate::retry;

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const UNKNOWN: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;

/// After how many milliseconds a compacted topic begins a new segment: an hour. The newest segment is never compacted, and by
/// default it is the newest for a week, in which a message a second makes 600,000.
const SEGMENT: &str = "3600000";

/// A topic, and how it is created if it does not exist.
pub struct Topic {
    pub name: String,
    pub partitions: i32,
    /// Whether the broker keeps only the newest message of each key.
    pub compacted: bool,
}

/// Clones share one client.
#[derive(Clone)]
pub struct Broker {
    /// A producer that sends nothing. Unlike an admin client, it writes to the log why a connection has failed. It is
    /// never dropped, because dropping a client can block for ever while a broker is away.
    client: Arc<ManuallyDrop<FutureProducer<Log>>>,
    /// The topics that the role uses.
    topics: Arc<[Topic]>,
}

impl Broker {
    /// Waits for the broker, and creates the topics that do not exist. If it has no admin API, it goes on without them.
    ///
    /// # Errors
    /// For two minutes, the broker did not answer, or it did not create a topic.
    pub async fn open(config: &config::Broker, topics: Vec<Topic>) -> Result<Self> {
        let broker = Self::connect(config, topics)?;
        // Nobody polls this client, so its log lines would stay in memory. It is never dropped either, see `Broker`.
        let mut settings = broker::settings(config, &[]);
        settings.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = ManuallyDrop::new(settings.create().map_err(broker::unusable)?);
        let servers = config.redpanda_broker.join(",");
        let service = format!("broker {servers} (REDPANDA_BROKER)");
        retry::at_start(&service, || broker.create(&admin, config)).await?;
        info!(servers, "broker is open");
        Ok(broker)
    }

    /// Makes the client, whether or not the broker is there.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn connect(config: &config::Broker, topics: Vec<Topic>) -> Result<Self> {
        // Otherwise asking about a topic could create it, with the wrong number of partitions.
        let settings = broker::settings(config, &[("allow.auto.create.topics", "false")]);
        let client = settings.create_with_context(Log::default()).map_err(broker::unusable)?;
        Ok(Self { client: Arc::new(ManuallyDrop::new(client)), topics: topics.into() })
    }

    async fn create(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        config: &config::Broker,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for topic in &*self.topics {
            if !self.knows(&topic.name).await? {
                let replication = TopicReplication::Fixed(config.wikipedia_topic_replication);
                let mut new = NewTopic::new(&topic.name, topic.partitions, replication);
                if topic.compacted {
                    new = new.set("cleanup.policy", "compact").set("segment.ms", SEGMENT);
                }
                missing.push(new);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER_TIMEOUT))
            .operation_timeout(Some(ANSWER_TIMEOUT));
        let results = match admin.create_topics(&missing, &options).await {
            Ok(results) => results,
            Err(error @ KafkaError::AdminOp(RDKafkaErrorCode::UnsupportedFeature)) => {
                warn!("cannot create topics; going on, they may be made otherwise: {error}");
                return Ok(());
            }
            // Going on without an answer could create the topic by its first message, with another number of partitions.
            Err(error) => return Err(plain(error).context("cannot create topics")),
        };
        for result in results {
            match result {
                Ok(topic) => info!(topic, "topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => bail!("cannot create topic {topic}: {code}"),
            }
        }
        Ok(())
    }

    /// Whether the broker knows a topic.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn knows(&self, topic: &str) -> Result<bool> {
        let (this, topic) = (self.clone(), topic.to_owned());
        let metadata = spawn_blocking(move || this.metadata(&topic)).await??;
        Ok(metadata.topics().iter().any(|topic| topic.error() != Some(UNKNOWN)))
    }

    fn metadata(&self, topic: &str) -> Result<Metadata> {
        let metadata = self.client.client().fetch_metadata(Some(topic), ANSWER_TIMEOUT);
        metadata.map_err(plain).context("the broker does not answer")
    }

    /// Whether each partition of the topics has a leader, and each leader answers.
    ///
    /// # Errors
    /// The outermost message names what is missing, and may be sent to everybody.
    pub async fn ready(&self) -> Result<()> {
        let this = self.clone();
        spawn_blocking(move || this.topics.iter().try_for_each(|topic| this.usable(&topic.name)))
            .await?
    }

    fn usable(&self, topic: &str) -> Result<()> {
        let metadata = self.metadata(topic)?;
        let found = metadata.topics().first().context("the broker does not know the topic")?;
        match found.error() {
            None => {}
            Some(UNKNOWN) => bail!("topic {topic} does not exist"),
            Some(error) => bail!("topic {topic} cannot be used: {}", RDKafkaErrorCode::from(error)),
        }
        for partition in found.partitions() {
            let (number, leader) = (partition.id(), partition.leader());
            let leader = metadata.brokers().iter().find(|broker| broker.id() == leader);
            let no_leader = || format!("partition {number} of topic {topic} has no leader");
            let leader = leader.with_context(no_leader)?;
            // The leader may be another broker than the one that has answered.
            let answer = self.client.client().fetch_watermarks(topic, number, ANSWER_TIMEOUT);
            answer.map_err(plain).with_context(|| {
                let (host, port) = (leader.host(), leader.port());
                format!("broker {host}:{port}, which has topic {topic}, does not answer")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaApiKey;
    use tokio::time::Instant;
    use tokio::time::sleep;

    use super::*;

    const TOPIC: &str = "wikipedia.changes";

    fn topic() -> Topic {
        Topic { name: TOPIC.to_owned(), partitions: 1, compacted: true }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_missing_is_named_until_it_is_back() {
        let cluster = MockCluster::new(1).unwrap();
        let config: config::Broker =
            config::for_test(&["--redpanda-broker", &cluster.bootstrap_servers()]);
        let broker = Broker::connect(&config, vec![topic()]).unwrap();
        let missing = async || broker.ready().await.unwrap_err().to_string();
        let answers = |error| cluster.topic_error(TOPIC, error).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        broker.ready().await.unwrap();

        answers(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
        let begin = format!("topic {TOPIC} cannot be used: TopicAuthorizationFailed");
        assert!(missing().await.starts_with(&begin));
        answers(UNKNOWN);
        assert_eq!(missing().await, format!("topic {TOPIC} does not exist"));
        answers(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
        cluster.partition_leader(TOPIC, 1, None).unwrap();
        assert_eq!(missing().await, format!("partition 1 of topic {TOPIC} has no leader"));
        cluster.partition_leader(TOPIC, 1, Some(1)).unwrap();
        broker.ready().await.unwrap();

        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[denied; 100]);
        let begin = format!("broker {}, which has topic", cluster.bootstrap_servers());
        assert!(missing().await.starts_with(&begin));
        cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
        broker.ready().await.unwrap();

        cluster.broker_down(1).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while broker.ready().await.is_ok() {
            assert!(Instant::now() < deadline, "ready without a broker");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(missing().await, "the broker does not answer");
    }

    /// This broker names no controller, so nobody answers.
    #[tokio::test(flavor = "multi_thread")]
    async fn admin_api_that_does_not_answer_is_not_taken_for_none() {
        let cluster = MockCluster::new(1).unwrap();
        let config: config::Broker =
            config::for_test(&["--redpanda-broker", &cluster.bootstrap_servers()]);
        let admin = broker::settings(&config, &[]).create().unwrap();
        let broker = Broker::connect(&config, vec![topic()]).unwrap();
        let created = broker.create(&admin, &config).await;
        let error = format!("{:#}", created.unwrap_err());
        assert!(error.starts_with("cannot create topics: "), "{error}");
        assert!(!broker.knows(TOPIC).await.unwrap());
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        assert!(broker.knows(TOPIC).await.unwrap());
    }

    #[tokio::test]
    async fn bad_property_is_an_error_that_names_the_variable_and_hides_the_value() {
        for name in ["no.such", "linger.ms", "security.protocol"] {
            let property = format!("--redpanda-properties={name}=hunter2");
            let config = config::for_test(&[&property]);
            let error = format!("{:#}", Broker::open(&config, vec![]).await.err().unwrap());
            let begin =
                format!("cannot set up a Kafka client; is REDPANDA_PROPERTIES right?: {name}: ");
            assert!(error.starts_with(&begin), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
