//! `cargo lab coverage N`: the lines of a chapter that its tests run, by cargo-llvm-cov. The workflow's step of that
//! name is this command, so that what it shows can be had at home.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use tokio::process::Command;

use crate::chapters;
use crate::ci::need;
use crate::services;
use crate::terminal;

const TOOL: &str = "cargo-llvm-cov";
const ANSWER: Duration = Duration::from_secs(10);

/// Runs a chapter's tests and shows which lines they reach
///
/// The share is printed; target/coverage/ch-N/html/index.html shows each line, lcov.info is for an editor. The tests
/// that need Cassandra count too where it answers (`cargo lab services up`). The chapter is built once more for this,
/// with counters in it. Needs cargo-llvm-cov (`bash .ci/tools cargo-llvm-cov`) and `rustup component add llvm-tools`.
///
/// Example:
///   cargo lab coverage 4
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter
    chapter: u8,
}

pub async fn run(options: &Options) -> Result<ExitCode> {
    let chapter = chapters::name(chapters::pick(Some(options.chapter))?);
    if let Some(lack) = lack().await {
        bail!(lack);
    }
    let folder = services::target().join("coverage").join(&chapter);
    // What an earlier run counted would count again.
    llvm_cov(["clean", "--profraw-only"]).await?;
    let cassandra = services::cassandra_answers(need::first_node()).await;
    let mut test = vec!["--no-report", "--locked", "--package", &chapter];
    if cassandra {
        test.extend(["--", "--include-ignored"]);
    }
    llvm_cov(test).await?;
    let (lcov, summary) = (folder.join("lcov.info"), folder.join("summary.json"));
    for (form, place) in [
        (["--html", "--output-dir"].as_slice(), &folder),
        (&["--lcov", "--output-path"], &lcov),
        (&["--json", "--summary-only", "--output-path"], &summary),
    ] {
        let report = ["report", "--package", &chapter];
        let words = report.iter().chain(form).map(OsStr::new);
        llvm_cov(words.chain([place.as_os_str()])).await?;
    }
    let share = Share::read(&summary)?;
    let without = match cassandra {
        true => "",
        false => ", without the tests that need Cassandra: cargo lab services up",
    };
    let line = format!("{chapter}: {share}{without}");
    terminal::print(|out| {
        writeln!(out, "{line}")?;
        writeln!(out, "{}", folder.join("html/index.html").display())
    })?;
    append_to_job_summary(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// What is missing for this command, and what to do about it.
pub async fn lack() -> Option<String> {
    if !need::answers(&[TOOL, "llvm-cov", "--version"], ANSWER).await {
        return Some(format!("{TOOL} is missing: bash .ci/tools {TOOL}"));
    }
    // It would offer to install these by itself, and wait for an answer.
    match llvm_tools().await {
        true => None,
        false => Some("llvm-tools are missing: rustup component add llvm-tools".to_owned()),
    }
}

/// Whether the toolchain in use has the tools that read what an instrumented program counted.
async fn llvm_tools() -> bool {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir"])
        .current_dir(chapters::root())
        .output()
        .await;
    output.is_ok_and(|output| {
        let libraries = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&libraries)
            .with_file_name("bin")
            .join("llvm-profdata")
            .is_file()
    })
}

/// Runs the tool on the workspace; what it says goes to stderr.
async fn llvm_cov(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<()> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let status = Command::new("env")
        .args([TOOL, "llvm-cov"])
        .args(&arguments)
        .current_dir(chapters::root())
        .env("PATH", need::path())
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("cannot run {TOOL}"))?;
    if !status.success() {
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        bail!(
            "cargo llvm-cov {} failed; its reason stands above",
            words.join(" ")
        );
    }
    Ok(())
}

/// How many lines the tests reach.
#[derive(Debug, PartialEq)]
struct Share {
    reached: u64,
    lines: u64,
}

impl Share {
    fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("no share of lines in {}", file.display()))
    }

    fn parse(json: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(json).ok()?;
        let lines = &document["data"][0]["totals"]["lines"];
        Some(Self {
            reached: lines["covered"].as_u64()?,
            lines: lines["count"].as_u64()?,
        })
    }
}

impl Display for Share {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rounded down: 100 % is said of nothing less.
        let per_mille = self.reached * 1000 / self.lines.max(1);
        write!(
            out,
            "{}.{} % of {} lines are run by tests",
            per_mille / 10,
            per_mille % 10,
            self.lines
        )
    }
}

/// On GitHub, the page of the run shows what stands in this file.
fn append_to_job_summary(line: &str) -> Result<()> {
    let Some(file) = std::env::var_os("GITHUB_STEP_SUMMARY") else {
        return Ok(());
    };
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut file| writeln!(file, "{line}"))
        .context("cannot write to the file that GITHUB_STEP_SUMMARY names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_read_and_rounded_down() {
        let json = br#"{"data":[{"totals":{"lines":{"count":2000,"covered":1999}}}]}"#;
        let share = Share::parse(json).unwrap();
        assert_eq!(share.to_string(), "99.9 % of 2000 lines are run by tests");
        let all = Share {
            reached: 7,
            lines: 7,
        };
        assert!(all.to_string().starts_with("100.0 % of 7"), "{all}");
    }

    #[test]
    fn summary_without_lines_has_no_share() {
        for json in [
            "",
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":[{"totals":{"lines":{}}}]}"#,
        ] {
            assert_eq!(Share::parse(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn chapter_without_lines_divides_by_nothing() {
        let none = Share {
            reached: 0,
            lines: 0,
        };
        assert!(none.to_string().starts_with("0.0 %"), "{none}");
    }
}
