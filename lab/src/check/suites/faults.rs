//! `--faults`: what must hold while the broker or one of the roles fails, one fault at a time, on a Kafka that lab
//! starts for these alone. What is looked at are counts: nothing is lost, and what is doubled is told.

mod broker;
mod consumers;
mod kills;
mod paused;
mod refusals;
mod topic;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[
    broker::CHECKS,
    kills::CHECKS,
    consumers::CHECKS,
    paused::CHECKS,
    refusals::CHECKS,
    topic::CHECKS,
];
