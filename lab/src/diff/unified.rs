//! The difference of two chapters as text: unified, coloured as git does it. The chapter's own number is no
//! difference, so a line that only names its chapter is context, shown as the newer chapter has it.

use std::io::Result;
use std::io::Write;

use similar::Algorithm;
use similar::DiffTag;
use similar::capture_diff_slices;
use similar::group_diff_ops;

use crate::diff::files::Chapter;
use crate::diff::files::Content;
use crate::diff::files::without_own_number;
use crate::diff::step::FileChange;
use crate::diff::step::Kind;

const CONTEXT: usize = 3;
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[m";

pub struct Printer<'a> {
    pub out: &'a mut dyn Write,
    pub colour: bool,
}

impl Printer<'_> {
    pub fn file(&mut self, a: &Chapter, b: &Chapter, change: &FileChange) -> Result<()> {
        let old_name = match change.kind {
            Kind::New => "/dev/null".to_owned(),
            _ => format!("{}/{}", a.name(), change.path),
        };
        let new_name = match change.kind {
            Kind::Gone => "/dev/null".to_owned(),
            _ => format!("{}/{}", b.name(), change.path),
        };
        if change.binary {
            return self.line(
                BOLD,
                &format!("Binary files {old_name} and {new_name} differ"),
            );
        }
        self.line(BOLD, &format!("--- {old_name}"))?;
        self.line(BOLD, &format!("+++ {new_name}"))?;
        let (old, new) = (text(a, change), text(b, change));
        self.hunks((old, a.number), (new, b.number))
    }

    fn hunks(&mut self, (old, a): (&str, u8), (new, b): (&str, u8)) -> Result<()> {
        let (neutral_old, neutral_new) = (without_own_number(old, a), without_own_number(new, b));
        let before: Vec<&str> = neutral_old.split_inclusive('\n').collect();
        let after: Vec<&str> = neutral_new.split_inclusive('\n').collect();
        let old: Vec<&str> = old.split_inclusive('\n').collect();
        let new: Vec<&str> = new.split_inclusive('\n').collect();
        let ops = capture_diff_slices(Algorithm::Myers, &before, &after);
        for group in group_diff_ops(ops, CONTEXT) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            let old_range = hunk_range(first.old_range().start, last.old_range().end);
            let new_range = hunk_range(first.new_range().start, last.new_range().end);
            self.line(CYAN, &format!("@@ -{old_range} +{new_range} @@"))?;
            for op in &group {
                if op.tag() == DiffTag::Equal {
                    self.lines("", ' ', &new[op.new_range()])?;
                } else {
                    self.lines(RED, '-', &old[op.old_range()])?;
                    self.lines(GREEN, '+', &new[op.new_range()])?;
                }
            }
        }
        Ok(())
    }

    fn lines(&mut self, colour: &str, sign: char, lines: &[&str]) -> Result<()> {
        for line in lines {
            match line.strip_suffix('\n') {
                Some(line) => self.line(colour, &format!("{sign}{line}"))?,
                None => {
                    self.line(colour, &format!("{sign}{line}"))?;
                    self.line("", "\\ No newline at end of file")?;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, colour: &str, line: &str) -> Result<()> {
        if self.colour && !colour.is_empty() {
            writeln!(self.out, "{colour}{line}{RESET}")
        } else {
            writeln!(self.out, "{line}")
        }
    }
}

fn text<'a>(chapter: &'a Chapter, change: &FileChange) -> &'a str {
    match chapter.files.get(&change.path) {
        Some(Content::Text(text)) => text,
        _ => "",
    }
}

/// `start,length` as unified diffs have it: lines count from 1, an empty side names the line before it.
fn hunk_range(start: usize, end: usize) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        length => format!("{},{length}", start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::step::Step;

    fn shown(old: Option<&str>, new: Option<&str>, colour: bool) -> String {
        let chapter = |number, text: Option<&str>| Chapter {
            number,
            files: text
                .map(|text| ("f".to_owned(), Content::from(text.as_bytes().to_vec())))
                .into_iter()
                .collect(),
        };
        let (a, b) = (chapter(1, old), chapter(2, new));
        let mut bytes = Vec::new();
        let mut printer = Printer {
            out: &mut bytes,
            colour,
        };
        for change in &Step::between(&a, &b).changes {
            printer.file(&a, &b, change).unwrap();
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn changed_lines_stand_in_context_with_the_newer_chapters_number() {
        let seen = shown(Some("at ch-1\nold\nend"), Some("at ch-2\nnew\nend"), false);
        let expected = "--- ch-1/f\n+++ ch-2/f\n@@ -1,3 +1,3 @@\n at ch-2\n-old\n+new\n end\n\\ No newline at end of file\n";
        assert_eq!(seen, expected);
    }

    #[test]
    fn new_and_gone_files_have_no_other_side() {
        assert_eq!(
            shown(None, Some("x\n"), false),
            "--- /dev/null\n+++ ch-2/f\n@@ -0,0 +1 @@\n+x\n"
        );
        assert_eq!(
            shown(Some("x\ny\n"), None, false),
            "--- ch-1/f\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n"
        );
    }

    #[test]
    fn binary_files_are_named_only() {
        assert_eq!(
            shown(Some("\0"), Some("\0\0"), false),
            "Binary files ch-1/f and ch-2/f differ\n"
        );
    }

    #[test]
    fn colour_is_git_s() {
        let seen = shown(Some("a\n"), Some("b\n"), true);
        assert!(
            seen.ends_with("\x1b[31m-a\x1b[m\n\x1b[32m+b\x1b[m\n"),
            "{seen:?}"
        );
    }
}
