//! Tests the consumer with a broker in the same process.

use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::sleep;

use super::*;
use crate::auth::EXAMPLE_HASH;
use crate::auth::EXAMPLE_SECRET;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// With this broker, the first assignment of a group takes 3 s.
const DEADLINE: Duration = Duration::from_secs(60);

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("wikipedia.changes", partitions, 1).unwrap();
    cluster
}

fn config(cluster: &Cluster, storage: &str) -> config::Consumer {
    let servers = cluster.bootstrap_servers();
    // After a member has left, this broker makes the next one wait for a whole session timeout.
    let broker = ["--redpanda-broker", &servers, "--redpanda-properties=session.timeout.ms=6000"];
    let auth = ["--jwt-secret", EXAMPLE_SECRET, "--admin-username", "admin"];
    let store = ["--admin-password-hash", EXAMPLE_HASH, "--storage", storage];
    config::for_test(&[&broker[..], &auth, &store].concat())
}

async fn produce(cluster: &Cluster, events: usize) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: FutureProducer = settings.create().unwrap();
    for number in 0..events {
        let key = number.to_string();
        let record = FutureRecord::to("wikipedia.changes").key(&key).payload(r#"{"bot":true}"#);
        producer.send(record, DEADLINE).await.unwrap();
    }
}

async fn until(reached: impl AsyncFn() -> bool) {
    let waiting = async {
        while !reached().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap();
}

/// Runs a consumer while `work` is done, and then ends it cleanly.
async fn run_beside(config: config::Consumer, store: &StatsStore, work: impl AsyncFnOnce(Health)) {
    let (shutdown, health) = (CancellationToken::new(), Health::default());
    let consumer =
        run(config, Counters::default(), store.clone(), health.clone(), shutdown.clone());
    let running = tokio::spawn(consumer);
    work(health).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn run_until(config: config::Consumer, store: &StatsStore, messages: u64) {
    let counted = async || store.snapshot(1).await.unwrap().messages == messages;
    run_beside(config, store, async |_| until(counted).await).await;
}

/// The first consumer writes nothing, so it commits nothing.
#[tokio::test(flavor = "multi_thread")]
async fn next_consumer_goes_on_after_what_was_written() {
    let cluster = cluster(2);
    produce(&cluster, 10).await;
    let config = || config(&cluster, "cassandra");
    let first = StatsStore::failing(0, u32::MAX);
    let StatsStore::Failing(_, failures) = &first else { panic!("another store") };
    let tried = async || failures.writes.load(Ordering::SeqCst) < u32::MAX;
    run_beside(config(), &first, async |_| until(tried).await).await;
    run_until(config(), &StatsStore::failing(2, 3), 10).await;
    produce(&cluster, 5).await;
    run_until(config(), &StatsStore::Memory(Arc::default()), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_forgets_is_ready_when_all_is_counted() {
    let cluster = cluster(3);
    produce(&cluster, 2_000).await;
    let store = StatsStore::Memory(Arc::default());
    let work = async |health: Health| {
        let lacks = || health.lacking().as_ref().is_some_and(|what| what.contains("not assigned"));
        until(async || lacks()).await;
        until(async || health.ready().await.is_ok()).await;
        assert_eq!(store.snapshot(1).await.unwrap().messages, 2_000);
    };
    run_beside(config(&cluster, "memory"), &store, work).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_that_the_group_refuses_says_so_until_it_is_taken() {
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    ] {
        let cluster = cluster(1);
        cluster.request_errors(RDKafkaApiKey::JoinGroup, &[refusal; 10_000]);
        let name = RDKafkaErrorCode::from(refusal).to_string();
        let work = async |health: Health| {
            let lacks = || health.lacking().as_ref().is_some_and(|what| what.contains(&name));
            until(async || lacks()).await;
            cluster.clear_request_errors(RDKafkaApiKey::JoinGroup);
            until(async || health.ready().await.is_ok()).await;
        };
        let store = StatsStore::Memory(Arc::default());
        run_beside(config(&cluster, "cassandra"), &store, work).await;
    }
}
