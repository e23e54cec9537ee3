//! Suite 1: a server that says it is alive, bears what it is sent, and stops when it is told to.

mod http;
mod process;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[http::CHECKS, process::CHECKS];
