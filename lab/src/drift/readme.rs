//! Third rule: the section "What changed" of a chapter's README lists exactly the files that differ from the chapter
//! before, tests after code, because its order is the order in which to read them. The README itself is not listed.

use std::collections::BTreeMap;

use crate::diff::files::Chapter;
use crate::diff::readme::is_test;
use crate::diff::readme::rows;
use crate::diff::step::Kind;
use crate::diff::step::changes;
use crate::drift::violation::Violation;

pub fn check(before: &Chapter, chapter: &Chapter) -> Vec<Violation> {
    let file = format!("{}/README.md", chapter.name());
    let violation = |place: &str, what: String, to_do: String| Violation {
        file: format!("{file}{place}"),
        what,
        to_do,
    };
    let Some(text) = chapter.readme() else {
        let to_do = "write it, with a section \"What changed\"".to_owned();
        return vec![violation("", "is missing".to_owned(), to_do)];
    };
    let Some(rows) = rows(text) else {
        let to_do = "add `## What changed` with rows ``| `path` | new | why |``".to_owned();
        return vec![violation("", "has no section \"What changed\"".to_owned(), to_do)];
    };
    let changes = changes(before, chapter);
    let mut expected: BTreeMap<&str, Kind> = changes
        .iter()
        .filter(|change| change.counts)
        .map(|change| (change.path.as_str(), change.kind))
        .collect();
    let mut violations = Vec::new();
    let mut tests_begun = false;
    for row in rows {
        tests_begun |= is_test(row.path);
        let place = format!(":{}", row.line);
        let (what, to_do) = match expected.remove(row.path) {
            None => (
                format!("lists `{}`, which did not change or is listed twice", row.path),
                "remove the row".to_owned(),
            ),
            Some(kind) if row.kind != kind.word() => (
                format!("calls `{}` {:?}", row.path, row.kind),
                format!("the difference says {:?}", kind.word()),
            ),
            Some(_) if row.why.is_empty() => {
                (format!("gives no reason for `{}`", row.path), "say why it changed".to_owned())
            }
            Some(_) if tests_begun && !is_test(row.path) => (
                format!("lists `{}` after tests", row.path),
                "move it before them: code is read first".to_owned(),
            ),
            Some(_) => continue,
        };
        violations.push(violation(&place, what, to_do));
    }
    for (path, kind) in expected {
        let word = kind.word();
        let to_do = format!("add ``| `{path}` | {word} | why |``");
        violations.push(violation("", format!("does not list `{path}`, which is {word}"), to_do));
    }
    violations
}
