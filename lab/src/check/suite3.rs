//! Suite 3: exact statistics behind a login, in memory or in Cassandra, and a server that bears a crowd.

mod cassandra;
mod config;
pub mod cql;
mod crowd;
pub mod exact;
mod login;
pub mod session;
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
