//! Suite 5: a producer and a consumer with a topic between them. All that the program could do before it was split
//! still works, and the topic holds each event once, in a form that others can read.

mod config;
mod consumer;
mod exact;
mod group;
mod producer;
mod record;
mod stop;
mod tls;
mod topic;
mod users;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[
    config::CHECKS,
    producer::CHECKS,
    record::CHECKS,
    topic::CHECKS,
    users::CHECKS,
    exact::CHECKS,
    consumer::CHECKS,
    group::CHECKS,
    stop::CHECKS,
    tls::CHECKS,
];
