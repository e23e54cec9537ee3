//! Suite 3: exact statistics behind a login, in memory or in Cassandra, and a server that bears a crowd.

mod cassandra;
mod config;
mod cql;
mod crowd;
mod exact;
mod login;
mod session;
mod tokens;

use super::runner::Check;

pub fn checks() -> Vec<&'static Check> {
    [
        config::CHECKS,
        login::CHECKS,
        tokens::CHECKS,
        exact::CHECKS,
        crowd::CHECKS,
        cassandra::CHECKS,
    ]
    .into_iter()
    .flatten()
    .collect()
}
