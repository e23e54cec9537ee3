//! How much of a chapter must live on in the next one.

use crate::diff::step::Step;

/// The least share, in percent, of the lines carried into a chapter where no exception is named.
const LEAST: usize = 85;
/// These steps add tooling around the program and leave the program itself alone.
const EXCEPTIONS: [(u8, usize); 2] = [(4, 97), (8, 97)];

/// The least carry-over in percent from the chapter before into chapter `into`.
pub fn least(into: u8) -> usize {
    EXCEPTIONS
        .iter()
        .find(|(chapter, _)| *chapter == into)
        .map_or(LEAST, |(_, least)| *least)
}

pub fn holds(step: &Step, into: u8) -> bool {
    step.carried * 100 >= step.lines * least(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(carried: usize) -> Step {
        Step {
            changes: Vec::new(),
            lines: 1000,
            carried,
        }
    }

    #[test]
    fn budget_is_stricter_into_four_and_eight() {
        assert!(holds(&step(850), 2));
        assert!(!holds(&step(849), 2));
        for into in [4, 8] {
            assert!(holds(&step(970), into));
            assert!(!holds(&step(969), into));
        }
    }
}
