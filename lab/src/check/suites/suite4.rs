//! Suite 4: what is delivered. The chapter has its workflow, and its image is small, has nothing in it but the program,
//! and starts, tells its health and stops as a container runtime expects.

mod contents;
mod life;
mod workflow;

use crate::check::runner::Check;

pub const CHECKS: &[&[Check]] = &[workflow::CHECKS, contents::CHECKS, life::CHECKS];
