//! The programs that lab runs: this module builds a chapter, starts it with the variables that lab chooses, reads what
//! it prints, sends it signals, and waits for its end. Used by `check`, `up` and `bench`. When a `Process` is dropped,
//! the program that it stands for is killed.

mod output;
mod program;
mod running;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
pub use rustix::process::Signal;
use tokio::process::Command;

use crate::chapters;
pub use crate::process::output::Output;
pub use crate::process::program::PROXIES;
pub use crate::process::program::Program;
pub use crate::process::running::Finished;
pub use crate::process::running::Process;
pub use crate::process::running::describe;
pub use crate::process::running::tail;

/// When this is dropped, it erases the progress line that cargo leaves if it is interrupted, so that the next output
/// begins on a clean line.
struct EraseProgress;

impl Drop for EraseProgress {
    fn drop(&mut self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

/// Builds chapter `number` and returns its binary. Cargo shows its progress on stderr.
pub async fn build(number: u8) -> Result<PathBuf> {
    build_package(&chapters::name(number)).await
}

/// Builds any package of the workspace whose binary has the name of the package.
///
/// The profile is that of lab itself. `cargo lab` is a release build, and builds no more than `name`. A debug build of
/// lab is for those who work on it, as `.ci/run` does: then the whole workspace is built, because
/// `cargo test --workspace` has compiled nearly all of that already, and for one package alone cargo would choose other
/// features of the dependencies, and compile them again.
pub async fn build_package(name: &str) -> Result<PathBuf> {
    let what: &[&str] =
        if cfg!(debug_assertions) { &["--workspace"] } else { &["--release", "--package", name] };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    // Not `output()`, which would take stderr too, and show nobody what cargo does for minutes.
    let cargo = Command::new(cargo)
        .args(["build", "--locked"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(what)
        .current_dir(chapters::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run cargo")?;
    let interrupted = EraseProgress;
    let output = cargo.wait_with_output().await?;
    std::mem::forget(interrupted);
    if !output.status.success() {
        bail!("cargo could not build {name}; its reason stands above");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == name && message["executable"].is_string())
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built {name}, but named no binary"))
}
