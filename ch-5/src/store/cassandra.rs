//! Totals in Cassandra. A partition has one writer, the consumer that it is assigned to: it loads the totals once and
//! writes each change as an absolute value, so that a write whose outcome is unknown is simply written again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::Batch;
use scylla::statement::batch::BatchType;
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::info;

use crate::config;
use crate::event::Event;
use crate::retry;
use crate::stats::Delta;
use crate::stats::Snapshot;
use crate::stats::Totals;
use crate::store::session;

/// How long `/ready` waits for an answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// This partition does not exist in a topic. Its rows name the partitions that have been loaded.
const INDEX: i32 = -1;
const PARTITION: &str = "partition";

const COUNT: &str = "count";
const DOMAIN: &str = "domain";
/// A user who is among the first thousand is written as `TOP`, and any other as `USER`. A user who drops out keeps the
/// `TOP` row, whose count is too low to be shown. (Deleted rows would be read for ten days, and 100,000 of them would
/// make a read fail.) So a user may have two rows, and the higher count is right.
const TOP: &str = "top";
/// This name sorts after those of the other kinds, so `/stats` can read all rows but those of the users in one range.
const USER: &str = "user";

/// `source`, `partition`, `kind`, `name`, `value`.
type Row<'a> = (&'a str, i32, &'a str, &'a str, i64);

/// `kind`, `name`, `value` and its timestamp, `next_offset` and its timestamp.
type Loaded = (String, String, i64, i64, Option<i64>, Option<i64>);

/// The totals of one partition as they are in Cassandra, if they are loaded.
type Partition = Mutex<Option<Totals>>;

pub struct CassandraStats {
    session: Session,
    /// Which totals these are, in the column `source`.
    source: String,
    select_all: PreparedStatement,
    update_position: PreparedStatement,
    insert_row: PreparedStatement,
    select_shown: PreparedStatement,
    insert_user: PreparedStatement,
    select_user: PreparedStatement,
    select_users: PreparedStatement,
    select_ready: PreparedStatement,
    /// Whether the last try to load or write totals has succeeded.
    works: AtomicBool,
    /// A lock for each partition, so that a slow write holds up no other partition.
    partitions: std::sync::Mutex<HashMap<i32, Arc<Partition>>>,
}

impl CassandraStats {
    /// Connects and creates what is missing; tries for two minutes.
    ///
    /// # Errors
    /// Cassandra did not answer, or the keyspace has tables with other columns.
    pub async fn open(config: &config::Store, source: &str) -> Result<Self> {
        let nodes = config.cassandra_nodes.join(",");
        let service = format!("Cassandra at {nodes} (CASSANDRA_NODES)");
        let keyspace = &config.cassandra_keyspace;
        // An error that stays is not tried again.
        let attempt = async || match Self::try_open(config, source).await {
            Err(error) if session::is_foreign(&error) => Ok(Err(error)),
            opened => opened.map(Ok),
        };
        let store = retry::at_start(&service, attempt).await?.with_context(|| {
            format!("CASSANDRA_KEYSPACE {keyspace} has tables of another program, use another one")
        })?;
        info!(keyspace, source, "Cassandra is open");
        Ok(store)
    }

    async fn try_open(config: &config::Store, source: &str) -> Result<Self> {
        let session = session::open(config).await?;
        // Cassandra warns of prepared statements that leave the keyspace to the session.
        let keyspace = &config.cassandra_keyspace;
        let totals = format!("{keyspace}.totals");
        let users = format!("{keyspace}.users");
        let prepare = async |text: String| {
            let mut statement = session.prepare(text).await?;
            statement.set_is_idempotent(true);
            anyhow::Ok(statement)
        };
        Ok(Self {
            source: source.to_owned(),
            select_all: prepare(format!(
                "SELECT kind, name, value, WRITETIME(value), next_offset, WRITETIME(next_offset) \
                 FROM {totals} WHERE source = ? AND partition = ?"
            ))
            .await?,
            update_position: prepare(format!(
                "UPDATE {totals} SET next_offset = ? WHERE source = ? AND partition = ?"
            ))
            .await?,
            insert_row: prepare(format!(
                "INSERT INTO {totals} (source, partition, kind, name, value) \
                 VALUES (?, ?, ?, ?, ?)"
            ))
            .await?,
            select_shown: prepare(format!(
                "SELECT kind, name, value FROM {totals} \
                 WHERE source = ? AND partition = ? AND kind < 'user'"
            ))
            .await?,
            insert_user: prepare(format!(
                "INSERT INTO {users} (username, password_hash) VALUES (?, ?)"
            ))
            .await?,
            select_user: prepare(format!("SELECT password_hash FROM {users} WHERE username = ?"))
                .await?,
            select_users: prepare(format!(
                "SELECT username, password_hash, WRITETIME(password_hash) FROM {users}"
            ))
            .await?,
            select_ready: prepare(format!(
                "SELECT value FROM {totals} WHERE source = ? AND partition IN ? PER PARTITION LIMIT 1"
            ))
            .await?,
            works: AtomicBool::new(true),
            partitions: std::sync::Mutex::default(),
            session,
        })
    }

    /// The lock of a partition. It is made when it is needed for the first time.
    pub fn partition(&self, partition: i32) -> Arc<Partition> {
        Arc::clone(self.partitions().entry(partition).or_default())
    }

    fn partitions(&self) -> MutexGuard<'_, HashMap<i32, Arc<Partition>>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads all totals of a partition, in pages, and returns the next offset, which they belong to.
    pub async fn load(&self, partition: i32) -> Result<Option<i64>> {
        let totals = self.partition(partition);
        let mut totals = totals.lock().await;
        let read = self.read(partition).await;
        self.works.store(read.is_ok(), Ordering::SeqCst);
        let (loaded, next_offset) =
            read.with_context(|| format!("cannot load the totals of partition {partition}"))?;
        info!(partition, messages = loaded.messages, "totals loaded");
        *totals = Some(loaded);
        Ok(next_offset)
    }

    async fn read(&self, partition: i32) -> Result<(Totals, Option<i64>)> {
        let index = (&self.source, INDEX, PARTITION, partition.to_string(), 1_i64);
        self.session.execute_unpaged(&self.insert_row, index).await?;
        let all = self.select_all.clone();
        let pages = self.session.execute_iter(all, (&self.source, partition));
        let mut rows = pages.await?.rows_stream::<Loaded>()?;
        let mut totals = Totals::default();
        let mut position = None;
        while let Some((kind, name, value, written, next_offset, moved)) = rows.try_next().await? {
            let value = value.cast_unsigned();
            position = position.or(next_offset);
            totals.written_at = totals.written_at.max(written).max(moved.unwrap_or_default());
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
        Ok((totals, position))
    }

    pub async fn record(&self, partition: i32, events: &[Event], next_offset: i64) -> Result<()> {
        let totals = self.partition(partition);
        let mut totals = totals.lock().await;
        let totals = totals.as_mut().context("the totals are not loaded")?;
        let delta = Delta::of(events, totals);
        let position = (next_offset, &self.source, partition);
        let rows = rows(&self.source, partition, totals, &delta);
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        totals.written_at = session::timestamp_after(totals.written_at);
        batch.set_timestamp(Some(totals.written_at));
        batch.append_statement(self.update_position.clone());
        let mut values: Vec<&(dyn SerializeRow + Sync)> = vec![&position];
        for row in &rows {
            batch.append_statement(self.insert_row.clone());
            values.push(row);
        }
        let written = self.session.batch(&batch, &values).await;
        self.works.store(written.is_ok(), Ordering::SeqCst);
        written.with_context(|| format!("cannot write the totals of partition {partition}"))?;
        totals.add(&delta);
        Ok(())
    }

    pub async fn snapshot(&self, top: usize) -> Result<Snapshot> {
        let index = self.session.execute_unpaged(&self.select_shown, (&self.source, INDEX)).await;
        let index = index.context("cannot read which partitions there are")?.into_rows_result()?;
        let mut partitions = Vec::new();
        for row in index.rows::<(&str, &str, i64)>()? {
            let (_, number, _) = row?;
            partitions.push(self.shown(number.parse()?));
        }
        Ok(Snapshot::sum(try_join_all(partitions).await?, top))
    }

    /// One read of one Cassandra partition, so all values belong to the same write.
    async fn shown(&self, partition: i32) -> Result<Snapshot> {
        let result =
            self.session.execute_unpaged(&self.select_shown, (&self.source, partition)).await;
        let result = result.context("cannot read the totals")?.into_rows_result()?;
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

    /// An account that is closed keeps its row, with an empty hash: nobody could see the timestamp of a deleted row, which
    /// a later row of this name must exceed.
    pub async fn put_only_user(&self, username: &str, hash: &str) -> Result<Vec<String>> {
        let pages = self.session.execute_iter(self.select_users.clone(), ());
        let mut rows = pages.await?.rows_stream::<(String, Option<String>, Option<i64>)>()?;
        let mut last = 0;
        let mut others = Vec::new();
        while let Some((name, hash, written)) = rows.try_next().await? {
            last = last.max(written.unwrap_or_default());
            if name != username && hash.is_some_and(|hash| !hash.is_empty()) {
                others.push(name);
            }
        }
        let mut insert = self.insert_user.clone();
        insert.set_timestamp(Some(session::timestamp_after(last)));
        self.session.execute_unpaged(&insert, (username, hash)).await?;
        for other in &others {
            self.session.execute_unpaged(&insert, (other, "")).await?;
        }
        Ok(others)
    }

    pub async fn password_hash(&self, username: &str) -> Result<Option<String>> {
        if username.is_empty() {
            return Ok(None); // Cassandra takes no empty key.
        }
        let result = self.session.execute_unpaged(&self.select_user, (username,)).await;
        let result = result.context("cannot read the user")?.into_rows_result()?;
        let hash = result.maybe_first_row::<(Option<String>,)>()?.and_then(|(hash,)| hash);
        Ok(hash.filter(|hash| !hash.is_empty()))
    }

    /// Reads from the tables that are used, with the same consistency.
    ///
    /// # Errors
    /// The outermost message names what is missing, and may be sent to everybody.
    pub async fn ready(&self) -> Result<()> {
        let missing = |table| move |error| session::missing(error, &self.session, table);
        let partitions: Vec<i32> = self.partitions().keys().copied().chain([INDEX]).collect();
        let totals = (&self.source, partitions);
        let totals = self.session.execute_unpaged(&self.select_ready, totals);
        let users = self.session.execute_unpaged(&self.select_user, ("ready",));
        let asked = async {
            totals.await.map_err(missing("totals"))?;
            users.await.map_err(missing("users"))?;
            anyhow::Ok(())
        };
        let asked = timeout(READY_TIMEOUT, asked).await;
        asked.with_context(|| session::no_answer(&self.session))??;
        ensure!(self.works.load(Ordering::SeqCst), "the totals cannot be loaded or written");
        Ok(())
    }
}

/// The rows that `delta` changes, with their new values.
fn rows<'a>(source: &'a str, partition: i32, totals: &Totals, delta: &'a Delta) -> Vec<Row<'a>> {
    let row = |kind, name, value: u64| (source, partition, kind, name, value.cast_signed());
    let known = |user: &str| totals.by_user.get(user).copied().unwrap_or_default();
    let new_users = delta.by_user.keys().filter(|user| known(user) == 0).count();
    let distinct_users = (totals.by_user.len() + new_users) as u64;
    let mut rows = vec![
        row(COUNT, "messages", totals.messages + delta.messages),
        row(COUNT, "bots", totals.bots + delta.bots),
        row(COUNT, "distinct_users", distinct_users),
    ];
    for (domain, count) in &delta.by_domain {
        let known = totals.by_domain.get(*domain).copied().unwrap_or_default();
        rows.push(row(DOMAIN, domain, known + count));
    }
    for (user, count) in &delta.by_user {
        let count = known(user) + count;
        let takes = totals.top.takes(user, count);
        rows.push(row(if takes { TOP } else { USER }, user, count));
    }
    rows
}
