//! The section "What changed" of a chapter's README: which files to read, and in which order. Its rows are
//! ``| `path` | new | why |``, with `new`, `changed` or `gone`, in one table or several.

use crate::diff::files::Chapter;
use crate::diff::step::FileChange;

pub struct Row<'a> {
    pub line: usize,
    pub path: &'a str,
    pub kind: &'a str,
    pub why: &'a str,
}

/// The rows of the section's tables; `None` where there is no such section.
pub fn rows(text: &str) -> Option<Vec<Row<'_>>> {
    let mut section = None;
    let mut fenced = false;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let level = line.len() - line.trim_start_matches('#').len();
        if level > 0 && line[level..].starts_with(' ') {
            match section {
                None if line.to_ascii_lowercase().contains("what changed") => section = Some(level),
                Some(open) if level <= open => break,
                _ => {}
            }
        } else if section.is_some() {
            rows.extend(row(index + 1, line));
        }
    }
    section.map(|_| rows)
}

/// A table row whose first cell is a path in backquotes: neither the head, nor the line below it.
fn row(line: usize, text: &str) -> Option<Row<'_>> {
    let mut cells = text.trim().strip_prefix('|')?.splitn(3, '|');
    let path = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?;
    let kind = cells.next().unwrap_or_default().trim();
    let why = cells.next().unwrap_or_default().trim().trim_end_matches('|').trim();
    Some(Row { line, path, kind, why })
}

/// Puts the changes in the order in which to read them: as `b`'s README lists them, then the others, tests after code.
/// A learner's own chapter may have no such README; then it is that of `a`.
pub fn sort(changes: &mut [FileChange], a: &Chapter, b: &Chapter) {
    let listed =
        [b, a].into_iter().find_map(|chapter| chapter.readme().and_then(rows)).unwrap_or_default();
    changes.sort_by_key(|change| {
        let position = listed.iter().position(|row| row.path == change.path);
        (position.unwrap_or(listed.len()), is_test(&change.path), change.path.clone())
    });
}

pub fn is_test(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    name == "tests.rs"
        || name.ends_with("_tests.rs")
        || folder.split('/').any(|part| part == "tests")
}
