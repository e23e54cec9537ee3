//! Tests that both stores must pass, and tests of what a restart finds in Cassandra.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;

use super::*;

const SOURCE: &str = "stream";

/// A keyspace that no other test and no earlier run has used.
fn fresh() -> config::Store {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let keyspace = format!("test_{now}_{}_{number}", std::process::id());
    config::for_test(&["--storage=cassandra", "--cassandra-keyspace", &keyspace])
}

fn event(number: usize) -> Event {
    Event {
        domain: (!number.is_multiple_of(7)).then(|| format!("{}.wikipedia.org", number % 5)),
        user: (!number.is_multiple_of(11)).then(|| format!("user {}", number % 300)),
        bot: number.is_multiple_of(3),
        ..Event::default()
    }
}

fn place(number: usize) -> Resume {
    format!(r#"[{{"timestamp":{number}}}]"#).parse().unwrap()
}

/// Thousands of events in slices of several sizes, the last of them odd.
async fn fill(store: &StatsStore, numbers: std::ops::Range<usize>) {
    let events: Vec<Event> = numbers.clone().map(event).collect();
    let mut written = numbers.start;
    for slice in events.chunks(777) {
        written += slice.len();
        store.record(slice, &place(written)).await.unwrap();
    }
}

async fn open(config: &config::Store) -> StatsStore {
    StatsStore::open(config, SOURCE).await.unwrap()
}

async fn loaded(config: &config::Store) -> StatsStore {
    let store = open(config).await;
    store.load().await.unwrap();
    store
}

async fn snapshot(store: &StatsStore) -> Snapshot {
    store.snapshot().await.unwrap()
}

/// A timestamp that is an hour ahead.
fn in_an_hour() -> i64 {
    session::timestamp_after(0) + 3_600_000_000
}

async fn drop_keyspace(config: &config::Store) {
    let session = session::open(config).await.unwrap();
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
    assert_eq!(snapshot(&first).await, Snapshot::default());
    assert_eq!(first.load().await.unwrap(), None);
    fill(&first, 0..4_000).await;
    drop(first);
    let second = open(&config).await;
    assert_eq!(snapshot(&second).await.messages, 4_000);
    assert_eq!(second.load().await.unwrap(), Some(place(4_000).to_string()));
    fill(&second, 4_000..10_000).await;
    assert_eq!(snapshot(&second).await, snapshot(&memory).await);
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn what_a_process_has_written_whose_clock_is_ahead_is_replaced() {
    let config = fresh();
    let memory = StatsStore::Memory(Arc::default());
    fill(&memory, 0..4_000).await;
    let ahead = loaded(&config).await;
    let StatsStore::Cassandra(cassandra) = &ahead else { panic!("opened another store") };
    // From here on its timestamps are those of a clock that is an hour ahead.
    cassandra.totals.lock().await.as_mut().unwrap().written_at = in_an_hour();
    fill(&ahead, 0..2_000).await;
    let store = loaded(&config).await;
    fill(&store, 2_000..4_000).await;
    assert_eq!(snapshot(&store).await, snapshot(&memory).await);
    assert_eq!(store.load().await.unwrap(), Some(place(4_000).to_string()));
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn nothing_is_written_over_totals_that_are_not_loaded() {
    let config = fresh();
    let store = open(&config).await;
    store.record(&[event(0)], &place(1)).await.unwrap_err();
    assert_eq!(snapshot(&store).await, Snapshot::default());
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn write_whose_outcome_was_unknown_is_the_same_written_again() {
    let config = fresh();
    let one = loaded(&config).await;
    let other = loaded(&config).await;
    // Both have loaded the same totals, so `other` writes the same values as `one`.
    fill(&one, 0..500).await;
    fill(&other, 0..500).await;
    let snapshot = snapshot(&other).await;
    assert_eq!(snapshot.messages, 500);
    assert_eq!(snapshot.messages, snapshot.by_domain.values().sum::<u64>());
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn every_snapshot_among_writes_is_of_one_moment() {
    let config = fresh();
    let store = loaded(&config).await;
    let writing = fill(&store, 0..20_000);
    let reading = async {
        let mut last = 0;
        while last < 20_000 {
            let snapshot = snapshot(&store).await;
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
    let store = loaded(&config).await;
    let names = ["x".repeat(512), "'; DROP".to_owned(), "\0\u{FFFD}é😀".to_owned()];
    let events = names.map(|name| Event {
        domain: Some(name.clone()),
        user: Some(name),
        ..Event::default()
    });
    store.record(&events, &place(1)).await.unwrap();
    let snapshot = snapshot(&open(&config).await).await;
    assert_eq!((snapshot.by_domain.len(), snapshot.distinct_users), (3, 3));
    drop_keyspace(&config).await;
}

/// A restart after each slice.
#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn names_of_domains_are_bounded_after_a_restart_too() {
    let config = fresh();
    let memory = StatsStore::Memory(Arc::default());
    for start in (0..5_000).step_by(1_250) {
        let names = (start..start + 2_500).map(|number| Some(format!("{number}.invalid")));
        let slice: Vec<Event> = names.map(|domain| Event { domain, ..Event::default() }).collect();
        for store in [&memory, &loaded(&config).await] {
            store.record(&slice, &place(start)).await.unwrap();
        }
    }
    let shown = snapshot(&open(&config).await).await;
    assert_eq!(shown, snapshot(&memory).await);
    assert!(shown.by_domain.len() < 5_000, "{} names", shown.by_domain.len());
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn users_are_kept() {
    let config = fresh();
    let store = open(&config).await;
    store.put_only_user("Alice", "old").await.unwrap();
    store.put_only_user("Alice", "new").await.unwrap();
    let store = open(&config).await;
    let hash = store.password_hash("Alice").await.unwrap();
    assert_eq!(hash.as_deref(), Some("new"));
    assert_eq!(store.password_hash("Bob").await.unwrap(), None);
    assert_eq!(store.password_hash("").await.unwrap(), None);
    store.ready().await.unwrap();
    drop_keyspace(&config).await;
}

/// Also where the clock of the process that wrote the user before was ahead.
#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn user_of_the_configuration_replaces_all_others() {
    let config = fresh();
    let cassandra = open(&config).await;
    let insert = format!(
        "INSERT INTO users (username, password_hash) VALUES ('Alice', 'old') USING TIMESTAMP {}",
        in_an_hour()
    );
    session::open(&config).await.unwrap().query_unpaged(insert, ()).await.unwrap();
    let memory = StatsStore::Memory(Arc::default());
    memory.put_only_user("Alice", "old").await.unwrap();
    for store in [cassandra, memory] {
        let hash = async |username| store.password_hash(username).await.unwrap();
        for (user, hashes) in [("Alice", "new"), ("Bob", "other"), ("Alice", "newer")] {
            let other = if user == "Alice" { "Bob" } else { "Alice" };
            let is_there = hash(other).await.map(|_| other.to_owned());
            let closed = store.put_only_user(user, hashes).await.unwrap();
            assert_eq!(closed, Vec::from_iter(is_there));
            assert_eq!(hash(user).await.as_deref(), Some(hashes));
            assert_eq!(hash(other).await, None);
        }
    }
    drop_keyspace(&config).await;
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn store_that_cannot_work_says_what_is_missing() {
    let config = fresh();
    let keyspace = &config.cassandra_keyspace;
    let store = loaded(&config).await;
    let session = session::open(&config).await.unwrap();
    let copies = |count: u8| {
        format!(
            "ALTER KEYSPACE {keyspace} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': {count}}}"
        )
    };
    for (statement, missing) in [
        (copies(3), format!("Cassandra has no quorum for keyspace {keyspace}")),
        (copies(1), String::new()),
        (
            "ALTER TABLE totals DROP cursor".to_owned(),
            "the totals cannot be loaded or written".to_owned(),
        ),
        ("DROP TABLE users".to_owned(), format!("Cassandra has no table {keyspace}.users")),
        ("DROP TABLE totals".to_owned(), format!("Cassandra has no table {keyspace}.totals")),
        (format!("DROP KEYSPACE {keyspace}"), format!("Cassandra has no table {keyspace}.totals")),
    ] {
        session.query_unpaged(statement.as_str(), ()).await.unwrap();
        let _ = store.record(&[event(0)], &place(1)).await;
        let said = store.ready().await.err().map(|error| error.to_string());
        assert_eq!(said.unwrap_or_default(), missing, "{statement}");
    }
}

#[tokio::test]
#[ignore = "needs Cassandra: cargo lab services up"]
async fn table_of_another_program_ends_the_start_at_once() {
    for table in ["users (id int PRIMARY KEY, name text)", "totals (source text PRIMARY KEY)"] {
        let config = fresh();
        let session = session::open(&config).await.unwrap();
        let (name, _) = table.split_once(' ').unwrap();
        for statement in [format!("DROP TABLE {name}"), format!("CREATE TABLE {table}")] {
            session.query_unpaged(statement, ()).await.unwrap();
        }
        let opened = timeout(Duration::from_secs(30), StatsStore::open(&config, SOURCE)).await;
        let error = format!("{:#}", opened.unwrap().err().unwrap());
        assert!(error.starts_with("CASSANDRA_KEYSPACE"), "{error}");
        assert!(error.contains(&config.cassandra_keyspace) && error.contains(name), "{error}");
        drop_keyspace(&config).await;
    }
}

#[tokio::test(start_paused = true)]
async fn port_that_accepts_and_never_answers_is_an_error_soon() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = fresh();
    config.cassandra_nodes = vec![mute.local_addr().unwrap().to_string()];
    let started = Instant::now();
    let error = format!("{:#}", session::open(&config).await.err().unwrap());
    assert!(error.contains("no answer in 8 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn cassandra_that_does_not_come_is_a_clear_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let mut config = fresh();
    config.cassandra_nodes = vec![closed.to_string()];
    let started = Instant::now();
    let opened = StatsStore::open(&config, SOURCE).await;
    let error = opened.err().unwrap().to_string();
    let expected = format!("Cassandra at {closed} (CASSANDRA_NODES) could not be used for 120 s");
    assert_eq!(error, expected);
    assert!((110..=120).contains(&started.elapsed().as_secs()));
}
