//! What a step of the workflow needs of a machine, how to see whether it is there, and what to do where it is not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::chapters;
use crate::services;

/// A Docker client may wait for a remote engine without end.
const ANSWER: Duration = Duration::from_secs(10);
/// A database of vulnerabilities is fetched where it is not there yet.
const FETCH: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program that `.ci/tools` installs, and the arguments with which it says its version.
    Tool(&'static str, &'static [&'static str]),
    /// What is kept elsewhere: its name, and the command that fetches it, or does nothing where it is here.
    Fetched(&'static str, &'static [&'static str]),
    Cassandra,
    /// The chapter has a topic between two roles.
    Topic,
    /// Where the chapter has a topic.
    Kafka,
    Docker,
    /// The chapter has one.
    Dockerfile,
    /// That step has not failed and was not skipped in this run.
    Step(&'static str),
}

impl Need {
    pub const ACTIONLINT: Self = Self::Tool("actionlint", &["-version"]);
    pub const CARGO_DENY: Self = Self::Tool("cargo-deny", &["--version"]);
    pub const CARGO_CYCLONEDX: Self = Self::Tool("cargo-cyclonedx", &["cyclonedx", "--version"]);
    pub const CARGO_LLVM_COV: Self = Self::Tool("cargo-llvm-cov", &["llvm-cov", "--version"]);
    pub const GRYPE: Self = Self::Tool("grype", &["--version"]);
    pub const HADOLINT: Self = Self::Tool("hadolint", &["--version"]);
    pub const ZIZMOR: Self = Self::Tool("zizmor", &["--version"]);
    /// They read what an instrumented program counted.
    pub const LLVM_TOOLS: Self =
        Self::Fetched("the toolchain's llvm-tools", &["rustup", "component", "add", "llvm-tools"]);
    pub const ADVISORIES: Self =
        Self::Fetched("the advisories of RustSec", &["cargo", "deny", "--locked", "fetch", "db"]);
    pub const VULNERABILITIES: Self =
        Self::Fetched("grype's database of vulnerabilities", &["grype", "db", "update"]);

    /// In a few words, for the list.
    pub fn name(self) -> String {
        match self {
            Self::Tool(program, _) => program.to_owned(),
            Self::Fetched(name, _) => name.to_owned(),
            Self::Cassandra => "Cassandra".to_owned(),
            Self::Topic => "a chapter with a topic, from 5 on".to_owned(),
            Self::Kafka => "Kafka from chapter 5 on".to_owned(),
            Self::Docker => "Docker".to_owned(),
            Self::Dockerfile => "a chapter with a Dockerfile".to_owned(),
            Self::Step(name) => format!("`{name}`"),
        }
    }

    /// What is missing and what to do about it, for chapter `number`; `None` where nothing is.
    pub async fn lack(self, number: u8, not_passed: &[&str]) -> Option<String> {
        let (there, lack) = match self {
            Self::Tool(program, version) => (
                answers(&[&[program], version].concat(), ANSWER).await,
                format!("{program} is missing: bash .ci/tools {program}"),
            ),
            Self::Fetched(name, fetch) => (
                answers(fetch, FETCH).await,
                format!(
                    "{name} can't be fetched: try `{}` where there is a network",
                    fetch.join(" ")
                ),
            ),
            Self::Cassandra => {
                let node = first_node();
                let there = services::cassandra_answers(&node).await;
                (there, format!("no Cassandra answers on {node}: cargo lab services up"))
            }
            Self::Topic => (number >= 5, format!("{} has no topic", chapters::name(number))),
            Self::Kafka => {
                let broker = first_of("REDPANDA_BROKER", "127.0.0.1:9092");
                let there = number < 5 || services::kafka_answers(&broker).await;
                (there, format!("no Kafka answers on {broker}: cargo lab services up kafka"))
            }
            Self::Docker => (
                answers(&["docker", "version", "--format", "{{.Server.Version}}"], ANSWER).await,
                "no Docker engine answers: `cargo lab doctor` says how to install or start one"
                    .to_owned(),
            ),
            Self::Dockerfile => (
                chapters::folder(number).join("Dockerfile").is_file(),
                format!("{} has no Dockerfile", chapters::name(number)),
            ),
            Self::Step(name) => (!not_passed.contains(&name), format!("`{name}` did not pass")),
        };
        (!there).then_some(lack)
    }
}

/// Where the chapters' tests look for Cassandra first.
pub fn first_node() -> String {
    first_of("CASSANDRA_NODES", "127.0.0.1:9042")
}

/// The first address of a variable that holds several.
fn first_of(variable: &str, default: &str) -> String {
    let addresses = std::env::var(variable).unwrap_or_default();
    match addresses.split(',').next() {
        Some(first) if !first.is_empty() => first.to_owned(),
        _ => default.to_owned(),
    }
}

/// The folder that `.ci/tools` installs into.
fn tools() -> PathBuf {
    std::env::var_os("TOOLS_DIR").map_or_else(|| services::target().join("tools"), PathBuf::from)
}

/// PATH with what `.ci/tools` has installed first.
pub fn path() -> OsString {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools().join("bin")).chain(std::env::split_paths(&before));
    std::env::join_paths(folders).unwrap_or(before)
}

/// Whether the command ends well within `deadline`; what it prints is of no interest.
pub async fn answers(command: &[&str], deadline: Duration) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return false;
    };
    // Through the shell's `env`, so that the program is looked up in the new PATH.
    let status = Command::new("env")
        .arg(program)
        .args(arguments)
        .current_dir(chapters::root())
        .env("PATH", path())
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    tokio::time::timeout(deadline, status)
        .await
        .is_ok_and(|status| status.is_ok_and(|status| status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_to_do() {
        let lack = Need::Tool("no-such-tool", &[]).lack(1, &[]).await.unwrap();
        assert_eq!(lack, "no-such-tool is missing: bash .ci/tools no-such-tool");
        let lack = Need::Dockerfile.lack(1, &[]).await.unwrap();
        assert_eq!(lack, "ch-1 has no Dockerfile");
        let lack = Need::Topic.lack(4, &[]).await.unwrap();
        assert_eq!(lack, "ch-4 has no topic");
        let lack = Need::Fetched("it", &["false"]).lack(1, &[]).await.unwrap();
        assert!(lack.starts_with("it can't be fetched: try `false`"), "{lack}");
    }

    #[tokio::test]
    async fn what_is_there_is_no_lack() {
        assert_eq!(Need::Tool("true", &[]).lack(1, &[]).await, None);
        assert_eq!(Need::Dockerfile.lack(2, &[]).await, None);
        assert_eq!(Need::Topic.lack(5, &[]).await, None);
        assert_eq!(Need::Kafka.lack(4, &[]).await, None);
    }

    #[tokio::test]
    async fn step_that_builds_on_a_failed_one_is_not_run() {
        let need = Need::Step("Build");
        assert_eq!(need.lack(1, &["Test"]).await, None);
        let lack = need.lack(1, &["Test", "Build"]).await.unwrap();
        assert_eq!(lack, "`Build` did not pass");
    }

    #[tokio::test]
    async fn command_without_an_end_does_not_answer() {
        assert!(!answers(&["sleep", "600"], Duration::from_millis(50)).await);
    }
}
