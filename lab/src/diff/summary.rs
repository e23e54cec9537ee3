//! The summary of a step: its files in the order in which to read them, the lines that came and went, the carry-over.

use std::io::Write;

use crate::diff::files::Chapter;
use crate::diff::step::FileChange;
use crate::diff::step::Kind;
use crate::diff::step::Step;

pub fn write(
    a: &Chapter,
    b: &Chapter,
    step: &Step,
    shown: &[&FileChange],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let width = shown.iter().map(|change| change.path.len()).max().unwrap_or(0);
    writeln!(out, "{} > {}", a.name(), b.name())?;
    for change in shown {
        let numbers = if change.binary {
            "binary".to_owned()
        } else {
            format!("{:>6} {:>6}", signed('+', change.added), signed('-', change.removed))
        };
        writeln!(out, "  {:<8} {:<width$} {numbers}", change.kind.word(), change.path)?;
    }
    writeln!(
        out,
        "files: {} new, {} changed, {} gone; lines: {} added, {} removed",
        step.files(Kind::New),
        step.files(Kind::Changed),
        step.files(Kind::Gone),
        step.added(),
        step.removed(),
    )?;
    writeln!(
        out,
        "carry-over {}: {} of {} lines of {} are still there",
        percent(step),
        step.carried,
        step.lines,
        a.name(),
    )
}

pub fn percent(step: &Step) -> String {
    let share = step.carry_over_per_mille();
    format!("{}.{} %", share / 10, share % 10)
}

fn signed(sign: char, lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("{sign}{lines}"),
    }
}
