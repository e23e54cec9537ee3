//! Two small chapters that break no rule, and then each way to break one.

use super::*;
use crate::drift::table::row;
use crate::scratch::Scratch;

const ROWS: &[Row] = &[
    row("src/main.rs", "N C = = = = = ="),
    row("src/kept.rs", "N = = = = = = ="),
    row("src/later.rs", ". N = = = = = ="),
];

const README_1: &str = "# One\n\n## What changed\n\n| file | | why |\n| --- | --- | --- |\n\
    | `Cargo.toml` | new | the manifest |\n| `src/kept.rs` | new | kept |\n| `src/main.rs` | new | a \\| b |\n\n\
    ## Run it\n\n| `other` | table | here |\n";
const README_2: &str = "# Two\n\n## What changed\n\n| `src/later.rs` | new | more |\n| `src/main.rs` | changed | calls it |\n";

fn sound() -> Scratch {
    let root = Scratch::new();
    root.write("ch-1/README.md", README_1);
    root.write("ch-1/Cargo.toml", "name = \"ch-1\"\n");
    root.write("ch-1/src/main.rs", "fn main() {}\n");
    root.write("ch-1/src/kept.rs", "fn kept() {}\n");
    root.write("ch-2/README.md", README_2);
    root.write("ch-2/Cargo.toml", "name = \"ch-2\"\n");
    root.write("ch-2/src/main.rs", "fn main() { later() }\n");
    root.write("ch-2/src/kept.rs", "fn kept() {}\n");
    root.write("ch-2/src/later.rs", "fn later() {}\n");
    root
}

fn seen(root: &Scratch) -> Vec<String> {
    let violations = violations(root.path(), &[1, 2], ROWS).unwrap();
    violations.iter().map(Violation::to_string).collect()
}

/// Changes one file of the sound chapters and expects one line that begins with `file: what`.
#[track_caller]
fn breaks(path: &str, text: &str, expected: &str) {
    let root = sound();
    root.write(path, text);
    let seen = seen(&root);
    assert!(seen.len() == 1 && seen[0].starts_with(expected), "{seen:#?}");
}

#[test]
fn sound_chapters_have_no_violation() {
    assert_eq!(seen(&sound()), Vec::<String>::new());
}

#[test]
fn kept_file_that_differs_is_named() {
    // The README's table is wrong too then, so this one is two lines.
    let root = sound();
    root.write("ch-2/src/kept.rs", "fn kept() { }\n");
    let seen = seen(&root);
    assert!(seen[0].starts_with("ch-2/src/kept.rs: is marked `=` but differs"), "{seen:#?}");
    assert!(
        seen[1].starts_with("ch-2/README.md: does not list `src/kept.rs`, which is changed"),
        "{seen:#?}"
    );
    assert_eq!(seen.len(), 2);
}

#[test]
fn kept_file_is_compared_byte_for_byte() {
    let root = sound();
    root.write("ch-1/src/kept.rs", "const NAME: &str = \"ch-1\";\n");
    root.write("ch-2/src/kept.rs", "const NAME: &str = \"ch-2\";\n");
    let seen = seen(&root);
    assert!(
        seen.iter().any(|line| line.starts_with("ch-2/src/kept.rs: is marked `=`")),
        "{seen:#?}"
    );
}

#[test]
fn changed_file_that_is_the_same_is_named() {
    let root = sound();
    root.write("ch-2/src/main.rs", "fn main() {}\n");
    let seen = seen(&root);
    assert!(seen[0].starts_with("ch-2/src/main.rs: is marked C but is the same"), "{seen:#?}");
    assert!(
        seen[1].starts_with("ch-2/README.md:6: lists `src/main.rs`, which did not change"),
        "{seen:#?}"
    );
}

#[test]
fn new_file_must_not_be_there_before_and_must_be_there_then() {
    let root = sound();
    root.write("ch-1/src/later.rs", "fn later() {}\n");
    let both = seen(&root);
    assert!(
        both.iter().any(|line| line.starts_with("ch-1/src/later.rs: is here, marked `.`")),
        "{both:#?}"
    );
    assert!(
        both.iter().any(|line| line.starts_with("ch-2/src/later.rs: is marked N but was")),
        "{both:#?}"
    );
    std::fs::remove_file(root.path().join("ch-1/src/later.rs")).unwrap();
    std::fs::remove_file(root.path().join("ch-2/src/later.rs")).unwrap();
    let neither = seen(&root);
    assert!(
        neither[0].starts_with("ch-2/src/later.rs: is marked in the table and missing"),
        "{neither:#?}"
    );
}

#[test]
fn file_that_is_kept_must_have_been_there() {
    let root = sound();
    std::fs::remove_file(root.path().join("ch-1/src/kept.rs")).unwrap();
    let seen = seen(&root);
    let expected = "ch-2/src/kept.rs: is marked as kept but was not in the chapter before";
    assert!(seen.iter().any(|line| line.starts_with(expected)), "{seen:#?}");
}

#[test]
fn rust_file_outside_the_table_is_named() {
    let root = sound();
    root.write("ch-2/src/stray.rs", "fn stray() {}\n");
    assert!(seen(&root)[0].starts_with("ch-2/src/stray.rs: is not in the file table"));
}

#[test]
fn rust_file_that_names_a_chapter_is_named_with_its_line() {
    let named = "fn main() {\n    later() // Chapter 3 changes this.\n}\n";
    breaks("ch-2/src/main.rs", named, "ch-2/src/main.rs:2: names a chapter: `chapter 3`");
}

#[test]
fn readme_table_must_be_what_the_difference_says() {
    let wrong_word = README_2.replace("| new |", "| changed |");
    breaks(
        "ch-2/README.md",
        &wrong_word,
        "ch-2/README.md:5: calls `src/later.rs` \"changed\": the difference says \"new\"",
    );
    let missing = README_2.replace("| `src/main.rs` | changed | calls it |\n", "");
    breaks(
        "ch-2/README.md",
        &missing,
        "ch-2/README.md: does not list `src/main.rs`, which is changed",
    );
    let too_much = format!("{README_2}| `Cargo.toml` | changed | its name |\n");
    breaks(
        "ch-2/README.md",
        &too_much,
        "ch-2/README.md:7: lists `Cargo.toml`, which did not change",
    );
    let no_reason = README_2.replace("| more |", "| |");
    breaks("ch-2/README.md", &no_reason, "ch-2/README.md:5: gives no reason for `src/later.rs`");
    breaks("ch-2/README.md", "# Two\n", "ch-2/README.md: has no section");
    let fenced = format!("```text\n{README_2}```\n");
    breaks("ch-2/README.md", &fenced, "ch-2/README.md: has no section");
}

#[test]
fn readme_may_have_several_tables_and_tests_stand_in_the_last() {
    let root = sound();
    root.write("ch-2/src/later/tests.rs", "fn test() {}\n");
    let rows: &[Row] = &[
        row("src/main.rs", "N C = = = = = ="),
        row("src/kept.rs", "N = = = = = = ="),
        row("src/later.rs", ". N = = = = = ="),
        row("src/later/tests.rs", ". N = = = = = ="),
    ];
    let seen = |readme: &str| {
        root.write("ch-2/README.md", readme);
        let violations = violations(root.path(), &[1, 2], rows).unwrap();
        violations.iter().map(Violation::to_string).collect::<Vec<_>>()
    };
    let test = "| `src/later/tests.rs` | new | proves it |\n";
    let last = format!(
        "{README_2}\n**Stop here.**\n\n### Tests\n\n| file | | why |\n| --- | --- | --- |\n{test}"
    );
    assert_eq!(seen(&last), Vec::<String>::new());
    let missing = seen(&last.replace(test, ""));
    assert!(missing[0].contains("does not list `src/later/tests.rs`"), "{missing:#?}");
    let first = seen(&README_2.replace("| `src/main.rs`", &format!("{test}| `src/main.rs`")));
    assert!(
        first.len() == 1
            && first[0].starts_with("ch-2/README.md:7: lists `src/main.rs` after tests"),
        "{first:#?}"
    );
}

#[test]
fn first_chapter_lists_every_file_as_new() {
    let missing = README_1.replace("| `Cargo.toml` | new | the manifest |\n", "");
    breaks("ch-1/README.md", &missing, "ch-1/README.md: does not list `Cargo.toml`, which is new");
}

#[test]
fn gone_file_is_listed_as_gone() {
    let root = sound();
    root.write("ch-1/notes.txt", "notes\n");
    root.write(
        "ch-1/README.md",
        &README_1.replace("| `src/kept.rs`", "| `notes.txt` | new | notes |\n| `src/kept.rs`"),
    );
    assert!(seen(&root)[0].starts_with("ch-2/README.md: does not list `notes.txt`, which is gone"));
    root.write("ch-2/README.md", &format!("{README_2}| `notes.txt` | gone | done |\n"));
    assert_eq!(seen(&root), Vec::<String>::new());
}
