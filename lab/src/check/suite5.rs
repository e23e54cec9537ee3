//! Suite 5: a producer and a consumer with a topic between them. Nothing that the program had is lost at the split, and
//! the topic holds each event once, in a form that others can read.

mod config;
pub mod consumer;
pub mod exact;
mod group;
pub mod messages;
mod producer;
mod record;
pub mod stop;
mod tls;
mod topic;
pub mod users;

use super::runner::Check;

pub fn checks() -> Vec<&'static Check> {
    [
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
    ]
    .into_iter()
    .flatten()
    .collect()
}
