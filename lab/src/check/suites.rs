//! The list of the suites, and of the checks in which something fails. A suite imports modules of `check`; only this
//! list imports a suite.

mod faults;
mod suite1;
mod suite2;
mod suite3;
mod suite4;
mod suite5;

use crate::check::runner::Check;

/// The checks of suite 1, of suite 2, and so on.
pub const ALL: [&[&[Check]]; 5] =
    [suite1::CHECKS, suite2::CHECKS, suite3::CHECKS, suite4::CHECKS, suite5::CHECKS];

pub const FAULTS: &[&[Check]] = faults::CHECKS;
