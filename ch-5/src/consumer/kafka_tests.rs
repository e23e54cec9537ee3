//! The consumer against a broker in this process.

use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::FutureProducer;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;

use super::*;
use crate::broker::ready::Broker;
use crate::config::Storage;
use crate::store::Failures;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A group's first rebalance takes 3 s here.
const DEADLINE: Duration = Duration::from_secs(60);

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("wikipedia.changes", partitions, 1).unwrap();
    cluster
}

fn config(cluster: &Cluster, storage: Storage) -> config::Consumer {
    let mut broker = config::Broker::for_test(&[cluster.bootstrap_servers()]);
    // When a member has left, this broker lets the next one wait for a whole session.
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

async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !reached().await {
        assert!(begun.elapsed() < DEADLINE, "never came to {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_counted(store: &StatsStore, messages: u64) {
    let counted = async || store.snapshot(1).await.unwrap().messages == messages;
    until(&format!("{messages} messages"), counted).await;
}

/// Runs a consumer beside `work`, and well to its end.
async fn run_beside(config: config::Consumer, store: &StatsStore, work: impl Future<Output = ()>) {
    let shutdown = CancellationToken::new();
    let running = run(config, Counters::default(), store.clone(), shutdown.clone());
    let running = tokio::spawn(running);
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

/// With a store that keeps what it has, a second consumer goes on where the first one ended.
#[tokio::test(flavor = "multi_thread")]
async fn next_consumer_goes_on_after_what_was_written() {
    let cluster = cluster(2);
    produce(&cluster, &[GOOD; 10]).await;
    let first = StatsStore::failing(2, 3);
    run_until(config(&cluster, Storage::Cassandra), &first, 10).await;
    produce(&cluster, &[GOOD; 5]).await;
    let second = StatsStore::Memory(Arc::default());
    run_until(config(&cluster, Storage::Cassandra), &second, 5).await;
}

/// Nothing was committed for what could not be written, so it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_is_not_committed() {
    let cluster = cluster(1);
    produce(&cluster, &[GOOD; 10]).await;
    let failures = Arc::new(Failures::default());
    failures.writes.store(u32::MAX, Ordering::SeqCst);
    let failing = StatsStore::Failing(Arc::default(), Arc::clone(&failures));
    let tried = async || failures.writes.load(Ordering::SeqCst) < u32::MAX;
    let config_of = || config(&cluster, Storage::Cassandra);
    run_beside(config_of(), &failing, until("a write", tried)).await;
    let second = StatsStore::Memory(Arc::default());
    run_until(config_of(), &second, 10).await;
}

/// Also beside another one: each has all partitions to itself.
#[tokio::test(flavor = "multi_thread")]
async fn memory_store_counts_everything_from_the_first_message_every_time() {
    let cluster = cluster(3);
    produce(&cluster, &[GOOD; 10]).await;
    for _ in 0..2 {
        let stores = [(); 2].map(|()| StatsStore::Memory(Arc::default()));
        let [one, other] = [0, 1].map(|number| {
            let config = config(&cluster, Storage::Memory);
            run_until(config, &stores[number], 10)
        });
        tokio::join!(one, other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_goes_away_and_fails_is_ridden_out() {
    let cluster = cluster(1);
    produce(&cluster, &[GOOD; 10]).await;
    let store = StatsStore::Memory(Arc::default());
    let config = config(&cluster, Storage::Memory);
    let broker = Broker::connect(&config.broker).unwrap();
    let work = async {
        until_counted(&store, 10).await;
        cluster.broker_down(1).unwrap();
        let away = async || broker.ready().await.is_err();
        until("a broker that is away", away).await;
        cluster.broker_up(1).unwrap();
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        cluster.request_errors(RDKafkaApiKey::Fetch, &[error; 5]);
        produce(&cluster, &[GOOD; 10]).await;
        until_counted(&store, 20).await;
    };
    run_beside(config, &store, work).await;
}
