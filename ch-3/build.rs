//! Sets the revision that `--version` prints. It comes from the variable REVISION, because the build of an image has no
//! `.git`. If the variable is not set, it comes from Git.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=REVISION");
    // Without Git there is no such file: Cargo would take its absence for a change, and compile again each time.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let revision = std::env::var("REVISION").ok().filter(|text| !text.is_empty());
    let revision = revision.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let revision = revision.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=REVISION={revision}");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
