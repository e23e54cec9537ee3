//! `--faults`: what must be true while the broker or one of the roles fails, one fault at a time, on a Kafka that lab
//! starts for this alone. The checks look at counts: no event may be lost, and the report says how many came twice.

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
