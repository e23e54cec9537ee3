//! Suite 1: a server that says that it is alive, survives whatever it is sent, and stops when it is told to.

mod http;
mod process;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[http::CHECKS, process::CHECKS];
