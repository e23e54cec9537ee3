//! The suites, and what must hold while something fails. A suite imports the rooms of `check`, and nothing imports a
//! suite but this list.

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
