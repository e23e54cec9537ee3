//! Third rule: the table "What changed" in a chapter's README says what the difference to the chapter before says.
//! Its rows are ``| `path` | new | why |``, with `new`, `changed` or `gone`; the README itself is not listed.

use std::collections::BTreeMap;

use crate::diff::files::Chapter;
use crate::diff::files::Content;
use crate::diff::step::Kind;
use crate::diff::step::Step;
use crate::drift::Violation;

pub fn check(before: &Chapter, chapter: &Chapter) -> Vec<Violation> {
    let file = format!("{}/README.md", chapter.name());
    let violation = |place: &str, what: String, to_do: String| Violation {
        file: format!("{file}{place}"),
        what,
        to_do,
    };
    let Some(Content::Text(text)) = chapter.files.get("README.md") else {
        let to_do = "write it, with a section \"What changed\"".to_owned();
        return vec![violation("", "is missing".to_owned(), to_do)];
    };
    let Some(rows) = rows(text) else {
        let to_do = "add `## What changed` with rows ``| `path` | new | why |``".to_owned();
        return vec![violation(
            "",
            "has no section \"What changed\"".to_owned(),
            to_do,
        )];
    };
    let step = Step::between(before, chapter);
    let mut expected: BTreeMap<&str, Kind> = step
        .counted()
        .map(|change| (change.path.as_str(), change.kind))
        .collect();
    let mut violations = Vec::new();
    for row in rows {
        let place = format!(":{}", row.line);
        let (what, to_do) = match expected.remove(row.path) {
            None => (
                format!(
                    "lists `{}`, which did not change or is listed twice",
                    row.path
                ),
                "remove the row".to_owned(),
            ),
            Some(kind) if row.kind != kind.word() => (
                format!("calls `{}` {:?}", row.path, row.kind),
                format!("the difference says {:?}", kind.word()),
            ),
            Some(_) if row.why.is_empty() => (
                format!("gives no reason for `{}`", row.path),
                "say why it changed".to_owned(),
            ),
            Some(_) => continue,
        };
        violations.push(violation(&place, what, to_do));
    }
    for (path, kind) in expected {
        let word = kind.word();
        let to_do = format!("add ``| `{path}` | {word} | why |``");
        violations.push(violation(
            "",
            format!("does not list `{path}`, which is {word}"),
            to_do,
        ));
    }
    violations
}

struct Row<'a> {
    line: usize,
    path: &'a str,
    kind: &'a str,
    why: &'a str,
}

/// The rows of the section's table; `None` where there is no such section.
fn rows(text: &str) -> Option<Vec<Row<'_>>> {
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
    let why = cells
        .next()
        .unwrap_or_default()
        .trim()
        .trim_end_matches('|')
        .trim();
    Some(Row {
        line,
        path,
        kind,
        why,
    })
}
