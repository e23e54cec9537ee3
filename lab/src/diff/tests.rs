//! Chapters made in a temporary folder, compared as the command does it.

use super::*;
use crate::scratch::Scratch;

const OPTIONS: Options = Options {
    from: None,
    to: None,
    check: false,
    readme: false,
    stat: false,
    no_pager: false,
    git: Vec::new(),
};

fn numbered(lines: std::ops::Range<u32>) -> String {
    lines.map(|line| format!("line {line}\n")).collect()
}

fn shown(root: &Path, options: &Options) -> String {
    let (a, b) = (Chapter::read(root, 1).unwrap(), Chapter::read(root, 2).unwrap());
    String::from_utf8(show(&a, &b, options, false).unwrap()).unwrap()
}

#[test]
fn step_outside_the_budget_fails_and_names_the_file() {
    let root = Scratch::new();
    root.write("ch-1/src/main.rs", &numbered(0..100));
    root.write("ch-2/src/main.rs", &numbered(15..100));
    root.write("ch-3/src/main.rs", &numbered(28..100));
    let (table, holds) = budget::check(root.path(), &[(1, 2)]).unwrap();
    assert!(holds, "85 of 100 live on: {table}");
    let (table, holds) = budget::check(root.path(), &neighbours(&[1, 2, 3])).unwrap();
    assert!(!holds, "72 of 85 live on: {table}");
    assert!(table.contains("84.7 %"), "{table}");
    assert!(table.contains("-13 in src/main.rs"), "{table}");
}

#[test]
fn step_into_four_has_the_stricter_budget() {
    let root = Scratch::new();
    root.write("ch-3/src/main.rs", &numbered(0..100));
    root.write("ch-4/src/main.rs", &numbered(4..100));
    assert!(!budget::check(root.path(), &[(3, 4)]).unwrap().1);
    root.write("ch-4/src/main.rs", &numbered(3..100));
    assert!(budget::check(root.path(), &[(3, 4)]).unwrap().1);
}

#[test]
fn numbers_come_last_and_the_readme_only_when_asked_for() {
    let root = Scratch::new();
    root.write("ch-1/README.md", "about ch-1\n");
    root.write("ch-2/README.md", "about more\n");
    root.write("ch-1/Cargo.toml", "name = \"ch-1\"\n");
    root.write("ch-2/Cargo.toml", "name = \"ch-2\"\n");
    root.write("ch-2/src/new.rs", "fn new() {}\n");
    root.write("ch-2/target/debug/junk", "junk\n");
    let summary = "ch-1 > ch-2
  new      src/new.rs     +1       
files: 1 new, 0 changed, 0 gone; lines: 1 added, 0 removed
carry-over 100.0 %: 1 of 1 lines of ch-1 are still there
";
    let seen = shown(root.path(), &OPTIONS);
    let expected =
        format!("--- /dev/null\n+++ b/ch-2/src/new.rs\n@@ -0,0 +1 @@\n+fn new() {{}}\n\n{summary}");
    assert!(seen.ends_with(&expected), "{seen}");
    assert_eq!(seen.matches("diff --git").count(), 1, "{seen}");
    let with_readme = Options { readme: true, ..OPTIONS };
    // The removed line has the newer chapter's number too.
    assert!(shown(root.path(), &with_readme).contains("-about ch-2\n+about more\n"));
    let stat = Options { stat: true, ..OPTIONS };
    assert_eq!(shown(root.path(), &stat), summary);
}

#[test]
fn files_come_in_the_readme_s_order_and_then_tests_after_code() {
    let root = Scratch::new();
    root.write("ch-1/gone.rs", "x\n");
    for path in ["a.rs", "b.rs", "c.rs", "d/tests.rs", "d/x.rs", "e_tests.rs", "f.rs"] {
        root.write(&format!("ch-2/{path}"), "x\n");
    }
    let readme = "## What changed\n\n| `c.rs` | new | first |\n| `gone.rs` | gone | then |\n\nStop here.\n\n\
        | `a.rs` | new | later |\n\n| `e_tests.rs` | new | test |\n";
    root.write("ch-2/README.md", readme);
    let seen = shown(root.path(), &OPTIONS);
    let order = ["c.rs", "gone.rs", "a.rs", "e_tests.rs", "b.rs", "d/x.rs", "f.rs", "d/tests.rs"];
    let headers: Vec<&str> = seen
        .lines()
        .filter(|line| line.starts_with("diff --git"))
        .filter_map(|line| line.rsplit_once("/ch-")?.1.get("2/".len()..))
        .collect();
    assert_eq!(headers, order);
    let listed: Vec<&str> = seen
        .lines()
        .filter(|line| line.starts_with("  new ") || line.starts_with("  gone "))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(listed, order);
    // Where the newer one has no README, that of the older one tells the order.
    std::fs::remove_file(root.path().join("ch-2/README.md")).unwrap();
    root.write("ch-1/README.md", readme);
    assert_eq!(shown(root.path(), &OPTIONS), seen);
}

#[test]
fn options_reach_git() {
    let root = Scratch::new();
    root.write("ch-1/a.rs", "one two\n");
    root.write("ch-2/a.rs", "one three\n");
    let with = |option: &str| Options { git: vec![option.to_owned()], ..OPTIONS };
    let words = shown(root.path(), &with("--word-diff=plain"));
    assert!(words.contains("one [-two-]{+three+}\n"), "{words}");
    let chapter = |number| Chapter::read(root.path(), number).unwrap();
    let error = show(&chapter(1), &chapter(2), &with("--no-such"), false).unwrap_err();
    let expected = "git diff failed: error: unknown option `no-such'";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn colour_is_git_s() {
    let root = Scratch::new();
    root.write("ch-1/a.rs", "a\n");
    root.write("ch-2/a.rs", "b\n");
    let chapter = |number| Chapter::read(root.path(), number).unwrap();
    let seen = show(&chapter(1), &chapter(2), &OPTIONS, true).unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("\x1b[31m-a\x1b[m\n"));
}

#[test]
fn learner_s_folder_is_compared_like_a_chapter() {
    let root = Scratch::new();
    root.write("ch-1/Cargo.toml", "name = \"ch-1\"\n");
    root.write("ch-1/src/main.rs", "fn main() {}\n");
    root.write("mine/Cargo.toml", "name = \"ch-2\"\n");
    root.write("mine/src/main.rs", "fn main() { mine() }\n");
    root.write("mine/target/debug/junk", "junk\n");
    let a = Chapter::read(root.path(), 1).unwrap();
    let b = chapter(root.path().join("mine").to_str().unwrap()).unwrap();
    let seen = String::from_utf8(show(&a, &b, &OPTIONS, false).unwrap()).unwrap();
    assert!(seen.contains("--- a/ch-1/src/main.rs\n+++ b/mine/src/main.rs\n"), "{seen}");
    assert!(seen.contains("\nch-1 > mine\n  changed  src/main.rs"), "{seen}");
    assert!(!seen.contains("Cargo.toml"), "{seen}");
}

#[test]
fn path_that_holds_no_chapter_is_refused() {
    let root = Scratch::new();
    root.write("empty/notes.txt", "x\n");
    let error = |path: &str| {
        let folder = root.path().join(path);
        chapter(folder.to_str().unwrap()).err().unwrap().to_string()
    };
    assert!(error("nowhere").starts_with("there is no folder /"), "{}", error("nowhere"));
    assert!(
        error("empty").ends_with("empty is not a chapter: it has no Cargo.toml"),
        "{}",
        error("empty")
    );
    assert!(chapter("200").err().unwrap().to_string().starts_with("there is no chapter 200"));
}

#[test]
fn only_a_step_of_the_course_has_a_budget() {
    assert_eq!(step_of_the_course("1", "2").unwrap(), (1, 2));
    for (from, to) in [("1", "3"), ("2", "1"), ("1", "../mine"), ("255", "0")] {
        assert!(step_of_the_course(from, to).is_err(), "{from} {to}");
    }
}

#[test]
fn what_git_ignores_is_no_part_of_a_chapter() {
    let root = Scratch::new();
    let git = std::process::Command::new("git")
        .args(["init", "--quiet"])
        .current_dir(root.path())
        .status();
    if !git.is_ok_and(|status| status.success()) {
        return;
    }
    root.write(".gitignore", "ignored\nmine\n");
    root.write("ch-1/ignored", "x\n");
    root.write("ch-1/kept", "x\n");
    root.write("mine/Cargo.toml", "name = \"mine\"\n");
    let chapter = Chapter::read(root.path(), 1).unwrap();
    assert_eq!(chapter.files.keys().collect::<Vec<_>>(), ["kept"]);
    // A folder that is ignored as a whole may still be compared.
    let mine = Chapter::at(&root.path().join("mine")).unwrap();
    assert_eq!(mine.files.keys().collect::<Vec<_>>(), ["Cargo.toml"]);
}
