//! `cargo lab doctor`: what this machine has, what it lacks for which chapter, and the command that mends it.

mod finding;
mod machine;
mod tools;

use std::process::ExitCode;

use anyhow::Result;

use crate::doctor::finding::Finding;
use crate::doctor::finding::Mark;
use crate::screen;

/// Looks at this machine: what each chapter needs, and the command that mends what is missing
///
/// A line each: `✓` is there, `!` is missing for a later chapter or needs attention, `✗` is missing for the first
/// chapters. The exit status is 0 unless there is a `✗`. Example:
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
        (0, 0) => "everything is here\n".to_owned(),
        (0, later) => {
            format!("ready for the first chapters; {later} for later, see the lines with !\n")
        }
        (now, _) => format!("not ready: {now} to mend, see the lines with ✗\n"),
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
        assert_eq!(summary(&marks), "not ready: 1 to mend, see the lines with ✗\n");
    }
}
