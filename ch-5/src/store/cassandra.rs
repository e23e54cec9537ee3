//! Totals in Cassandra. A partition has one writer, the consumer that it is assigned to: it loads the totals once and
//! writes each change as an absolute value, so that a write whose outcome is unknown is simply written again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
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
use crate::stats::Delta;
use crate::stats::Snapshot;
use crate::stats::Totals;

const SCHEMA: &str = include_str!("../../db/init.cql");

/// How long a start waits for Cassandra, which takes a minute to start itself on a small machine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one attempt of it may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// For one request. What it may have done is not known then, and the write is made again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `/ready` waits for an answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Stands for no partition of a topic: its rows name those that have been written.
const INDEX: i32 = -1;
const PARTITION: &str = "partition";

const COUNT: &str = "count";
const DOMAIN: &str = "domain";
/// The users that are among the first have their rows here, the others in `USER`. Who falls out keeps the row, of which
/// nothing is shown: a thousand others of the partition are ahead for ever. (Deleted rows would be read with the rest
/// for ten days, and fail the read from 100,000 on.) So a user may have both, and the higher count holds.
const TOP: &str = "top";
/// Sorts after the other kinds, so that `/stats` reads all but the users in one slice.
const USER: &str = "user";

/// `source`, `partition`, `kind`, `name`, `value`, and the next offset in the first row of a batch.
type Row<'a> = (&'a str, i32, &'a str, &'a str, i64, MaybeUnset<i64>);

pub struct CassandraStats {
    session: Session,
    /// Which totals these are, in the column `source`.
    source: String,
    select_all: PreparedStatement,
    insert_row: PreparedStatement,
    select_shown: PreparedStatement,
    insert_user: PreparedStatement,
    select_user: PreparedStatement,
    select_ready: PreparedStatement,
    /// As they stand in Cassandra, of the partitions that this process has written.
    totals: Mutex<HashMap<i32, Totals>>,
}

impl CassandraStats {
    /// Connects and creates what is missing; tries for two minutes.
    pub async fn open(config: &config::Store, source: &str) -> Result<Self> {
        let nodes = config.cassandra_nodes.join(",");
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let mut wait = Duration::from_millis(500);
        loop {
            let attempt = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            let error = match timeout_at(attempt, Self::try_open(config, source)).await {
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

    async fn try_open(config: &config::Store, source: &str) -> Result<Self> {
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
            source: source.to_owned(),
            select_all: prepare(
                "SELECT kind, name, value FROM analytics.totals \
                 WHERE source = ? AND partition = ?",
            )
            .await?,
            insert_row: prepare(
                "INSERT INTO analytics.totals (source, partition, kind, name, value, next_offset) \
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
            totals: Mutex::default(),
            session,
        };
        info!(keyspace, source, "Cassandra is open");
        Ok(store)
    }

    pub async fn forget(&self) {
        self.totals.lock().await.clear();
    }

    pub async fn record(&self, partition: i32, events: &[Event], next_offset: i64) -> Result<()> {
        let mut partitions = self.totals.lock().await;
        let totals = match partitions.entry(partition) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(
                self.load(partition)
                    .await
                    .context("cannot load the totals")?,
            ),
        };
        let delta = Delta::of(events);
        let rows = rows(&self.source, partition, totals, &delta, next_offset);
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
        totals.add(&delta);
        Ok(())
    }

    pub async fn snapshot(&self, top: usize) -> Result<Snapshot> {
        let index = self
            .session
            .execute_unpaged(&self.select_shown, (&self.source, INDEX))
            .await;
        let index = index
            .context("cannot read which partitions there are")?
            .into_rows_result()?;
        let mut partitions = Vec::new();
        for row in index.rows::<(&str, &str, i64)>()? {
            let (_, number, _) = row?;
            partitions.push(self.partition(number.parse()?));
        }
        Ok(Snapshot::sum(try_join_all(partitions).await?, top))
    }

    /// One read of one partition: all of it is of one moment, as it was written.
    async fn partition(&self, partition: i32) -> Result<Snapshot> {
        let result = self
            .session
            .execute_unpaged(&self.select_shown, (&self.source, partition))
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
                (TOP, user) => snapshot.by_user.push((user.to_owned(), value)),
                (COUNT, "messages") => snapshot.messages = value,
                (COUNT, "bots") => snapshot.bots = value,
                (COUNT, "distinct_users") => snapshot.distinct_users = value,
                _ => {}
            }
        }
        snapshot.non_bots = snapshot.messages - snapshot.bots;
        Ok(snapshot)
    }

    /// All totals of a partition, read in pages.
    async fn load(&self, partition: i32) -> Result<Totals> {
        let number = partition.to_string();
        let row = (
            &self.source,
            INDEX,
            PARTITION,
            number,
            1_i64,
            MaybeUnset::<i64>::Unset,
        );
        self.session.execute_unpaged(&self.insert_row, row).await?;
        let all = self.select_all.clone();
        let pages = self.session.execute_iter(all, (&self.source, partition));
        let mut rows = pages.await?.rows_stream::<(String, String, i64)>()?;
        let mut totals = Totals::default();
        while let Some((kind, name, value)) = rows.try_next().await? {
            let value = value.cast_unsigned();
            match (kind.as_str(), name.as_str()) {
                (USER | TOP, _) => {
                    let known = totals.by_user.entry(name.into()).or_default();
                    *known = value.max(*known);
                }
                (DOMAIN, _) => _ = totals.by_domain.insert(name, value),
                (COUNT, "messages") => totals.messages = value,
                (COUNT, "bots") => totals.bots = value,
                _ => {}
            }
        }
        for (user, count) in &totals.by_user {
            totals.top.raise(user, 0, *count);
        }
        info!(partition, messages = totals.messages, "totals loaded");
        Ok(totals)
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
fn rows<'a>(
    source: &'a str,
    partition: i32,
    totals: &Totals,
    delta: &'a Delta,
    next_offset: i64,
) -> Vec<Row<'a>> {
    let row = |kind, name, value: u64| {
        (
            source,
            partition,
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
    rows[0].5 = MaybeUnset::Set(next_offset);
    for (domain, count) in &delta.by_domain {
        let before = totals.by_domain.get(*domain).copied().unwrap_or_default();
        rows.push(row(DOMAIN, domain, before + count));
    }
    for (user, count) in &delta.by_user {
        let count = known(user) + count;
        let kind = match totals.top.takes(user, count) {
            true => TOP,
            false => USER,
        };
        rows.push(row(kind, user, count));
    }
    rows
}
