//! How many of a chapter's lines must still be there in the next chapter.

use std::path::Path;

use anyhow::Result;

use crate::diff::files::Chapter;
use crate::diff::step::FileChange;
use crate::diff::step::Kind;
use crate::diff::step::Step;
use crate::diff::summary;

/// The least share, in percent, of the lines carried into a chapter where no exception is named.
const LEAST: usize = 85;
/// These steps add tooling around the program and leave the program itself alone.
const EXCEPTIONS: [(u8, usize); 2] = [(4, 97), (8, 97)];

/// The table of the given steps against their budgets, and whether all of them hold.
pub fn check(root: &Path, steps: &[(u8, u8)]) -> Result<(String, bool)> {
    let mut table = format!(
        "{:<12} {:>4} {:>8} {:>5} {:>7} {:>7} {:>11} {:>7}\n",
        "step", "new", "changed", "gone", "+", "-", "carry-over", "budget"
    );
    let mut all_hold = true;
    for &(from, to) in steps {
        let step = Step::between(&Chapter::read(root, from)?, &Chapter::read(root, to)?)?;
        let holds = holds(&step, to);
        all_hold &= holds;
        table += &format!(
            "{:<12} {:>4} {:>8} {:>5} {:>7} {:>7} {:>11} {:>7}  {}\n",
            format!("ch-{from} > ch-{to}"),
            step.files(Kind::New),
            step.files(Kind::Changed),
            step.files(Kind::Gone),
            step.added(),
            step.removed(),
            summary::percent(&step),
            format!("{} %", least(to)),
            if holds { "ok" } else { "OUTSIDE THE BUDGET" },
        );
        if !holds {
            // Where the lines went: the files to look at first.
            let mut worst: Vec<&FileChange> =
                step.counted().filter(|change| change.removed > 0).collect();
            worst.sort_by_key(|change| std::cmp::Reverse(change.removed));
            for change in worst.iter().take(5) {
                table += &format!("    -{} in {}\n", change.removed, change.path);
            }
        }
    }
    if steps.is_empty() {
        table = "there are no two chapters to compare yet\n".to_owned();
    }
    Ok((table, all_hold))
}

/// The least carry-over in percent from the chapter before into chapter `into`.
fn least(into: u8) -> usize {
    EXCEPTIONS.iter().find(|(chapter, _)| *chapter == into).map_or(LEAST, |(_, least)| *least)
}

fn holds(step: &Step, into: u8) -> bool {
    step.carried * 100 >= step.lines * least(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(carried: usize) -> Step {
        Step { changes: Vec::new(), lines: 1000, carried }
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
