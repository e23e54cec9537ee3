//! `cargo lab ci N`: runs the steps of a chapter's workflow on this machine. The commands are read from the workflow
//! itself. A step that only GitHub can run, or that needs a program which is missing here, is skipped, and the output
//! says so.

pub mod need;
mod report;
#[cfg(test)]
mod script_tests;
pub mod steps;
pub mod workflow;

use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tokio::process::Command;

use self::report::Outcome;
use self::report::Report;
use self::steps::Place;
use self::steps::STEPS;
use self::steps::Step;
use self::workflow::Workflow;
use crate::chapters;

/// Runs the steps of a chapter's workflow on this machine, as GitHub would
///
/// The commands are those of .github/workflows/chapter.yml, in their order, each in a bash of its own in the root of
/// the repository, with CHAPTER set. A step that needs what is missing here (Docker, Cassandra, a checker) is skipped,
/// and its line says what to install. After a failure the next step runs all the same, so that one run shows all
/// failures; on GitHub the job would end there. The exit status is 0 if no step failed and at least one passed.
///
/// Examples:
///   cargo lab ci 4
///   cargo lab ci 4 --list              the steps: what each catches, needs and runs
///   cargo lab ci 4 --only format       one step, or each whose name contains this
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter, as in 4 or ch-4
    #[arg(value_parser = chapters::number)]
    chapter: u8,

    /// Only the step of this name, or each whose name contains this, in any case; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Show the steps, what each catches and what it needs, and run none
    #[arg(long)]
    list: bool,
}

pub async fn run(options: &Options) -> Result<ExitCode> {
    let chapter = chapters::pick(Some(options.chapter))?;
    let workflow = Workflow::read(&chapters::root(), workflow::CHAPTER)?;
    let chosen = select(STEPS, &workflow, &options.only)?;
    let mut report = Report::new(chapter);
    if options.list {
        report.list(&chosen);
        return Ok(ExitCode::SUCCESS);
    }
    report.head();
    for (step, script) in chosen {
        let outcome = match step.place {
            // Named only where it was asked for: the list shows them all.
            Place::GitHub(_) if options.only.is_empty() => continue,
            Place::GitHub(why) => Outcome::Skipped(format!("it runs on GitHub alone; {why}")),
            Place::Home(needs) => {
                let not_passed = report.not_passed();
                let mut lack = None;
                for need in needs {
                    if lack.is_none() {
                        lack = need.lack(chapter, &not_passed).await;
                    }
                }
                match lack {
                    Some(lack) => Outcome::Skipped(lack),
                    None => {
                        report.begin(step, script);
                        execute(script, chapter).await?
                    }
                }
            }
        };
        report.end(step, outcome);
    }
    Ok(report.finish())
}

/// The steps that were asked for, each with its command.
fn select<'a>(
    steps: &'static [Step],
    workflow: &'a Workflow,
    only: &[String],
) -> Result<Vec<(&'static Step, &'a str)>> {
    let only: Vec<String> = only.iter().map(|name| name.to_lowercase()).collect();
    // A whole name means that step alone: "tests" is not "Tests on macOS".
    let whole = |part: &str| steps.iter().any(|step| step.name.to_lowercase() == part);
    let mut chosen = Vec::new();
    for step in steps {
        let name = step.name.to_lowercase();
        let named = |part: &String| name == *part || (name.contains(part) && !whole(part));
        if only.is_empty() || only.iter().any(named) {
            let script = workflow.script(step.job, step.name).with_context(|| {
                format!(
                    "{} has no step `{}`: `cargo lab drift` shows what else differs",
                    workflow::CHAPTER,
                    step.name
                )
            })?;
            chosen.push((step, script));
        }
    }
    if chosen.is_empty() {
        bail!("no step has such a name; `cargo lab ci N --list` shows them");
    }
    Ok(chosen)
}

/// Runs a step as GitHub's runner does with `shell: bash`, its output shown as it comes.
async fn execute(script: &str, chapter: u8) -> Result<Outcome> {
    let begun = Instant::now();
    let status = Command::new("bash")
        .args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script])
        .current_dir(chapters::root())
        .env("CHAPTER", chapter.to_string())
        .env("PATH", need::path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot run bash: install it")?;
    let took: Duration = begun.elapsed();
    if status.success() {
        return Ok(Outcome::Passed(took));
    }
    Ok(Outcome::Failed(took, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Workflow {
        Workflow::read(&chapters::root(), workflow::CHAPTER).unwrap()
    }

    #[test]
    fn each_step_has_its_command_in_the_workflow_and_the_same_order() {
        let workflow = ours();
        let there: Vec<(&str, &str)> = workflow
            .scripts()
            .map(|(job, step)| (job, step.name.as_deref().unwrap_or("without a name")))
            .collect();
        let listed: Vec<(&str, &str)> = STEPS.iter().map(|step| (step.job, step.name)).collect();
        assert_eq!(there, listed);
    }

    #[test]
    fn steps_are_chosen_by_a_part_of_their_name() {
        let workflow = ours();
        let names = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|part| (*part).to_owned()).collect();
            let chosen = select(STEPS, &workflow, &only).unwrap();
            chosen.iter().map(|(step, _)| step.name).collect()
        };
        assert_eq!(names(&["FORM"]), ["Format"]);
        assert_eq!(names(&["clippy", "drift"]), ["Clippy", "Drift"]);
        assert_eq!(names(&["tests"]), ["Tests"]);
        assert!(names(&["test"]).len() > 1);
        assert_eq!(names(&[]).len(), STEPS.len());
        assert!(select(STEPS, &workflow, &["nothing like it".to_owned()]).is_err());
    }

    #[test]
    fn workflow_that_lacks_a_step_is_an_error_that_names_it() {
        let text = "permissions: {}\njobs:\n  checks:\n    steps:\n      - name: Format\n        run: true\n";
        let workflow = Workflow::parse(text).unwrap();
        let error = select(STEPS, &workflow, &["clippy".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("has no step `Clippy`"), "{error}");
    }

    #[tokio::test]
    async fn step_fails_where_the_first_part_of_a_pipe_does() {
        for (script, passes) in
            [("[ \"$CHAPTER\" = 3 ]", true), ("false | true", false), ("false\ntrue", false)]
        {
            let outcome = execute(script, 3).await.unwrap();
            assert_eq!(matches!(outcome, Outcome::Passed(_)), passes, "{script}");
        }
    }
}
