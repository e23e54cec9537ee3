//! Totals in Cassandra. This process is the only writer of its source: it loads the totals once and writes each
//! change as an absolute value, so that a write whose outcome is unknown is simply written again.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use futures_util::TryStreamExt;
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
use crate::resume::Resume;
use crate::retry;
use crate::stats::Delta;
use crate::stats::Snapshot;
use crate::stats::Totals;
use crate::store::session;

/// How long `/ready` waits for an answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// The only partition of the stream.
const PARTITION: i32 = 0;

const COUNT: &str = "count";
const DOMAIN: &str = "domain";
/// This name sorts after those of the other kinds, so `/stats` can read all rows but those of the users in one range.
const USER: &str = "user";

/// `source`, `partition`, `kind`, `name`, `value`.
type Row<'a> = (&'a str, i32, &'a str, &'a str, i64);

/// `kind`, `name`, `value` and its timestamp, `cursor` and its timestamp.
type Loaded = (String, String, i64, i64, Option<String>, Option<i64>);

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
    /// The totals as they are in Cassandra, if they are loaded.
    pub totals: Mutex<Option<Totals>>,
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
                "SELECT kind, name, value, WRITETIME(value), cursor, WRITETIME(cursor) \
                 FROM {totals} WHERE source = ? AND partition = ?"
            ))
            .await?,
            update_position: prepare(format!(
                "UPDATE {totals} SET cursor = ? WHERE source = ? AND partition = ?"
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
                "SELECT value FROM {totals} WHERE source = ? AND partition = ? LIMIT 1"
            ))
            .await?,
            works: AtomicBool::new(true),
            totals: Mutex::default(),
            session,
        })
    }

    /// Loads all totals, in pages, and returns the place that they belong to.
    pub async fn load(&self) -> Result<Option<String>> {
        let mut totals = self.totals.lock().await;
        let read = self.read().await.context("cannot load the totals");
        self.works.store(read.is_ok(), Ordering::SeqCst);
        let (loaded, cursor) = read?;
        info!(messages = loaded.messages, "totals loaded");
        *totals = Some(loaded);
        Ok(cursor)
    }

    async fn read(&self) -> Result<(Totals, Option<String>)> {
        let all = self.select_all.clone();
        let pages = self.session.execute_iter(all, (&self.source, PARTITION));
        let mut rows = pages.await?.rows_stream::<Loaded>()?;
        let mut totals = Totals::default();
        let mut position = None;
        while let Some((kind, name, value, written, cursor, moved)) = rows.try_next().await? {
            let value = value.cast_unsigned();
            position = position.or(cursor);
            totals.written_at = totals.written_at.max(written).max(moved.unwrap_or_default());
            match (kind.as_str(), name.as_str()) {
                (USER, _) => _ = totals.by_user.insert(name.into(), value),
                (DOMAIN, _) => _ = totals.by_domain.insert(name, value),
                (COUNT, "messages") => totals.messages = value,
                (COUNT, "bots") => totals.bots = value,
                _ => {}
            }
        }
        Ok((totals, position))
    }

    pub async fn record(&self, events: &[Event], resume: &Resume) -> Result<()> {
        let mut totals = self.totals.lock().await;
        let totals = totals.as_mut().context("the totals are not loaded")?;
        let delta = Delta::of(events, totals);
        let position = (resume.to_string(), &self.source, PARTITION);
        let rows = rows(&self.source, PARTITION, totals, &delta);
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
        written.context("cannot write the totals")?;
        totals.add(&delta);
        Ok(())
    }

    /// One read of one Cassandra partition, so all values belong to the same write.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let result =
            self.session.execute_unpaged(&self.select_shown, (&self.source, PARTITION)).await;
        let result = result.context("cannot read the totals")?.into_rows_result()?;
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
        let totals = (&self.source, PARTITION);
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
        rows.push(row(USER, user, known(user) + count));
    }
    rows
}
