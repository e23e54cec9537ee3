//! Chapters made in a temporary folder, compared as the command does it.

use super::*;
use crate::scratch::Scratch;

const OPTIONS: Options = Options {
    from: None,
    to: None,
    check: false,
    readme: false,
    stat: false,
};

fn numbered(lines: std::ops::Range<u32>) -> String {
    lines.map(|line| format!("line {line}\n")).collect()
}

fn shown(root: &Path, options: &Options) -> String {
    let (a, b) = (
        Chapter::read(root, 1).unwrap(),
        Chapter::read(root, 2).unwrap(),
    );
    let mut bytes = Vec::new();
    show(&a, &b, options, false, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn step_outside_the_budget_fails_and_names_the_file() {
    let root = Scratch::new();
    root.write("ch-1/src/main.rs", &numbered(0..100));
    root.write("ch-2/src/main.rs", &numbered(15..100));
    root.write("ch-3/src/main.rs", &numbered(28..100));
    let (table, holds) = check(root.path(), &[(1, 2)]).unwrap();
    assert!(holds, "85 of 100 live on: {table}");
    let (table, holds) = check(root.path(), &neighbours(&[1, 2, 3])).unwrap();
    assert!(!holds, "72 of 85 live on: {table}");
    assert!(table.contains("84.7 %"), "{table}");
    assert!(table.contains("-13 in src/main.rs"), "{table}");
}

#[test]
fn step_into_four_has_the_stricter_budget() {
    let root = Scratch::new();
    root.write("ch-3/src/main.rs", &numbered(0..100));
    root.write("ch-4/src/main.rs", &numbered(4..100));
    assert!(!check(root.path(), &[(3, 4)]).unwrap().1);
    root.write("ch-4/src/main.rs", &numbered(3..100));
    assert!(check(root.path(), &[(3, 4)]).unwrap().1);
}

#[test]
fn numbers_come_first_and_the_readme_only_when_asked_for() {
    let root = Scratch::new();
    root.write("ch-1/README.md", "about ch-1\n");
    root.write("ch-2/README.md", "about more\n");
    root.write("ch-1/Cargo.toml", "name = \"ch-1\"\n");
    root.write("ch-2/Cargo.toml", "name = \"ch-2\"\n");
    root.write("ch-2/src/new.rs", "fn new() {}\n");
    root.write("ch-2/target/debug/junk", "junk\n");
    let expected = "ch-1 > ch-2
  new      src/new.rs     +1       
files: 1 new, 0 changed, 0 gone; lines: 1 added, 0 removed
carry-over 100.0 %: 1 of 1 lines of ch-1 live on

--- /dev/null
+++ ch-2/src/new.rs
@@ -0,0 +1 @@
+fn new() {}
";
    assert_eq!(shown(root.path(), &OPTIONS), expected);
    let with_readme = Options {
        readme: true,
        ..OPTIONS
    };
    assert!(shown(root.path(), &with_readme).contains("-about ch-1\n+about more\n"));
    let stat = Options {
        stat: true,
        ..OPTIONS
    };
    assert!(shown(root.path(), &stat).ends_with("live on\n"));
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
    root.write(".gitignore", "ignored\n");
    root.write("ch-1/ignored", "x\n");
    root.write("ch-1/kept", "x\n");
    let chapter = Chapter::read(root.path(), 1).unwrap();
    assert_eq!(chapter.files.keys().collect::<Vec<_>>(), ["kept"]);
}
