//! Totals in Cassandra. This process is the only writer of its source: it loads the totals once and writes each
//! change as an absolute value, so that a write whose outcome is unknown is simply written again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use futures_util::TryStreamExt;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::timestamp_generator::MonotonicTimestampGenerator;
use scylla::statement::batch::Batch;
use scylla::statement::batch::BatchType;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::MaybeUnset;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio::time::timeout_at;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::event::Event;
use crate::resume::Resume;
use crate::stats::Delta;
use crate::stats::Snapshot;
use crate::stats::Totals;

const SCHEMA: &str = include_str!("../../db/init.cql");

/// How long a start waits for Cassandra, which takes a minute to start itself on a small machine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one attempt of it may take, the loading of the totals included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// For one request. What it may have done is not known then, and the write is made again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `/ready` waits for an answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Which totals these are, in the column `source`, and its only partition.
const SOURCE: &str = "stream";
const PARTITION: i32 = 0;

const COUNT: &str = "count";
const DOMAIN: &str = "domain";
/// Sorts after the other kinds, so that `/stats` reads all but the users in one slice.
const USER: &str = "user";

/// `source`, `partition`, `kind`, `name`, `value`, and the cursor in the first row of a batch.
type Row<'a> = (&'a str, i32, &'a str, &'a str, i64, MaybeUnset<&'a str>);

pub struct CassandraStats {
    session: Session,
    insert_row: PreparedStatement,
    select_shown: PreparedStatement,
    insert_user: PreparedStatement,
    select_user: PreparedStatement,
    select_ready: PreparedStatement,
    /// As they stand in Cassandra.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    totals: Totals,
    resume: Resume,
}

impl CassandraStats {
    /// Connects, creates what is missing, and loads the totals; tries for two minutes.
    pub async fn open(config: &config::Store) -> Result<Self> {
        let nodes = config.cassandra_nodes.join(",");
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let mut wait = Duration::from_millis(500);
        loop {
            let attempt = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            let error = match timeout_at(attempt, Self::try_open(config)).await {
                Ok(Ok(store)) => return Ok(store),
                Ok(Err(error)) => error,
                Err(_) => anyhow!("no answer in time"),
            };
            if Instant::now() + wait > deadline {
                let seconds = OPEN_TIMEOUT.as_secs();
                return Err(error.context(format!(
                    "Cassandra at {nodes} (CASSANDRA_NODES) could not be used for {seconds} s"
                )));
            }
            warn!(nodes, ?wait, "waiting for Cassandra: {error:#}");
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    async fn try_open(config: &config::Store) -> Result<Self> {
        let profile = ExecutionProfile::builder()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .build();
        let session = SessionBuilder::new()
            .known_nodes(&config.cassandra_nodes)
            .connection_timeout(REQUEST_TIMEOUT)
            .default_execution_profile_handle(profile.into_handle())
            // Of two writes the later must win, whichever node's clock is ahead.
            .timestamp_generator(Arc::new(MonotonicTimestampGenerator::new()))
            .build()
            .await
            .context("cannot connect")?;
        for statement in schema(config)
            .split(';')
            .filter(|text| text.contains("CREATE"))
        {
            session
                .query_unpaged(statement, ())
                .await
                .context("cannot create the schema")?;
        }
        let keyspace = &config.cassandra_keyspace;
        let prepare = async |text: &str| {
            let mut statement = session.prepare(text.replace("analytics", keyspace)).await?;
            statement.set_is_idempotent(true);
            anyhow::Ok(statement)
        };
        let store = Self {
            insert_row: prepare(
                "INSERT INTO analytics.totals (source, partition, kind, name, value, cursor) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .await?,
            select_shown: prepare(
                "SELECT kind, name, value FROM analytics.totals \
                 WHERE source = ? AND partition = ? AND kind < 'user'",
            )
            .await?,
            insert_user: prepare(
                "INSERT INTO analytics.users (username, password_hash) VALUES (?, ?)",
            )
            .await?,
            select_user: prepare("SELECT password_hash FROM analytics.users WHERE username = ?")
                .await?,
            select_ready: prepare("SELECT cluster_name FROM system.local").await?,
            state: Mutex::new(
                load(&session, keyspace)
                    .await
                    .context("cannot load the totals")?,
            ),
            session,
        };
        info!(
            keyspace,
            messages = store.state.lock().await.totals.messages,
            "Cassandra is open"
        );
        Ok(store)
    }

    pub async fn resume(&self) -> Resume {
        self.state.lock().await.resume.clone()
    }

    pub async fn record(&self, events: &[Event], resume: &Resume) -> Result<()> {
        let mut state = self.state.lock().await;
        let delta = Delta::of(events);
        let cursor = resume.to_string();
        let rows = rows(&state.totals, &delta, &cursor);
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        for _ in &rows {
            batch.append_statement(self.insert_row.clone());
        }
        self.session
            .batch(&batch, &rows)
            .await
            .context("cannot write the totals")?;
        drop(rows);
        state.totals.add(&delta);
        state.resume = resume.clone();
        Ok(())
    }

    /// One read of one partition: all of it is of one moment, as it was written.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let result = self
            .session
            .execute_unpaged(&self.select_shown, (SOURCE, PARTITION))
            .await;
        let result = result
            .context("cannot read the totals")?
            .into_rows_result()?;
        let mut snapshot = Snapshot::default();
        for row in result.rows::<(&str, &str, i64)>()? {
            let (kind, name, value) = row?;
            let value = value.cast_unsigned();
            match (kind, name) {
                (DOMAIN, domain) => _ = snapshot.by_domain.insert(domain.to_owned(), value),
                (COUNT, "messages") => snapshot.messages = value,
                (COUNT, "bots") => snapshot.bots = value,
                (COUNT, "distinct_users") => snapshot.distinct_users = value,
                _ => {}
            }
        }
        snapshot.non_bots = snapshot.messages - snapshot.bots;
        Ok(snapshot)
    }

    pub async fn put_user(&self, username: &str, password_hash: &str) -> Result<()> {
        let values = (username, password_hash);
        let result = self
            .session
            .execute_unpaged(&self.insert_user, values)
            .await;
        result.context("cannot write the user")?;
        Ok(())
    }

    pub async fn password_hash(&self, username: &str) -> Result<Option<String>> {
        if username.is_empty() {
            return Ok(None); // Cassandra takes no empty key.
        }
        let result = self
            .session
            .execute_unpaged(&self.select_user, (username,))
            .await;
        let result = result.context("cannot read the user")?.into_rows_result()?;
        Ok(result.maybe_first_row::<(String,)>()?.map(|(hash,)| hash))
    }

    pub async fn ready(&self) -> Result<()> {
        let answer = self.session.execute_unpaged(&self.select_ready, ());
        timeout(READY_TIMEOUT, answer)
            .await
            .context("Cassandra does not answer")??;
        Ok(())
    }
}

/// The schema for the configured keyspace, without the comments, which may hold a semicolon.
fn schema(config: &config::Store) -> String {
    let lines: Vec<&str> = SCHEMA
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect();
    let replication = format!("'replication_factor': {}", config.cassandra_replication);
    let schema = lines
        .join("\n")
        .replace("analytics", &config.cassandra_keyspace);
    schema
        .trim()
        .replace("'replication_factor': 1", &replication)
}

/// What the rows that `delta` touches will hold.
fn rows<'a>(totals: &Totals, delta: &'a Delta, cursor: &'a str) -> Vec<Row<'a>> {
    let row = |kind, name, value: u64| {
        (
            SOURCE,
            PARTITION,
            kind,
            name,
            value.cast_signed(),
            MaybeUnset::Unset,
        )
    };
    let known = |user: &str| totals.by_user.get(user).copied().unwrap_or_default();
    let new_users = delta.by_user.keys().filter(|user| known(user) == 0).count();
    let mut rows = vec![
        row(COUNT, "messages", totals.messages + delta.messages),
        row(COUNT, "bots", totals.bots + delta.bots),
        row(
            COUNT,
            "distinct_users",
            (totals.by_user.len() + new_users) as u64,
        ),
    ];
    rows[0].5 = MaybeUnset::Set(cursor);
    for (domain, count) in &delta.by_domain {
        let before = totals.by_domain.get(*domain).copied().unwrap_or_default();
        rows.push(row(DOMAIN, domain, before + count));
    }
    for (user, count) in &delta.by_user {
        rows.push(row(USER, user, known(user) + count));
    }
    rows
}

/// All totals and the place that they belong to, read in pages.
async fn load(session: &Session, keyspace: &str) -> Result<State> {
    let text = format!(
        "SELECT kind, name, value, cursor FROM {keyspace}.totals WHERE source = ? AND partition = ?"
    );
    let pages = session.query_iter(text, (SOURCE, PARTITION)).await?;
    let mut rows = pages.rows_stream::<(String, String, i64, Option<String>)>()?;
    let mut state = State::default();
    let mut cursor = None;
    while let Some((kind, name, value, place)) = rows.try_next().await? {
        let value = value.cast_unsigned();
        cursor = place.or(cursor);
        match (kind.as_str(), name.as_str()) {
            (USER, _) => _ = state.totals.by_user.insert(name.into(), value),
            (DOMAIN, _) => _ = state.totals.by_domain.insert(name, value),
            (COUNT, "messages") => state.totals.messages = value,
            (COUNT, "bots") => state.totals.bots = value,
            _ => {}
        }
    }
    if let Some(cursor) = cursor {
        state.resume = cursor
            .parse()
            .map_err(anyhow::Error::msg)
            .context("bad cursor")?;
    }
    Ok(state)
}
