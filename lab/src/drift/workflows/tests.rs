//! The repository's own workflows, which break no rule, and then each way to break one.

use super::*;
use crate::scratch::Scratch;

const CALLER_2: &str = ".github/workflows/ci-ch-2.yml";
const OTHER: &str = ".github/workflows/other.yml";

fn sound() -> (Scratch, String) {
    let root = Scratch::new();
    let text = std::fs::read_to_string(chapters::root().join(CHAPTER)).unwrap();
    root.write(CHAPTER, &text);
    for number in ["1", "2"] {
        let file = format!("{FOLDER}/ci-ch-{number}.yml");
        root.write(&file, &CALLER.replace("{N}", number));
    }
    (root, text)
}

fn seen(root: &Scratch) -> Vec<String> {
    let violations = check(root.path(), &[1, 2]).unwrap();
    violations.iter().map(Violation::to_string).collect()
}

/// Expects one line that begins with `file: what`.
#[track_caller]
fn one(root: &Scratch, expected: &str) {
    let seen = seen(root);
    assert!(seen.len() == 1 && seen[0].starts_with(expected), "{seen:#?}");
}

/// Changes chapter.yml, which must have `from`, and expects one line.
#[track_caller]
fn breaks(from: &str, to: &str, expected: &str) {
    let (root, text) = sound();
    assert!(text.contains(from), "{from}");
    root.write(CHAPTER, &text.replacen(from, to, 1));
    one(&root, expected);
}

#[test]
fn sound_workflows_have_no_violation() {
    assert_eq!(seen(&sound().0), Vec::<String>::new());
}

#[test]
fn workflows_of_this_repository_have_no_violation() {
    let all = chapters::all().unwrap();
    let violations = check(&chapters::root(), &all).unwrap();
    let seen: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert_eq!(seen, Vec::<String>::new());
}

#[test]
fn lost_step_is_named() {
    breaks(
        "      - name: Drift\n        run: cargo lab drift\n",
        "",
        ".github/workflows/chapter.yml: job `checks` lacks the step `Drift`: add it",
    );
}

#[test]
fn step_in_another_place_is_named() {
    let drift = "      - name: Drift\n        run: cargo lab drift\n";
    let format = "      - name: Format\n";
    let (root, text) = sound();
    let moved = text.replacen(drift, "", 1).replacen(format, &format!("{drift}{format}"), 1);
    root.write(CHAPTER, &moved);
    let seen = seen(&root);
    assert!(!seen.is_empty());
    assert!(seen[0].contains("has the step `Format` after one that should follow it"), "{seen:#?}");
}

#[test]
fn unknown_step_is_named() {
    breaks(
        "      - name: Drift\n",
        "      - name: Extra\n        run: true\n      - name: Drift\n",
        ".github/workflows/chapter.yml: job `checks` has the step `Extra`, which is unknown: add it to",
    );
}

#[test]
fn step_without_a_name_is_unknown() {
    breaks(
        "      - name: Drift\n",
        "      - run: true\n      - name: Drift\n",
        ".github/workflows/chapter.yml: job `checks` has the step ``, which is unknown",
    );
}

#[test]
fn expression_in_a_script_is_named() {
    breaks(
        "run: cargo lab check \"$CHAPTER\"\n",
        "run: cargo lab check ${{ inputs.chapter }}\n",
        ".github/workflows/chapter.yml: the step `Acceptance` has an expression in its `run:`",
    );
}

#[test]
fn hash_without_its_version_is_named() {
    let line = |text: &str| text.lines().position(|line| line.contains("# v2.9.2")).unwrap() + 1;
    let expected = format!("{CHAPTER}:{}: `Swatinem/rust-cache@", line(&sound().1));
    breaks(" # v2.9.2", "", &expected);
}

#[test]
fn other_workflows_say_their_versions_too() {
    let (root, _) = sound();
    let text = "jobs:\n  a:\n    steps:\n      - uses: a/b@c0ffee\n      - uses: ./d\n";
    root.write(OTHER, text);
    one(&root, ".github/workflows/other.yml:4: `a/b@c0ffee` does not say its version");
}

#[test]
fn chapter_without_its_caller_is_named() {
    let (root, _) = sound();
    std::fs::remove_file(root.path().join(CALLER_2)).unwrap();
    one(&root, ".github/workflows/ci-ch-2.yml: is missing, so nothing checks ch-2: write");
}

#[test]
fn caller_that_does_more_is_named() {
    let (root, _) = sound();
    root.write(CALLER_2, &CALLER.replace("{N}", "2").replace("  pull_request:\n", ""));
    one(&root, ".github/workflows/ci-ch-2.yml: is not the thin caller");
}

#[test]
fn caller_of_no_chapter_is_named() {
    let (root, _) = sound();
    root.write(".github/workflows/ci-ch-9.yml", &CALLER.replace("{N}", "9"));
    one(&root, ".github/workflows/ci-ch-9.yml: calls for ch-9, which is not there");
}

#[test]
fn file_that_is_no_workflow_is_one_line() {
    let (root, _) = sound();
    root.write(OTHER, "a: [\n");
    one(&root, ".github/workflows/other.yml: is no workflow");
    assert_eq!(seen(&root)[0].lines().count(), 1);
}

#[test]
fn repository_without_workflows_lacks_all_of_them() {
    let root = Scratch::new();
    assert!(check(root.path(), &[1]).is_err());
}
