//! `cargo lab diff`: shows what a reviewer reads of a step from one chapter to the next: the files, the numbers, and
//! the difference itself. With `--check` it looks whether the step changes more than it may.

mod budget;
pub mod files;
mod git;
mod number;
mod pager;
pub mod readme;
pub mod step;
mod summary;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;

use crate::chapters;
use crate::diff::files::Chapter;
use crate::diff::step::FileChange;
use crate::diff::step::Step;
use crate::terminal;

/// Compares two chapters: the difference in the order in which to read it, then files, line counts and carry-over
///
/// The order is that of the section "What changed" in B's README, or else in A's. The difference is that of `git diff`.
///
/// Carry-over is the share of A's lines that are still in B. Blank lines, READMEs and lock files do not count, and
/// a chapter's own number (`ch-1`, `ch_1`) is no difference. Files that git ignores are no part of a chapter.
///
/// Examples:
///   cargo lab diff                     the last two chapters
///   cargo lab diff 1 2 --stat          from ch-1 to ch-2, only the numbers
///   cargo lab diff 3 ../mine           from ch-3 to your own program
///   cargo lab diff 4 5 -- --word-diff  changed words instead of changed lines
///   cargo lab diff --check             whether a step changes more than it may
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The older chapter: its number, as in `1`, or the path of a folder [default: the last but one]
    #[arg(value_name = "A", requires = "to")]
    from: Option<String>,
    /// The newer chapter: its number, as in `2`, or the path of a folder [default: the last]
    #[arg(value_name = "B")]
    to: Option<String>,
    /// Fail where fewer lines stay than the budget asks for: 85 % in a step, and 97 % in the steps to ch-4 and to ch-8.
    /// Checks the step from A to B, or every step where none is named
    #[arg(long, conflicts_with_all = ["readme", "stat"])]
    check: bool,
    /// Show the READMEs' differences too
    #[arg(long)]
    readme: bool,
    /// Show the list of files and the numbers, but not the difference itself
    #[arg(long)]
    stat: bool,
    /// Use no pager. Without this option, what is printed on a terminal goes through the program that PAGER names,
    /// or else through `less`
    #[arg(long)]
    no_pager: bool,
    /// Options for `git diff`, as in `-- --word-diff`
    #[arg(last = true, value_name = "OPTION")]
    git: Vec<String>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let root = chapters::root();
    let named = options.from.as_deref().zip(options.to.as_deref());
    if options.check {
        let steps = match named {
            Some((from, to)) => vec![step_of_the_course(from, to)?],
            None => neighbours(&chapters::all()?),
        };
        let (table, holds) = budget::check(&root, &steps)?;
        terminal::print(|out| out.write_all(table.as_bytes()))?;
        return Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (a, b) = match named {
        Some((from, to)) => (chapter(from)?, chapter(to)?),
        None => {
            let (from, to) = neighbours(&chapters::all()?)
                .pop()
                .context("there is only one chapter so far, and a difference needs two")?;
            (Chapter::read(&root, from)?, Chapter::read(&root, to)?)
        }
    };
    let text = show(&a, &b, options, terminal::has_colour())?;
    pager::print(&text, !options.no_pager)?;
    Ok(ExitCode::SUCCESS)
}

/// The chapter with that number, or in that folder.
fn chapter(named: &str) -> Result<Chapter> {
    // A folder that is here comes first: in another place, `ch-3` may be the learner's own.
    match chapters::number(named) {
        Ok(number) if named.parse::<u8>().is_ok() || !Path::new(named).is_dir() => {
            Chapter::read(&chapters::root(), chapters::pick(Some(number))?)
        }
        _ => Chapter::at(Path::new(named)),
    }
}

fn step_of_the_course(from: &str, to: &str) -> Result<(u8, u8)> {
    let numbers = chapters::number(from).ok().zip(chapters::number(to).ok());
    let (from, to) =
        numbers.filter(|(from, to): &(u8, u8)| from.checked_add(1) == Some(*to)).context(
            "only a step to the next chapter has a budget, as in `cargo lab diff 1 2 --check`",
        )?;
    Ok((chapters::pick(Some(from))?, chapters::pick(Some(to))?))
}

fn neighbours(chapters: &[u8]) -> Vec<(u8, u8)> {
    chapters.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// What a reader of the step sees: the difference, then the summary, which is what a terminal shows last.
fn show(a: &Chapter, b: &Chapter, options: &Options, colour: bool) -> Result<Vec<u8>> {
    let mut step = Step::between(a, b)?;
    readme::sort(&mut step.changes, a, b);
    let shown: Vec<&FileChange> = step
        .changes
        .iter()
        .filter(|change| change.counts || (options.readme && change.path.ends_with("README.md")))
        .collect();
    let mut out = Vec::new();
    if !options.stat {
        let colour = if colour { "--color=always" } else { "--color=never" };
        let mut git_options = vec![colour];
        git_options.extend(options.git.iter().map(String::as_str));
        for change in &shown {
            out.extend(git::diff(a, b, &change.path, |_| true, &git_options)?);
        }
        if !shown.is_empty() {
            writeln!(out)?;
        }
    }
    summary::write(a, b, &step, &shown, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
