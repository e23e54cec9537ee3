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
pub fn all() -> Vec<Vec<&'static Check>> {
    vec![
        suite1::checks(),
        suite2::checks(),
        suite3::checks(),
        suite4::checks(),
        suite5::checks(),
    ]
}

pub fn faults() -> Vec<&'static Check> {
    faults::checks()
}
