//! A session with Cassandra, in the keyspace that is configured. What is missing of the schema is created.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use anyhow::Result;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::DbError;
use scylla::errors::ExecutionError;
use scylla::errors::PrepareError;
use scylla::errors::RequestAttemptError;
use scylla::policies::load_balancing::NodeIdentifier;
use scylla::policies::load_balancing::SingleTargetLoadBalancingPolicy;
use scylla::statement::Consistency;
use scylla::statement::Statement;
use tokio::time::timeout;
use tracing::warn;

use crate::config;

const SCHEMA: &str = include_str!("../../db/init.cql");

const SELECT_REPLICATION: &str =
    "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";

/// The longest time of one request. After that, nobody knows whether it has been executed, so a write is repeated.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time until a node has answered for the first time. The driver itself would wait for a mute port for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

pub async fn open(config: &config::Store) -> Result<Session> {
    let profile = ExecutionProfile::builder()
        .request_timeout(Some(REQUEST_TIMEOUT))
        // Every read sees every write before it, also if the nodes are in several data centres.
        .consistency(Consistency::Quorum)
        .build();
    let builder = SessionBuilder::new()
        .known_nodes(&config.cassandra_nodes)
        .connection_timeout(REQUEST_TIMEOUT)
        .default_execution_profile_handle(profile.into_handle());
    let session = timeout(CONNECT_TIMEOUT, builder.build())
        .await
        .with_context(|| format!("cannot connect: no answer in {} s", CONNECT_TIMEOUT.as_secs()))?
        .context("cannot connect")?;
    let keyspace = &config.cassandra_keyspace;
    let copies = config.cassandra_replication;
    let create_keyspace = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {copies}}}"
    );
    // Processes that start at the same time ask the same node, which takes one statement after the other. If two nodes
    // created a table at the same time, one of the two would stay, and the rows of the other would be lost.
    let cluster = session.get_cluster_state();
    let up = cluster.get_nodes_info().iter().filter(|node| node.is_connected());
    let node = up.min_by_key(|node| node.host_id).cloned().map(NodeIdentifier::Node);
    let policy = node.map(|node| SingleTargetLoadBalancingPolicy::new(node, None));
    let create = async |text: &str| {
        let mut statement = Statement::new(text);
        statement.set_load_balancing_policy(policy.clone());
        session.query_unpaged(statement, ()).await?;
        // If another process has created it, the driver would not wait until all nodes know of it.
        session.await_schema_agreement().await?;
        anyhow::Ok(())
    };
    create(&create_keyspace).await.context("cannot create the keyspace")?;
    let replication = session
        .query_unpaged(SELECT_REPLICATION, (keyspace,))
        .await
        .context("cannot read the replication")?
        .into_rows_result()?
        .first_row::<(BTreeMap<String, String>,)>()?
        .0;
    if replication.iter().any(|(name, value)| name != "class" && *value != copies.to_string()) {
        warn!(
            keyspace,
            ?replication,
            "the keyspace exists, with another replication than CASSANDRA_REPLICATION={copies}; only ALTER KEYSPACE changes it"
        );
    }
    session.use_keyspace(keyspace, false).await.context("cannot use the keyspace")?;
    // Only the statements that create tables are run. Comments go first, because they may contain a semicolon.
    let lines: Vec<&str> = SCHEMA.lines().filter(|line| !line.starts_with("--")).collect();
    let schema = lines.join("\n");
    for table in schema.split(';').filter(|text| text.contains("CREATE TABLE")) {
        create(table).await.context("cannot create the tables")?;
    }
    Ok(session)
}

/// Whether the tables are not those of this program, which trying again does not mend. A table that does not exist yet
/// may still come.
pub fn is_foreign(error: &anyhow::Error) -> bool {
    let Some(PrepareError::AllAttemptsFailed { first_attempt }) = error.downcast_ref() else {
        return false;
    };
    let RequestAttemptError::DbError(DbError::Invalid, said) = first_attempt else {
        return false;
    };
    // What Cassandra says, and what ScyllaDB says.
    !said.contains("does not exist") && !said.contains("unconfigured table")
}

/// What is missing while there is no answer.
pub fn no_answer(session: &Session) -> String {
    let cluster = session.get_cluster_state();
    let nodes = cluster.get_nodes_info();
    let connected = nodes.iter().filter(|node| node.is_connected()).count();
    format!("Cassandra does not answer, connected to {connected} of {} nodes", nodes.len())
}

/// Adds to an error what is missing if the table cannot be read. The error itself is not for strangers.
pub fn missing(error: ExecutionError, session: &Session, table: &str) -> anyhow::Error {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(answer, _)) = &error else {
        return anyhow::Error::new(error).context(no_answer(session));
    };
    let keyspace = session.get_keyspace().unwrap_or_default();
    let missing = match answer {
        DbError::Unavailable { .. } | DbError::ReadTimeout { .. } | DbError::ReadFailure { .. } => {
            format!("Cassandra has no quorum for keyspace {keyspace}")
        }
        DbError::Invalid => format!("Cassandra has no table {keyspace}.{table}"),
        _ => format!("Cassandra does not show table {keyspace}.{table}"),
    };
    anyhow::Error::new(error).context(missing)
}

/// The timestamp for a write that replaces one with the timestamp `last`, in microseconds since 1970. Of two values
/// Cassandra keeps the one with the higher timestamp, and the clock of the process that wrote before may be ahead.
pub fn timestamp_after(last: i64) -> i64 {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as i64;
    now.max(last.saturating_add(1))
}
