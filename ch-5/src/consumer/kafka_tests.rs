//! Tests the consumer with a broker in the same process.

use std::sync::Arc;

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::sleep;

use super::*;
use crate::broker::ready::Broker;
use crate::config::Storage;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// With this broker, the first assignment of a group takes 3 s.
const DEADLINE: Duration = Duration::from_secs(60);

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("wikipedia.changes", partitions, 1).unwrap();
    cluster
}

fn config(cluster: &Cluster, storage: Storage) -> config::Consumer {
    let mut broker = config::Broker::for_test(&[cluster.bootstrap_servers()]);
    // After a member has left, this broker makes the next one wait for a whole session timeout.
    let session = ("session.timeout.ms".to_owned(), "6000".to_owned());
    broker.redpanda_properties.0 = vec![session];
    config::Consumer {
        http_addr: "127.0.0.1:0".parse().unwrap(),
        broker,
        consumer_group: "group".to_owned(),
        store: config::Store {
            storage,
            cassandra_nodes: Vec::new(),
            cassandra_keyspace: "analytics".to_owned(),
            cassandra_replication: 1,
        },
        auth: config::Auth {
            jwt_secret: String::new(),
            admin_username: String::new(),
            admin_password_hash: String::new(),
        },
    }
}

async fn produce(cluster: &Cluster, payloads: &[&str]) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: FutureProducer = settings.create().unwrap();
    for (number, payload) in payloads.iter().enumerate() {
        let key = number.to_string();
        let record = FutureRecord::to("wikipedia.changes").key(&key).payload(*payload);
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

async fn until_counted(store: &StatsStore, messages: u64) {
    until(async || store.snapshot(1).await.unwrap().messages == messages).await;
}

/// Runs a consumer while `work` is done, and then ends it cleanly.
async fn run_beside(config: config::Consumer, store: &StatsStore, work: impl Future<Output = ()>) {
    let shutdown = CancellationToken::new();
    let (counters, health) = (Counters::default(), Health::default());
    let running = tokio::spawn(run(config, counters, store.clone(), health, shutdown.clone()));
    work.await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn run_until(config: config::Consumer, store: &StatsStore, messages: u64) {
    run_beside(config, store, until_counted(store, messages)).await;
}

const GOOD: &str = r#"{"id":"1","domain":"en.wikipedia.org","user":"Alice","bot":true}"#;

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_skipped_and_the_others_counted() {
    let cluster = cluster(2);
    let (good, bad) = ([GOOD; 10], ["", "{", "null", "\0"]);
    produce(&cluster, &[&good[..], &bad, &good].concat()).await;
    let store = StatsStore::Memory(Arc::default());
    run_until(config(&cluster, Storage::Memory), &store, 20).await;
    let by_user = store.snapshot(1).await.unwrap().by_user;
    assert_eq!(by_user, [("Alice".to_owned(), 20)]);
}

/// The first consumer writes nothing, so it commits nothing.
#[tokio::test(flavor = "multi_thread")]
async fn next_consumer_goes_on_after_what_was_written() {
    let cluster = cluster(2);
    produce(&cluster, &[GOOD; 10]).await;
    let config = || config(&cluster, Storage::Cassandra);
    let first = StatsStore::failing(0, u32::MAX);
    let StatsStore::Failing(_, failures) = &first else { panic!("another store") };
    let tried = until(async || failures.writes.load(Ordering::SeqCst) < u32::MAX);
    run_beside(config(), &first, tried).await;
    run_until(config(), &StatsStore::failing(2, 3), 10).await;
    produce(&cluster, &[GOOD; 5]).await;
    run_until(config(), &StatsStore::Memory(Arc::default()), 5).await;
}

/// Of two consumers at the same time, each reads all partitions.
#[tokio::test(flavor = "multi_thread")]
async fn memory_store_counts_everything_from_the_first_message_every_time() {
    let cluster = cluster(3);
    produce(&cluster, &[GOOD; 10]).await;
    for _ in 0..2 {
        let stores = [(); 2].map(|()| StatsStore::Memory(Arc::default()));
        let consumers =
            stores.each_ref().map(|store| run_until(config(&cluster, Storage::Memory), store, 10));
        join_all(consumers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_goes_away_and_fails_is_ridden_out() {
    let cluster = cluster(1);
    produce(&cluster, &[GOOD; 10]).await;
    let store = StatsStore::Memory(Arc::default());
    let config = config(&cluster, Storage::Memory);
    let broker = Broker::connect(&config.broker, vec!["wikipedia.changes".to_owned()]).unwrap();
    let work = async {
        until_counted(&store, 10).await;
        cluster.broker_down(1).unwrap();
        until(async || broker.ready().await.is_err()).await;
        cluster.broker_up(1).unwrap();
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        cluster.request_errors(RDKafkaApiKey::Fetch, &[error; 5]);
        produce(&cluster, &[GOOD; 10]).await;
        until_counted(&store, 20).await;
    };
    run_beside(config, &store, work).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_forgets_is_ready_when_all_is_counted() {
    let cluster = cluster(3);
    produce(&cluster, &[GOOD; 2_000]).await;
    let (store, health) = (StatsStore::Memory(Arc::default()), Health::default());
    let shutdown = CancellationToken::new();
    let config = config(&cluster, Storage::Memory);
    let counters = Counters::default();
    let consumer = run(config, counters, store.clone(), health.clone(), shutdown.clone());
    let stop = async {
        until(async || health.ready().is_err()).await;
        let missing = health.ready().unwrap_err().to_string();
        assert!(missing.contains("not assigned"), "{missing}");
        until(async || health.ready().is_ok()).await;
        assert_eq!(store.snapshot(1).await.unwrap().messages, 2_000);
        shutdown.cancel();
    };
    tokio::join!(consumer, stop).0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_that_the_group_refuses_says_so_until_it_is_taken() {
    for (refusal, name) in [
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
            "InconsistentGroupProtocol",
        ),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, "GroupAuthorizationFailed"),
    ] {
        let cluster = cluster(1);
        cluster.request_errors(RDKafkaApiKey::JoinGroup, &[refusal; 10_000]);
        let (store, health) = (StatsStore::Memory(Arc::default()), Health::default());
        let shutdown = CancellationToken::new();
        let config = config(&cluster, Storage::Cassandra);
        let consumer = run(config, Counters::default(), store, health.clone(), shutdown.clone());
        let stop = async {
            let lacks = |what| health.ready().is_err_and(|error| error.to_string().contains(what));
            until(async || lacks(name)).await;
            cluster.clear_request_errors(RDKafkaApiKey::JoinGroup);
            until(async || health.ready().is_ok()).await;
            shutdown.cancel();
        };
        tokio::join!(consumer, stop).0.unwrap();
    }
}
