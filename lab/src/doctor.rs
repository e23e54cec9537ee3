//! `cargo lab doctor`: shows what this machine has, what is missing for which chapter, and the command that installs
//! it.

mod finding;
mod machine;
mod tools;

use std::process::ExitCode;

use anyhow::Result;

use crate::doctor::finding::Finding;
use crate::doctor::finding::Mark;
use crate::screen;

/// Looks whether this machine has what the chapters need, and shows the command that installs what is missing
///
/// Each line is about one thing. `✓` means that it is there, `!` that a later chapter needs it or that it needs
/// attention, and `✗` that the first chapters need it. The exit status is 0 unless there is a `✗`. Example:
///   cargo lab doctor
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {}

pub async fn run(_options: &Options) -> Result<ExitCode> {
    // Each is printed as soon as it is known: some programs take many seconds to say their version.
    let mut marks = Vec::new();
    let mut tell = |finding: Finding| {
        marks.push(finding.mark);
        let _ = screen::print(&finding.to_string());
    };
    tools::look(&mut tell).await;
    machine::look(&mut tell).await;
    let _ = screen::print(&summary(&marks));
    let missing = marks.contains(&Mark::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn summary(marks: &[Mark]) -> String {
    let count = |mark| marks.iter().filter(|found| **found == mark).count();
    match (count(Mark::Missing), count(Mark::Attention)) {
        (0, 0) => "nothing is missing\n".to_owned(),
        (0, later) => {
            format!(
                "ready for the first chapters; later chapters need {later} more, see the lines with !\n"
            )
        }
        (now, _) => format!("not ready: {now} missing, see the lines with ✗\n"),
    }
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
";
        assert_eq!(format!("{good}{bad}"), expected);
        let marks = [good.mark, bad.mark];
        assert_eq!(summary(&marks), "not ready: 1 missing, see the lines with ✗\n");
    }
}
