//! `cargo lab doctor`: what this machine has, what it lacks for which chapter, and the command that mends it.

mod finding;
mod machine;
mod tools;

use std::process::ExitCode;

use anyhow::Result;

use crate::doctor::finding::Finding;
use crate::doctor::finding::Mark;
use crate::terminal;

/// Looks at this machine: what each chapter needs, and the command that mends what is missing
///
/// A line each: `✓` is there, `!` is missing for a later chapter or needs attention, `✗` is missing for the first
/// chapters. The exit status is 0 unless there is a `✗`. Example:
///   cargo lab doctor
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {}

pub async fn run(_options: &Options) -> Result<ExitCode> {
    let mut findings = tools::look().await;
    findings.extend(machine::look().await);
    terminal::print(|out| out.write_all(report(&findings).as_bytes()))?;
    let missing = findings.iter().any(|finding| finding.mark == Mark::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(findings: &[Finding]) -> String {
    let mut text: String = findings.iter().map(Finding::to_string).collect();
    let count = |mark| findings.iter().filter(|finding| finding.mark == mark).count();
    text += &match (count(Mark::Missing), count(Mark::Attention)) {
        (0, 0) => "everything is here\n".to_owned(),
        (0, later) => {
            format!("ready for the first chapters; {later} for later, see the lines with !\n")
        }
        (now, _) => format!("not ready: {now} missing, see the lines with ✗\n"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_what_to_do_below_what_is_missing() {
        let good = Finding::good("git", "2.39.5", "diff");
        let bad =
            Finding::missing("gcc", "not found", "every chapter", "sudo apt-get install -y gcc");
        let expected = "✓ git             2.39.5 (diff)
✗ gcc             not found (every chapter)
                  > sudo apt-get install -y gcc
not ready: 1 missing, see the lines with ✗
";
        assert_eq!(report(&[good, bad]), expected);
    }
}
