//! First rule: the Rust files of a chapter are those of the table, and change where the table says so.

use anyhow::Result;

use crate::diff::files::Chapter;
use crate::drift::table::Mark;
use crate::drift::table::Row;
use crate::drift::violation::Violation;

const TABLE_FILE: &str = "lab/src/drift/table.rs";

/// `before` is the chapter before, where that is there.
pub fn check(table: &[Row], before: Option<&Chapter>, chapter: &Chapter) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for row in table {
        let mark = row.mark(chapter.number)?;
        let now = chapter.files.get(row.path);
        let then = before.map(|before| before.files.get(row.path));
        let (what, to_do) = match (mark, then, now) {
            (Mark::Absent, _, Some(_)) => ("is here, marked `.`", "remove it, or mark it N"),
            (Mark::Absent, _, None) => continue,
            (_, _, None) => ("is marked in the table and missing", "add it, or mark it `.`"),
            (Mark::New, Some(Some(_)), _) => {
                ("is marked N but was in the chapter before", "mark it C or `=`")
            }
            (Mark::Changed | Mark::Same, Some(None), _) => (
                "is marked as kept but was not in the chapter before",
                "mark it N, or add it there",
            ),
            (Mark::Same, Some(then), now) if then != now => (
                "is marked `=` but differs from the chapter before",
                "make the same change in both (a fix belongs in the earliest chapter), or mark it C",
            ),
            (Mark::Changed, Some(then), now) if then == now => {
                ("is marked C but is the same as in the chapter before", "mark it `=`")
            }
            _ => continue,
        };
        violations.push(Violation {
            file: format!("{}/{}", chapter.name(), row.path),
            what: what.to_owned(),
            to_do: format!("{to_do} in {TABLE_FILE}"),
        });
    }
    let listed = |path: &str| table.iter().any(|row| row.path == path);
    for path in chapter.files.keys().filter(|path| path.ends_with(".rs") && !listed(path)) {
        violations.push(Violation {
            file: format!("{}/{path}", chapter.name()),
            what: "is not in the file table".to_owned(),
            to_do: format!("add a row to {TABLE_FILE}, or remove the file"),
        });
    }
    Ok(violations)
}
