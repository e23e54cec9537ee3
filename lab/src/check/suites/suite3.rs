//! Suite 3: exact statistics behind a login, in memory or in Cassandra, and a server that works with many clients at
//! once.

mod cassandra;
mod clocks;
mod config;
mod crowd;
mod exact;
mod login;
mod tokens;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[
    config::CHECKS,
    login::CHECKS,
    tokens::CHECKS,
    exact::CHECKS,
    crowd::CHECKS,
    cassandra::CHECKS,
    clocks::CHECKS,
];
