//! Suite 2: a configuration whose errors say what to do, and the RecentChange stream on stdout, with each event once,
//! whatever the network and the stream do.

mod config;
mod exact;
mod hostile;
mod refused;
mod strangers;
mod watch;
mod watched;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[
    config::CHECKS,
    watch::CHECKS,
    exact::CHECKS,
    hostile::CHECKS,
    refused::CHECKS,
    strangers::CHECKS,
];
