//! The two scripts of chapter.yml that no other step would miss: the one that decides whether a chapter is concerned,
//! and the one that gives the verdict. Both are run as they stand there.

use std::process::Command;

use super::workflow::CHAPTER;
use super::workflow::Workflow;
use crate::chapters;
use crate::scratch::Scratch;

/// Runs a step's script in `folder`; its success, and what it wrote to GITHUB_OUTPUT.
fn run(
    (job, step): (&str, &str),
    folder: &std::path::Path,
    variables: &[(&str, &str)],
) -> (bool, String) {
    let workflow = Workflow::read(&chapters::root(), CHAPTER).unwrap();
    let output = Scratch::new();
    output.write("output", "");
    let status = Command::new("bash")
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c"])
        .arg(workflow.script(job, step).unwrap())
        .current_dir(folder)
        .env("CHAPTER", "2")
        .env("GITHUB_OUTPUT", output.path().join("output"))
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = std::fs::read_to_string(output.path().join("output")).unwrap();
    (status.status.success(), text)
}

fn git(folder: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What is decided for chapter 2 after `file` changed.
fn decided(file: &str, event: &str, reference: &str, base: Option<&str>) -> String {
    let root = Scratch::new();
    root.write("ch-2/Dockerfile", "FROM scratch\n");
    root.write("ch-2/src/main.rs", "\n");
    root.write("README.md", "\n");
    git(root.path(), &["init", "-q"]);
    git(root.path(), &["add", "-A"]);
    git(root.path(), &["commit", "-qm", "one"]);
    let first = git(root.path(), &["rev-parse", "HEAD"]);
    root.write(file, "changed\n");
    git(root.path(), &["add", "-A"]);
    git(root.path(), &["commit", "-qm", "two"]);
    let (good, text) = run(
        ("changes", "Decide"),
        root.path(),
        &[
            ("BASE", base.unwrap_or(&first)),
            ("GITHUB_EVENT_NAME", event),
            ("GITHUB_REF", reference),
        ],
    );
    assert!(good);
    text
}

const MAIN: &str = "refs/heads/main";
const PULL: &str = "refs/pull/7/merge";

#[test]
fn chapter_is_concerned_by_its_folder_and_by_what_all_share() {
    for (file, concerned) in [
        ("ch-2/src/main.rs", true),
        ("lab/src/main.rs", true),
        ("Cargo.lock", true),
        (".github/workflows/chapter.yml", true),
        ("deny.toml", true),
        ("README.md", false),
        ("ch-1/src/main.rs", false),
        ("ch-22/src/main.rs", false),
    ] {
        let decided = decided(file, "pull_request", PULL, None);
        let line = format!("concerned={concerned}\n");
        assert!(decided.contains(&line), "{file}: {decided}");
    }
}

#[test]
fn without_a_base_to_compare_with_everything_is_checked() {
    let zeros = "0".repeat(40);
    for base in ["", zeros.as_str()] {
        let decided = decided("README.md", "push", MAIN, Some(base));
        assert!(decided.contains("concerned=true\n"), "{base}: {decided}");
    }
}

#[test]
fn only_main_and_version_tags_publish() {
    for (event, reference, publishes) in [
        ("push", MAIN, true),
        ("push", "refs/tags/v1.0.0", true),
        ("push", "refs/tags/other", false),
        ("push", "refs/heads/main-2", false),
        ("pull_request", PULL, false),
        ("pull_request", MAIN, false),
        ("workflow_dispatch", MAIN, false),
        ("merge_group", "refs/heads/gh-readonly-queue/main/pr-7", false),
    ] {
        let decided = decided("ch-2/src/main.rs", event, reference, None);
        let line = format!("publish={publishes}\n");
        assert!(decided.contains(&line), "{event} {reference}: {decided}");
    }
}

/// Whether the verdict is green; the words are concerned, image and publish, then the results of the five jobs.
fn green(words: &str) -> bool {
    let names = [
        "CONCERNED",
        "IMAGE",
        "PUBLISH",
        "CHANGES_RESULT",
        "CHECKS_RESULT",
        "MACOS_RESULT",
        "IMAGE_RESULT",
        "PUBLISH_RESULT",
    ];
    let words: Vec<&str> =
        words.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    assert_eq!(words.len(), names.len());
    let variables: Vec<(&str, &str)> = names.into_iter().zip(words).collect();
    run(("ok", "Verdict"), &chapters::root(), &variables).0
}

#[test]
fn verdict_is_green_where_all_that_was_due_succeeded() {
    for words in [
        "true true true success success success success success",
        "true true false success success success success skipped",
        "true false false success success success skipped skipped",
        "false true true success skipped skipped skipped skipped",
    ] {
        assert!(green(words), "{words}");
    }
}

#[test]
fn verdict_is_red_for_failure_cancellation_and_a_skip_that_was_not_due() {
    for words in [
        // Whether the chapter is concerned is not known.
        "- - - failure skipped skipped skipped skipped",
        "- - - cancelled skipped skipped skipped skipped",
        "true true false success failure success success skipped",
        "true true false success cancelled success success skipped",
        "true true false success skipped success success skipped",
        "true true false success success failure success skipped",
        "true true false success success success failure skipped",
        // The chapter has an image, and nobody looked at it.
        "true true false success success success skipped skipped",
        // Due to be published, and skipped because something before it failed, or failed itself.
        "true true true success failure success success skipped",
        "true true true success success success success skipped",
        "true true true success success success success failure",
        // Published without being asked to.
        "true true false success success success success success",
    ] {
        assert!(!green(words), "{words}");
    }
}
