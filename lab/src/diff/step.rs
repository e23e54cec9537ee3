//! One step of the course, from a chapter to the next, in numbers: which files differ, how many lines came and went,
//! and what share of the older chapter's lines lives on. READMEs, lock files and blank lines do not count.

use std::collections::BTreeSet;

use similar::Algorithm;
use similar::DiffTag;
use similar::capture_diff_slices;

use crate::diff::files::Chapter;
use crate::diff::files::Content;
use crate::diff::files::without_own_number;

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
    pub fn between(a: &Chapter, b: &Chapter) -> Self {
        let mut step = Self {
            changes: Vec::new(),
            lines: 0,
            carried: 0,
        };
        let paths: BTreeSet<&String> = a.files.keys().chain(b.files.keys()).collect();
        for path in paths {
            let (old, new) = (a.files.get(path), b.files.get(path));
            let counts = !is_left_out(path);
            let (before, after) = (
                lines_that_count(old, a.number),
                lines_that_count(new, b.number),
            );
            let carried = common(&before, &after);
            if counts {
                step.lines += before.len();
                step.carried += carried;
            }
            let kind = match (old, new) {
                (Some(old), Some(new)) if same(old, a.number, new, b.number) => continue,
                (Some(_), Some(_)) => Kind::Changed,
                (None, _) => Kind::New,
                (_, None) => Kind::Gone,
            };
            step.changes.push(FileChange {
                path: path.clone(),
                kind,
                binary: [old, new]
                    .iter()
                    .any(|side| matches!(side, Some(Content::Binary(_)))),
                counts,
                added: after.len() - carried,
                removed: before.len() - carried,
            });
        }
        step
    }

    /// Tenths of a percent, rounded down, so that what is printed never looks better than it is.
    pub fn carry_over_per_mille(&self) -> usize {
        (self.carried * 1000)
            .checked_div(self.lines)
            .unwrap_or(1000)
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

fn is_left_out(path: &str) -> bool {
    let name = path.rsplit('/').next();
    matches!(name, Some("README.md" | "Cargo.lock"))
}

fn same(old: &Content, old_number: u8, new: &Content, new_number: u8) -> bool {
    match (old, new) {
        (Content::Text(old), Content::Text(new)) => {
            without_own_number(old, old_number) == without_own_number(new, new_number)
        }
        (old, new) => old == new,
    }
}

fn lines_that_count(content: Option<&Content>, number: u8) -> Vec<String> {
    let Some(Content::Text(text)) = content else {
        return Vec::new();
    };
    without_own_number(text, number)
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The number of lines that are in both, in order.
fn common(before: &[String], after: &[String]) -> usize {
    capture_diff_slices(Algorithm::Myers, before, after)
        .iter()
        .filter(|op| op.tag() == DiffTag::Equal)
        .map(|op| op.old_range().len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapter(number: u8, files: &[(&str, &str)]) -> Chapter {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Content::from(text.as_bytes().to_vec())))
            .collect();
        Chapter { number, files }
    }

    #[test]
    fn own_number_makes_no_difference_and_another_number_does() {
        let a = chapter(1, &[("Cargo.toml", "name = \"ch-1\"\n")]);
        let b = chapter(2, &[("Cargo.toml", "name = \"ch-2\"\n")]);
        assert_eq!(Step::between(&a, &b).changes, []);
        let b = chapter(2, &[("Cargo.toml", "name = \"ch-1\"\n")]);
        assert_eq!(Step::between(&a, &b).changes.len(), 1);
    }

    #[test]
    fn lines_are_counted_by_file_and_in_all() {
        let a = chapter(
            1,
            &[
                ("a.rs", "one\ntwo\n\nthree\n"),
                ("b.rs", "b\n"),
                ("same.rs", "s\n"),
            ],
        );
        let b = chapter(
            2,
            &[
                ("a.rs", "one\n2\nthree\n\n\nfour\n"),
                ("c.rs", "c\n\nc\n"),
                ("same.rs", "s\n"),
            ],
        );
        let step = Step::between(&a, &b);
        let seen: Vec<_> = step
            .changes
            .iter()
            .map(|change| {
                (
                    change.path.as_str(),
                    change.kind,
                    change.added,
                    change.removed,
                )
            })
            .collect();
        let expected = [
            ("a.rs", Kind::Changed, 2, 1),
            ("b.rs", Kind::Gone, 0, 1),
            ("c.rs", Kind::New, 2, 0),
        ];
        assert_eq!(seen, expected);
        assert_eq!((step.lines, step.carried), (5, 3));
        assert_eq!((step.added(), step.removed()), (4, 2));
        assert_eq!(step.carry_over_per_mille(), 600);
    }

    #[test]
    fn readme_lock_file_and_blank_lines_count_for_nothing() {
        let a = chapter(
            1,
            &[
                ("README.md", "a\nb\n"),
                ("Cargo.lock", "x\n"),
                ("k8s/README.md", "k\n"),
            ],
        );
        let b = chapter(2, &[("README.md", "c\n")]);
        let step = Step::between(&a, &b);
        assert_eq!(step.changes.len(), 3, "still listed for the diff itself");
        assert_eq!((step.lines, step.added(), step.removed()), (0, 0, 0));
        assert_eq!(step.carry_over_per_mille(), 1000);
    }

    #[test]
    fn blank_lines_alone_are_a_change_without_lines() {
        let step = Step::between(&chapter(1, &[("a", "x\n")]), &chapter(2, &[("a", "\nx\n")]));
        assert_eq!(step.changes[0].kind, Kind::Changed);
        assert_eq!((step.changes[0].added, step.changes[0].removed), (0, 0));
    }

    #[test]
    fn binary_files_are_compared_by_their_bytes() {
        let a = chapter(1, &[("logo", "a\0ch-1"), ("same", "\0")]);
        let b = chapter(2, &[("logo", "a\0ch-2"), ("same", "\0")]);
        let step = Step::between(&a, &b);
        assert_eq!(step.changes.len(), 1);
        assert!(step.changes[0].binary);
        assert_eq!((step.changes[0].added, step.lines), (0, 0));
    }
}
