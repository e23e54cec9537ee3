//! The broker, Kafka or Redpanda: the settings of librdkafka that all its clients share, the topics that have to be
//! there, and whether it answers. The roles that write or read a topic open it first.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::DeliveryResult;
use rdkafka::producer::Producer;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep;
use tracing::debug;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::log_limit::LogLimit;

/// How long a start waits for the broker.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `/ready` waits for an answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long its answer holds.
const ANSWER_AGE: Duration = Duration::from_millis(500);

/// Properties for a client: `tunable` ones, over them REDPANDA_PROPERTIES, and over these the `fixed` ones, which
/// carry a promise.
pub fn settings(
    config: &config::Broker,
    tunable: &[(&str, &str)],
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("client.id", env!("CARGO_PKG_NAME"));
    // A broker that is back after half a minute is not to wait for 10 s more.
    settings.set("reconnect.backoff.max.ms", "2000");
    tunable
        .iter()
        .for_each(|(name, value)| _ = settings.set(*name, *value));
    let further = &config.redpanda_properties.0;
    further
        .iter()
        .for_each(|(name, value)| _ = settings.set(name, value));
    fixed
        .iter()
        .for_each(|(name, value)| _ = settings.set(*name, *value));
    settings.set("bootstrap.servers", config.redpanda_broker.join(","));
    settings.set_log_level(RDKafkaLogLevel::Info);
    settings
}

/// What librdkafka says goes to the log. Most errors pass, and come again with every attempt to connect.
#[derive(Default)]
pub struct Log {
    limit: LogLimit,
}

impl ClientContext for Log {
    /// The errors among it come to `error` too.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(withheld) = self.limit.allows() {
            let code = error.rdkafka_error_code();
            warn!(withheld, ?code, "broker: {reason}");
        }
    }
}

impl ConsumerContext for Log {}

/// A topic, and how it is made where it is missing.
pub struct Topic {
    pub name: String,
    pub partitions: i32,
    /// Only the newest message of each key is kept.
    pub compacted: bool,
}

/// Why a client does not reach the broker, as librdkafka said it last. Some reasons it tells in its log alone.
#[derive(Default)]
struct Reason(Mutex<Option<String>>);

impl Reason {
    fn set(&self, reason: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(str::to_owned);
    }

    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ClientContext for Reason {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            let (_thread, reason) = message.split_once("]: ").unwrap_or(("", message));
            self.set(Some(reason));
        }
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reason {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Clients for what is asked of the broker beside writing and reading. They live as long as the process, because
/// taking a client down can hang while a broker is away.
#[derive(Clone, Copy)]
pub struct Broker {
    /// It only asks; this kind of client also tells why it gets no answer.
    client: &'static BaseProducer<Reason>,
    admin: &'static AdminClient<DefaultClientContext>,
    /// When it was last asked whether it answers, and what came.
    answer: &'static tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
    topic: &'static str,
}

impl Broker {
    /// Waits for the broker, and creates those of `topics` that are missing. A broker without an admin API is taken as
    /// it is.
    ///
    /// # Errors
    /// The broker did not answer for two minutes, or refuses a topic.
    pub async fn open(config: &config::Broker, topics: &[Topic]) -> Result<Self> {
        let broker = Self::connect(config)?;
        let servers = config.redpanda_broker.join(",");
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let mut wait = Duration::from_millis(500);
        while let Err(error) = broker.create(config, topics).await? {
            if Instant::now() + wait > deadline {
                let seconds = OPEN_TIMEOUT.as_secs();
                return Err(error.context(format!(
                    "broker {servers} (REDPANDA_BROKER) could not be used for {seconds} s"
                )));
            }
            warn!(
                servers,
                ?wait,
                "waiting for the broker (REDPANDA_BROKER): {error:#}"
            );
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
        info!(servers, "broker is open");
        Ok(broker)
    }

    /// The clients, whether or not the broker is there.
    pub fn connect(config: &config::Broker) -> Result<Self> {
        // Asking for a topic would create it, with the broker's number of partitions.
        let mut settings = settings(config, &[], &[("allow.auto.create.topics", "false")]);
        let client = settings.create_with_context(Reason::default());
        // The log of this one has no reader, and would pile up.
        settings.set_log_level(RDKafkaLogLevel::Emerg);
        let admin = settings.create();
        Ok(Self {
            client: Box::leak(Box::new(client.map_err(unusable)?)),
            admin: Box::leak(Box::new(admin.map_err(unusable)?)),
            answer: Box::leak(Box::default()),
            topic: config.wikipedia_topic.clone().leak(),
        })
    }

    /// What may pass is the inner error, what will not is the outer one.
    async fn create(&self, config: &config::Broker, topics: &[Topic]) -> Result<Result<()>> {
        let mut missing = Vec::new();
        for topic in topics {
            match self.exists(topic.name.clone()).await {
                Ok(true) => {}
                Ok(false) => missing.push(new_topic(topic, config.wikipedia_topic_replication)),
                Err(error) => return Ok(Err(error)),
            }
        }
        if missing.is_empty() {
            return Ok(Ok(()));
        }
        let options = AdminOptions::new()
            .request_timeout(Some(ATTEMPT_TIMEOUT))
            .operation_timeout(Some(ATTEMPT_TIMEOUT));
        let results = match self.admin.create_topics(&missing, &options).await {
            Ok(results) => results,
            // It has answered a moment ago: it has no admin API, or no controller to send this to.
            Err(error) => {
                warn!("cannot create topics; going on, they may be made otherwise: {error}");
                return Ok(Ok(()));
            }
        };
        for result in results {
            let (topic, code) = match result {
                Ok(topic) => {
                    info!(topic, "topic created");
                    continue;
                }
                Err(refused) => refused,
            };
            match code {
                RDKafkaErrorCode::TopicAlreadyExists => {}
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidPartitions
                | RDKafkaErrorCode::InvalidReplicationFactor
                | RDKafkaErrorCode::InvalidConfig
                | RDKafkaErrorCode::PolicyViolation => {
                    bail!("the broker refuses to create topic {topic}: {code}");
                }
                _ => return Ok(Err(anyhow!("cannot create topic {topic}: {code}"))),
            }
        }
        Ok(Ok(()))
    }

    async fn exists(self, topic: String) -> Result<bool> {
        let asked = spawn_blocking(move || self.ask(&topic, ATTEMPT_TIMEOUT));
        let metadata = asked.await??;
        let unknown = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        let mut topics = metadata.topics().iter();
        Ok(topics.any(|topic| topic.error() != unknown))
    }

    /// What the broker knows of a topic. This blocks.
    fn ask(self, topic: &str, timeout: Duration) -> Result<Metadata> {
        let client = self.client.client();
        let asked = client.fetch_metadata(Some(topic), timeout);
        // What librdkafka has said about it waits here.
        self.client.poll(Duration::from_millis(1));
        match asked {
            Ok(metadata) => {
                client.context().set(None);
                Ok(metadata)
            }
            Err(error) => Err(match client.context().get() {
                Some(reason) => anyhow!("{error}: {reason}"),
                None => plain(error),
            }),
        }
    }

    /// # Errors
    /// The broker does not answer.
    pub async fn ready(self) -> Result<()> {
        // Asking takes a thread, which a crowd that asks at once shares, with the answer.
        let mut answer = self.answer.lock().await;
        let answered = match &*answer {
            Some((at, answered)) if at.elapsed() < ANSWER_AGE => answered.clone(),
            _ => {
                let asked = spawn_blocking(move || self.ask(self.topic, READY_TIMEOUT));
                let answered = asked.await?.map(drop);
                let answered = answered.map_err(|error| format!("{error:#}"));
                *answer = Some((Instant::now(), answered.clone()));
                answered
            }
        };
        answered.map_err(anyhow::Error::msg)
    }
}

/// Why a client could not be made. The value of a property can be a password, and is not told.
pub fn unusable(error: KafkaError) -> anyhow::Error {
    let cause = match error {
        KafkaError::ClientConfig(_, description, name, _) => anyhow!("{name}: {description}"),
        other => plain(other),
    };
    cause.context("cannot set up a Kafka client; is REDPANDA_PROPERTIES right?")
}

/// The text of such an error holds its cause already.
pub fn plain(error: KafkaError) -> anyhow::Error {
    anyhow!("{error}")
}

fn new_topic(topic: &Topic, replication: i32) -> NewTopic<'_> {
    let replication = TopicReplication::Fixed(replication);
    let new = NewTopic::new(&topic.name, topic.partitions, replication);
    match topic.compacted {
        true => new.set("cleanup.policy", "compact"),
        false => new,
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use rdkafka::mocking::MockCluster;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn broker_without_an_admin_api_is_opened() {
        let cluster = MockCluster::new(1).unwrap();
        let config = config::Broker::for_test(&[cluster.bootstrap_servers()]);
        let topic = Topic {
            name: "a".to_owned(),
            partitions: 1,
            compacted: true,
        };
        let broker = Broker::open(&config, slice::from_ref(&topic))
            .await
            .unwrap();
        broker.ready().await.unwrap();
        assert!(!broker.exists("a".to_owned()).await.unwrap());
        cluster.create_topic("a", 1, 1).unwrap();
        assert!(broker.exists("a".to_owned()).await.unwrap());
        cluster.broker_down(1).unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        while broker.ready().await.is_ok() {
            assert!(Instant::now() < patience, "ready without a broker");
            sleep(ANSWER_AGE).await;
        }
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

    #[tokio::test(flavor = "multi_thread")]
    async fn crowd_that_asks_whether_the_broker_is_ready_waits_for_one_answer() {
        let config = config::Broker::for_test(&["127.0.0.1:9".to_owned()]);
        let broker = Broker::connect(&config).unwrap();
        // One after the other would take far longer than the patience.
        let crowd = futures_util::future::join_all((0..200).map(|_| broker.ready()));
        let answers = tokio::time::timeout(10 * READY_TIMEOUT, crowd)
            .await
            .unwrap();
        assert!(answers.iter().all(Result::is_err));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reason_why_the_broker_is_not_reached_is_told() {
        // Nobody listens there when it has gone.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let servers = slice::from_ref(&address);
        let broker = Broker::connect(&config::Broker::for_test(servers)).unwrap();
        let error = format!("{:#}", broker.exists("a".to_owned()).await.unwrap_err());
        assert!(error.contains(&address), "{error}");
        assert!(error.contains("refused"), "{error}");
        let error = format!("{:#}", broker.ready().await.unwrap_err());
        assert!(error.contains("refused"), "{error}");
    }

    #[test]
    fn promises_win_over_the_properties_and_these_over_the_rest() {
        let mut config = config::Broker::for_test(&["127.0.0.1:9".to_owned()]);
        let further = [
            ("acks", "0"),
            ("linger.ms", "7"),
            ("bootstrap.servers", "x:1"),
        ];
        config.redpanda_properties.0 = further.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let settings = settings(&config, &[("linger.ms", "1")], &[("acks", "all")]);
        let got = ["acks", "linger.ms", "bootstrap.servers"].map(|name| settings.get(name));
        assert_eq!(got, [Some("all"), Some("7"), Some("127.0.0.1:9")]);
    }
}
