//! What holds for the stores alike, and what a restart finds in Cassandra.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::*;

const SOURCE: &str = "group/topic";

fn config(storage: Storage, keyspace: &str) -> config::Store {
    let nodes = std::env::var("CASSANDRA_NODES").unwrap_or("127.0.0.1:9042".to_owned());
    config::Store {
        storage,
        cassandra_nodes: vec![nodes],
        cassandra_keyspace: keyspace.to_owned(),
        cassandra_replication: 1,
    }
}

/// A keyspace that no other test and no earlier run has used.
fn fresh() -> config::Store {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    config(
        Storage::Cassandra,
        &format!("test_{now}_{}_{number}", std::process::id()),
    )
}

fn event(number: usize) -> Event {
    Event {
        domain: (!number.is_multiple_of(7)).then(|| format!("{}.wikipedia.org", number % 5)),
        user: (!number.is_multiple_of(11)).then(|| format!("user {}", number % 300)),
        bot: number.is_multiple_of(3),
        ..Event::default()
    }
}

/// Thousands of events in slices of several sizes, the last of them odd; a user's are in one of three partitions.
async fn fill(store: &StatsStore, numbers: std::ops::Range<usize>) {
    let events: Vec<Event> = numbers.clone().map(event).collect();
    let mut written = numbers.start;
    for slice in events.chunks(777) {
        written += slice.len();
        for partition in 0..3 {
            let key = |event: &Event| event.user.as_ref().map_or(0, String::len) % 3;
            let share = slice.iter().filter(|event| key(event) == partition);
            let share: Vec<Event> = share.cloned().collect();
            let recorded = store.record(partition as i32, &share, written as i64);
            recorded.await.unwrap();
        }
    }
}

async fn open(config: &config::Store) -> StatsStore {
    StatsStore::open(config, SOURCE).await.unwrap()
}

async fn session(config: &config::Store) -> scylla::client::session::Session {
    let session = scylla::client::session_builder::SessionBuilder::new();
    let session = session.known_nodes(&config.cassandra_nodes);
    session.build().await.unwrap()
}

async fn drop_keyspace(config: &config::Store) {
    let session = session(config).await;
    let statement = format!("DROP KEYSPACE {}", config.cassandra_keyspace);
    session.query_unpaged(statement, ()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn cassandra_counts_as_memory_does_and_a_restart_keeps_it() {
    let config = fresh();
    let memory = StatsStore::Memory(Arc::default());
    fill(&memory, 0..10_000).await;
    let first = open(&config).await;
    assert_eq!(first.snapshot(1000).await.unwrap(), Snapshot::default());
    fill(&first, 0..4_000).await;
    drop(first);
    let second = open(&config).await;
    assert_eq!(second.snapshot(1000).await.unwrap().messages, 4_000);
    fill(&second, 4_000..10_000).await;
    assert_eq!(
        second.snapshot(1000).await.unwrap(),
        memory.snapshot(1000).await.unwrap()
    );
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn write_whose_outcome_was_unknown_is_the_same_written_again() {
    let config = fresh();
    let one = open(&config).await;
    let other = open(&config).await;
    for partition in 0..3 {
        one.record(partition, &[], 0).await.unwrap();
        other.record(partition, &[], 0).await.unwrap();
    }
    // Both know the same totals: what `one` wrote is what `other` writes again.
    fill(&one, 0..500).await;
    fill(&other, 0..500).await;
    let snapshot = other.snapshot(1000).await.unwrap();
    assert_eq!(snapshot.messages, 500);
    assert_eq!(snapshot.messages, snapshot.by_domain.values().sum::<u64>());
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn partition_is_loaded_again_after_it_was_forgotten_and_counted_by_another() {
    let config = fresh();
    let memory = StatsStore::Memory(Arc::default());
    fill(&memory, 0..6_000).await;
    let one = open(&config).await;
    let other = open(&config).await;
    fill(&one, 0..2_000).await;
    fill(&other, 2_000..4_000).await;
    one.forget().await;
    fill(&one, 4_000..6_000).await;
    assert_eq!(
        other.snapshot(1000).await.unwrap(),
        memory.snapshot(1000).await.unwrap()
    );
    let other_source = StatsStore::open(&config, "group/other").await.unwrap();
    assert_eq!(
        other_source.snapshot(1000).await.unwrap(),
        Snapshot::default()
    );
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn next_offset_stands_beside_the_totals() {
    let config = fresh();
    let store = open(&config).await;
    store.record(3, &[event(0)], 7).await.unwrap();
    store.record(3, &[], 9).await.unwrap();
    let keyspace = &config.cassandra_keyspace;
    let text =
        format!("SELECT next_offset FROM {keyspace}.totals WHERE source = ? AND partition = 3");
    let session = session(&config).await;
    let result = session.query_unpaged(text, (SOURCE,)).await.unwrap();
    let result = result.into_rows_result().unwrap();
    assert_eq!(result.first_row::<(i64,)>().unwrap(), (9,));
    drop_keyspace(&config).await;
}

/// Three thousand users who overtake each other: most of them are among the first for a while.
#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn first_users_are_right_whoever_was_among_them_before() {
    let config = fresh();
    let memory = StatsStore::Memory(Arc::default());
    let store = open(&config).await;
    for next_offset in 1..60 {
        let slice: Vec<Event> = (0..300)
            .map(|_| Event {
                user: Some(format!("user {}", fastrand::usize(..3000))),
                ..Event::default()
            })
            .collect();
        memory.record(0, &slice, next_offset).await.unwrap();
        store.record(0, &slice, next_offset).await.unwrap();
        if next_offset == 30 {
            store.forget().await;
        }
    }
    for top in [1, 100, 1000] {
        assert_eq!(
            store.snapshot(top).await.unwrap(),
            memory.snapshot(top).await.unwrap()
        );
    }
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn every_snapshot_among_writes_is_of_one_moment() {
    let config = fresh();
    let store = open(&config).await;
    let writing = fill(&store, 0..20_000);
    let reading = async {
        let mut last = 0;
        while last < 20_000 {
            let snapshot = store.snapshot(1000).await.unwrap();
            assert_eq!(snapshot.messages, snapshot.bots + snapshot.non_bots);
            assert_eq!(snapshot.messages, snapshot.by_domain.values().sum::<u64>());
            assert!(snapshot.messages >= last);
            last = snapshot.messages;
        }
    };
    tokio::join!(writing, reading);
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn names_of_any_length_and_kind_are_written() {
    let config = fresh();
    let store = open(&config).await;
    let names = [
        "x".repeat(512),
        "'; DROP".to_owned(),
        "\0\u{FFFD}é😀".to_owned(),
    ];
    let events = names.map(|name| Event {
        domain: Some(name.clone()),
        user: Some(name),
        ..Event::default()
    });
    store.record(5, &events, 1).await.unwrap();
    let snapshot = open(&config).await.snapshot(1000).await.unwrap();
    assert_eq!((snapshot.by_domain.len(), snapshot.distinct_users), (3, 3));
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn users_are_kept() {
    let config = fresh();
    let store = open(&config).await;
    store.put_user("Alice", "old").await.unwrap();
    store.put_user("Alice", "new").await.unwrap();
    let store = open(&config).await;
    assert_eq!(
        store.password_hash("Alice").await.unwrap().as_deref(),
        Some("new")
    );
    assert_eq!(store.password_hash("Bob").await.unwrap(), None);
    assert_eq!(store.password_hash("").await.unwrap(), None);
    store.ready().await.unwrap();
    drop_keyspace(&config).await;
}

#[tokio::test(start_paused = true)]
async fn cassandra_that_does_not_come_is_a_clear_error() {
    let mut config = config(Storage::Cassandra, "never");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.cassandra_nodes = vec![closed.to_string()];
    let started = Instant::now();
    let error = StatsStore::open(&config, SOURCE)
        .await
        .err()
        .unwrap()
        .to_string();
    let expected = format!("Cassandra at {closed} (CASSANDRA_NODES) could not be used for 120 s");
    assert_eq!(error, expected);
    assert!((110..=120).contains(&started.elapsed().as_secs()));
}
