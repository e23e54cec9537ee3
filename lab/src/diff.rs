//! `cargo lab diff`: what a reviewer reads of a step from one chapter to the next: the files, the numbers, the
//! difference itself; with `--check`, whether the step stays within its budget.

mod budget;
pub mod files;
pub mod step;
mod unified;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::chapters;
use crate::diff::files::Chapter;
use crate::diff::step::FileChange;
use crate::diff::step::Kind;
use crate::diff::step::Step;
use crate::diff::unified::Printer;
use crate::terminal;

/// Compares two chapters: files, line counts, carry-over, then the difference itself
///
/// Carry-over is the share of A's lines that live on in B. Blank lines, READMEs and lock files do not count, and
/// a chapter's own number (`ch-1`, `ch_1`) is no difference. Files that git ignores are no part of a chapter.
///
/// Examples:
///   cargo lab diff               the last two chapters
///   cargo lab diff 1 2 --stat    from ch-1 to ch-2, the numbers alone
///   cargo lab diff --check       every step against its budget
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The older chapter, as in `1` [default: the last but one]
    #[arg(value_name = "A", requires = "to")]
    from: Option<u8>,
    /// The newer chapter, as in `2` [default: the last]
    #[arg(value_name = "B")]
    to: Option<u8>,
    /// Fail where less lives on than the budget asks for: 85 % a step, 97 % into 4 and 8.
    /// Checks the step from A to B, or every step where none is named
    #[arg(long, conflicts_with_all = ["readme", "stat"])]
    check: bool,
    /// Show the READMEs' differences too
    #[arg(long)]
    readme: bool,
    /// The list of files and the numbers, without the difference itself
    #[arg(long)]
    stat: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let root = chapters::root();
    let all = chapters::all()?;
    let named = match (options.from, options.to) {
        (Some(from), Some(to)) => Some((chapters::pick(Some(from))?, chapters::pick(Some(to))?)),
        _ => None,
    };
    if options.check {
        let steps = match named {
            Some((from, to)) => {
                ensure!(
                    from + 1 == to,
                    "only a step to the next chapter has a budget, as in `cargo lab diff 1 2 --check`"
                );
                vec![(from, to)]
            }
            None => neighbours(&all),
        };
        let (table, holds) = check(&root, &steps)?;
        terminal::print(|out| out.write_all(table.as_bytes()))?;
        return Ok(if holds {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let (from, to) = named
        .or_else(|| neighbours(&all).pop())
        .context("there is only one chapter so far, and a difference needs two")?;
    let (a, b) = (Chapter::read(&root, from)?, Chapter::read(&root, to)?);
    terminal::print(|out| show(&a, &b, options, terminal::has_colour(), out))?;
    Ok(ExitCode::SUCCESS)
}

fn neighbours(chapters: &[u8]) -> Vec<(u8, u8)> {
    chapters.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// The table of the given steps against their budgets, and whether all of them hold.
fn check(root: &Path, steps: &[(u8, u8)]) -> Result<(String, bool)> {
    let mut table = format!(
        "{:<12} {:>4} {:>8} {:>5} {:>7} {:>7} {:>11} {:>7}\n",
        "step", "new", "changed", "gone", "+", "-", "carry-over", "budget"
    );
    let mut all_hold = true;
    for &(from, to) in steps {
        let step = Step::between(&Chapter::read(root, from)?, &Chapter::read(root, to)?);
        let holds = budget::holds(&step, to);
        all_hold &= holds;
        table += &format!(
            "{:<12} {:>4} {:>8} {:>5} {:>7} {:>7} {:>11} {:>7}  {}\n",
            format!("ch-{from} > ch-{to}"),
            step.files(Kind::New),
            step.files(Kind::Changed),
            step.files(Kind::Gone),
            step.added(),
            step.removed(),
            percent(&step),
            format!("{} %", budget::least(to)),
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

fn show(
    a: &Chapter,
    b: &Chapter,
    options: &Options,
    colour: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let step = Step::between(a, b);
    let shown: Vec<&FileChange> = step
        .changes
        .iter()
        .filter(|change| change.counts || (options.readme && change.path.ends_with("README.md")))
        .collect();
    let width = shown
        .iter()
        .map(|change| change.path.len())
        .max()
        .unwrap_or(0);
    writeln!(out, "{} > {}", a.name(), b.name())?;
    for change in &shown {
        let numbers = match change.binary {
            true => "binary".to_owned(),
            false => format!(
                "{:>6} {:>6}",
                signed('+', change.added),
                signed('-', change.removed)
            ),
        };
        writeln!(
            out,
            "  {:<8} {:<width$} {numbers}",
            change.kind.word(),
            change.path
        )?;
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
        "carry-over {}: {} of {} lines of {} live on",
        percent(&step),
        step.carried,
        step.lines,
        a.name(),
    )?;
    if options.stat {
        return Ok(());
    }
    let mut printer = Printer { out, colour };
    for change in shown {
        writeln!(printer.out)?;
        printer.file(a, b, change)?;
    }
    Ok(())
}

fn percent(step: &Step) -> String {
    let share = step.carry_over_per_mille();
    format!("{}.{} %", share / 10, share % 10)
}

fn signed(sign: char, lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("{sign}{lines}"),
    }
}

#[cfg(test)]
mod tests;
