//! One step of the course, from a chapter to the next, in numbers: which files differ, how many lines came and went,
//! and what share of the older chapter's lines is still there. READMEs, lock files and blank lines do not count.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::diff::files::Chapter;
use crate::diff::files::Content;
use crate::diff::git;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    New,
    Changed,
    Gone,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    pub kind: Kind,
    pub binary: bool,
    /// False for READMEs and lock files, which no total includes.
    pub counts: bool,
    pub added: usize,
    pub removed: usize,
}

pub struct Step {
    pub changes: Vec<FileChange>,
    /// Lines of the older chapter, and how many of them the newer one still has.
    pub lines: usize,
    pub carried: usize,
}

impl Step {
    pub fn between(a: &Chapter, b: &Chapter) -> Result<Self> {
        let mut changes = changes(a, b);
        let mut removed = 0;
        for change in changes.iter_mut().filter(|change| !change.binary) {
            (change.added, change.removed) = count(a, b, &change.path)?;
            if change.counts {
                removed += change.removed;
            }
        }
        let lines = a
            .files
            .iter()
            .filter(|(path, _)| !is_left_out(path))
            .map(|(_, content)| lines_that_count(content))
            .sum();
        Ok(Self { changes, lines, carried: lines - removed })
    }

    /// Tenths of a percent, rounded down, so that what is printed never looks better than it is.
    pub fn carry_over_per_mille(&self) -> usize {
        (self.carried * 1000).checked_div(self.lines).unwrap_or(1000)
    }

    /// The changes that count: all but READMEs and lock files.
    pub fn counted(&self) -> impl Iterator<Item = &FileChange> {
        self.changes.iter().filter(|change| change.counts)
    }

    pub fn files(&self, kind: Kind) -> usize {
        self.counted().filter(|change| change.kind == kind).count()
    }

    pub fn added(&self) -> usize {
        self.counted().map(|change| change.added).sum()
    }

    pub fn removed(&self) -> usize {
        self.counted().map(|change| change.removed).sum()
    }
}

/// The files that differ, by path, their lines not yet counted.
pub fn changes(a: &Chapter, b: &Chapter) -> Vec<FileChange> {
    let paths: BTreeSet<&String> = a.files.keys().chain(b.files.keys()).collect();
    let change = |path: &String| {
        let (old, new) = (a.files.get(path), b.files.get(path));
        let kind = match (old, new) {
            (Some(old), Some(new)) if old.renumbered(a.number, b.number) == *new => return None,
            (Some(_), Some(_)) => Kind::Changed,
            (None, _) => Kind::New,
            (_, None) => Kind::Gone,
        };
        Some(FileChange {
            path: path.clone(),
            kind,
            binary: [old, new].iter().flatten().any(|side| side.text().is_none()),
            counts: !is_left_out(path),
            added: 0,
            removed: 0,
        })
    };
    paths.into_iter().filter_map(change).collect()
}

fn is_left_out(path: &str) -> bool {
    let name = path.rsplit('/').next();
    matches!(name, Some("README.md" | "Cargo.lock"))
}

fn counts(line: &str) -> bool {
    !line.trim_end().is_empty()
}

fn lines_that_count(content: &Content) -> usize {
    let lines = content.text().unwrap_or_default().lines();
    lines.filter(|line| counts(line)).count()
}

/// How many lines came and went, blank ones left out. What a user has set for `git diff` does not matter here.
fn count(a: &Chapter, b: &Chapter, path: &str) -> Result<(usize, usize)> {
    let options = ["--numstat", "--minimal", "--no-ext-diff", "--no-textconv"];
    let output = git::diff(a, b, path, counts, &options)?;
    let line = String::from_utf8_lossy(&output);
    // Git prints nothing where only blank lines differ.
    let mut numbers = line.split('\t').map(|number| number.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests;
