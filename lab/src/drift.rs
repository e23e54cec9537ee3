//! `cargo lab drift`: looks whether chapters differ only where they should, and whether their READMEs say so. Each rule
//! is a module: the file table, no chapter named in code, the list of changes in the README, the workflows, and images
//! that have an exact version.

mod images;
mod marks;
mod names;
mod readme;
mod table;
mod violation;
mod workflows;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::chapters;
use crate::diff::files::Chapter;
use crate::drift::table::Row;
use crate::drift::table::TABLE;
use crate::drift::violation::Violation;
use crate::terminal;

/// Checks that chapters differ only where they are meant to, and that their READMEs say where
///
/// Fails when
/// - a Rust file breaks its row in the file table: a file marked `=` differs from the chapter before, one marked C
///   does not, one marked N was there, or one is not in the table;
/// - a Rust file names a chapter;
/// - the section "What changed" of a chapter's README is not what `cargo lab diff` says, or lists code after tests;
/// - the workflow of the chapters lacks a step, a chapter lacks its caller, an action does not say its version;
/// - a chapter takes an image without an exact version from a registry.
///
/// Each violation is a line: file, what is wrong, what to do. Example:
///   cargo lab drift
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {}

pub fn run(_options: &Options) -> Result<ExitCode> {
    let all = chapters::all()?;
    let mut violations = violations(&chapters::root(), &all, TABLE)?;
    violations.extend(workflows::check(&chapters::root(), &all)?);
    terminal::print(|out| {
        for violation in &violations {
            writeln!(out, "{violation}")?;
        }
        match violations.len() {
            0 => writeln!(
                out,
                "no drift: {} chapters, {} rows in the file table",
                all.len(),
                TABLE.len()
            ),
            1 => writeln!(out, "1 violation"),
            many => writeln!(out, "{many} violations"),
        }
    })?;
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What breaks a rule in the chapters `numbers`, ascending; the file table's other columns do not matter.
fn violations(root: &Path, numbers: &[u8], table: &[Row]) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let mut before: Option<Chapter> = None;
    for &number in numbers {
        let chapter = Chapter::read(root, number)?;
        violations.extend(marks::check(table, before.as_ref(), &chapter)?);
        violations.extend(names::check(&chapter));
        violations.extend(images::check(&chapter));
        let nothing = Chapter::nothing();
        violations.extend(readme::check(before.as_ref().unwrap_or(&nothing), &chapter));
        before = Some(chapter);
    }
    Ok(violations)
}

#[cfg(test)]
mod tests;
