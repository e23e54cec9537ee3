//! The topics that must exist. A role that uses a topic calls `Broker::open` first.

use std::mem::ManuallyDrop;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use tracing::info;
use tracing::warn;

use crate::broker;
use crate::broker::plain;
use crate::broker::ready::Broker;
use crate::config;
use crate::retry;

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

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

impl Broker {
    /// Waits for the broker, and creates the topics that do not exist. If it has no admin API, it goes on without them.
    ///
    /// # Errors
    /// The broker did not answer for two minutes, or it refuses to create a topic.
    pub async fn open(config: &config::Broker, topics: &[Topic]) -> Result<Self> {
        let names = topics.iter().map(|topic| topic.name.clone()).collect();
        let broker = Self::connect(config, names)?;
        // Nobody polls this client, so its log lines would stay in memory. It is never dropped either, see `Broker`.
        let mut settings = broker::settings(config, &[], &[]);
        settings.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = ManuallyDrop::new(settings.create().map_err(broker::unusable)?);
        let servers = config.redpanda_broker.join(",");
        let service = format!("broker {servers} (REDPANDA_BROKER)");
        let create = || broker.create(&admin, config, topics);
        if let Some((topic, code)) = retry::at_start(&service, create).await? {
            bail!("the broker refuses to create topic {topic}: {code}");
        }
        info!(servers, "broker is open");
        Ok(broker)
    }

    /// `Ok(Some(…))` is a topic that the broker refuses for good. After an error, trying again may help.
    async fn create(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        config: &config::Broker,
        topics: &[Topic],
    ) -> Result<Option<(String, RDKafkaErrorCode)>> {
        let mut missing = Vec::new();
        for topic in topics {
            if !self.exists(&topic.name).await? {
                let replication = TopicReplication::Fixed(config.wikipedia_topic_replication);
                let mut new = NewTopic::new(&topic.name, topic.partitions, replication);
                if topic.compacted {
                    new = new.set("cleanup.policy", "compact").set("segment.ms", SEGMENT);
                }
                missing.push(new);
            }
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER_TIMEOUT))
            .operation_timeout(Some(ANSWER_TIMEOUT));
        let results = match admin.create_topics(&missing, &options).await {
            Ok(results) => results,
            Err(error @ KafkaError::AdminOp(RDKafkaErrorCode::UnsupportedFeature)) => {
                warn!("cannot create topics; going on, they may be made otherwise: {error}");
                return Ok(None);
            }
            // Going on without an answer could create the topic by its first message, with another number of partitions.
            Err(error) => return Err(plain(error).context("cannot create topics")),
        };
        for result in results {
            match result {
                Ok(topic) => info!(topic, "topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((
                    topic,
                    code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
                    | RDKafkaErrorCode::InvalidTopic
                    | RDKafkaErrorCode::InvalidPartitions
                    | RDKafkaErrorCode::InvalidReplicationFactor
                    | RDKafkaErrorCode::InvalidConfig
                    | RDKafkaErrorCode::PolicyViolation),
                )) => return Ok(Some((topic, code))),
                Err((topic, code)) => bail!("cannot create topic {topic}: {code}"),
            }
        }
        Ok(None)
    }

    async fn exists(&self, topic: &str) -> Result<bool> {
        let metadata = self.ask(topic, ANSWER_TIMEOUT).await?;
        let unknown = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        let mut topics = metadata.topics().iter();
        Ok(topics.any(|topic| topic.error() != unknown))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    /// This broker names no controller, so nobody answers.
    #[tokio::test(flavor = "multi_thread")]
    async fn admin_api_that_does_not_answer_is_not_taken_for_none() {
        let cluster = MockCluster::new(1).unwrap();
        let config = config::Broker::for_test(&[cluster.bootstrap_servers()]);
        let admin = broker::settings(&config, &[], &[]).create().unwrap();
        let broker = Broker::connect(&config, Vec::new()).unwrap();
        let topic = Topic { name: "a".to_owned(), partitions: 1, compacted: true };
        let created = broker.create(&admin, &config, &[topic]).await;
        let error = format!("{:#}", created.unwrap_err());
        assert!(error.starts_with("cannot create topics: "), "{error}");
        assert!(!broker.exists("a").await.unwrap());
        cluster.create_topic("a", 1, 1).unwrap();
        assert!(broker.exists("a").await.unwrap());
    }

    #[tokio::test]
    async fn bad_property_is_an_error_that_names_the_variable_and_hides_the_value() {
        let mut config = config::Broker::for_test(&["127.0.0.1:9".to_owned()]);
        for name in ["no.such", "linger.ms"] {
            config.redpanda_properties.0 = vec![(name.to_owned(), "hunter2".to_owned())];
            let error = format!("{:#}", Broker::open(&config, &[]).await.err().unwrap());
            let begin =
                format!("cannot set up a Kafka client; is REDPANDA_PROPERTIES right?: {name}: ");
            assert!(error.starts_with(&begin), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
