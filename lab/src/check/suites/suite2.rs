//! Suite 2: typed configuration that explains itself, and the RecentChange stream on stdout, exact whatever the
//! network and the stream do.

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
