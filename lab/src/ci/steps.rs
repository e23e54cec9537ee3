//! The steps that the workflow of a chapter must have, in their order: what each catches, and what it needs at home.
//! The commands themselves stand in the workflow alone; `cargo lab drift` compares the names.

use crate::ci::need::Need;

#[derive(Debug)]
pub struct Step {
    /// The job of the workflow that it is in.
    pub job: &'static str,
    pub name: &'static str,
    pub catches: &'static str,
    pub place: Place,
}

#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At home too, where these are there.
    Home(&'static [Need]),
    /// On GitHub alone; why, or what does its work at home.
    GitHub(&'static str),
}

use Place::GitHub;
use Place::Home;

const PINNED: &str = "a toolchain in another version than the one in rust-toolchain.toml";
const DOCTOR: &str = "at home: `cargo lab doctor`";

pub const STEPS: &[Step] = &[
    step(
        "changes",
        "Decide",
        "work for nothing: a chapter that the change does not touch is not checked",
        GitHub("at home you decide"),
    ),
    step("checks", "Toolchain", PINNED, GitHub(DOCTOR)),
    step(
        "checks",
        "Checkers",
        "a checker in another version than the one pinned",
        GitHub("at home: `bash .ci/tools`"),
    ),
    step("checks", "Format", "code that is not laid out as rustfmt does it", Home(&[])),
    step(
        "checks",
        "Clippy",
        "a warning of the compiler or of clippy, each of which is an error here",
        Home(&[]),
    ),
    step("checks", "Tests", "a test that fails", Home(&[])),
    step(
        "checks",
        "Tests against Cassandra and Kafka",
        "a statement or a schema that a real Cassandra refuses, counts that it does not keep; the same of Kafka and topics",
        Home(&[Need::Cassandra, Need::Kafka]),
    ),
    step(
        "checks",
        "Coverage",
        "code that no test runs: it never fails because of a low share, it only shows the lines",
        Home(&[Need::CARGO_LLVM_COV, Need::LLVM_TOOLS, Need::Cassandra, Need::Kafka]),
    ),
    step(
        "checks",
        "Acceptance",
        "a promise of this chapter, or of one before it, that the program does not keep when seen from outside",
        Home(&[]),
    ),
    step(
        "checks",
        "Faults",
        "an event lost, or counted twice where that is not stated, when a role or the broker dies in the middle",
        Home(&[Need::Topic]),
    ),
    step(
        "checks",
        "Carry-over",
        "a step from one chapter to the next that changes more than it teaches",
        Home(&[]),
    ),
    step(
        "checks",
        "Drift",
        "a file that should be the same in two chapters and is not, a workflow without one of these steps",
        Home(&[]),
    ),
    step(
        "checks",
        "Workflow files",
        "a mistake in a workflow before GitHub refuses it, an action that is not pinned, a right that a job does not need",
        Home(&[Need::ACTIONLINT, Need::ZIZMOR]),
    ),
    step(
        "checks",
        "Dockerfile",
        "a mistake in the Dockerfile: a base without a version, a lost exit status, root as the user",
        Home(&[Need::Dockerfile, Need::HADOLINT]),
    ),
    step(
        "checks",
        "Licences and sources",
        "a dependency under a licence that is not allowed, from elsewhere than crates.io, or banned",
        Home(&[Need::CARGO_DENY]),
    ),
    step(
        "checks",
        "Advisories",
        "a dependency with a known vulnerability, or one that was withdrawn or given up",
        Home(&[Need::CARGO_DENY, Need::ADVISORIES]),
    ),
    step("macos", "Toolchain", PINNED, GitHub(DOCTOR)),
    step(
        "macos",
        "Tests on macOS",
        "what works on Linux alone",
        GitHub("the step `Tests` is the same, and on a Mac it is this one"),
    ),
    step("image", "Toolchain", PINNED, GitHub(DOCTOR)),
    step(
        "image",
        "Scanner",
        "a scanner in another version than the one pinned",
        GitHub("at home: `bash .ci/tools cargo-cyclonedx grype`"),
    ),
    step(
        "image",
        "Build the image",
        "a Dockerfile that does not build, an image that does not start or says another version than it should",
        Home(&[Need::Dockerfile, Need::Docker]),
    ),
    step(
        "image",
        "Check the image",
        "a promise that the program keeps on your machine and not in its image",
        Home(&[Need::Dockerfile, Need::Docker, Need::Step("Build the image")]),
    ),
    step(
        "image",
        "Bill of materials",
        "nothing by itself: it lists what the program is made of, for the scan and for whoever runs it",
        Home(&[Need::CARGO_CYCLONEDX]),
    ),
    step(
        "image",
        "Scan the image",
        "a known vulnerability in what the image holds: what the program is made of, and what lies beside it",
        Home(&[
            Need::Dockerfile,
            Need::Docker,
            Need::Step("Build the image"),
            Need::Step("Bill of materials"),
            Need::GRYPE,
            Need::VULNERABILITIES,
        ]),
    ),
    step(
        "image",
        "Keep the image",
        "another image being published than the one that was checked",
        GitHub("it hands the image to the job `publish`"),
    ),
    step(
        "publish",
        "Publish",
        "nothing: main and tags publish what was checked, for both architectures under one name",
        GitHub("only the main branch and tags publish"),
    ),
    step(
        "ok",
        "Verdict",
        "a job that failed, was cancelled, or was skipped because one before it failed",
        GitHub("at home: the last line and the exit status"),
    ),
];

const fn step(job: &'static str, name: &'static str, catches: &'static str, place: Place) -> Step {
    Step { job, name, catches, place }
}
