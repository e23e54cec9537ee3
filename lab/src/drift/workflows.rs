//! Fourth rule: every chapter is checked by the same steps. chapter.yml has those of lab's list in their order, and
//! each chapter has its caller. What every repository must mind, such as pinned actions and the rights of jobs, zizmor
//! checks; here stands only what it can't know.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;

use crate::chapters;
use crate::ci::steps::STEPS;
use crate::ci::workflow::CHAPTER;
use crate::ci::workflow::Workflow;
use crate::drift::violation::Violation;

const FOLDER: &str = ".github/workflows";
const LIST: &str = "lab/src/ci/steps.rs";
/// The text of every caller, `{N}` for the chapter's number.
const CALLER: &str = include_str!("../ci/caller.yml");

/// `numbers` are the chapters that there are.
pub fn check(root: &Path, numbers: &[u8]) -> Result<Vec<Violation>> {
    let mut violations = callers(root, numbers);
    for file in files(root)? {
        if let Some(number) = caller_of(&file)
            && !numbers.contains(&number)
        {
            violations.push(violation(
                &file,
                format!("calls for {}, which is not there", chapters::name(number)),
                "remove it",
            ));
        }
        let text = std::fs::read_to_string(root.join(&file))
            .with_context(|| format!("cannot read {file}"))?;
        let workflow = match Workflow::parse(&text) {
            Ok(workflow) => workflow,
            Err(error) => {
                let what = format!("is no workflow ({error:#})").replace('\n', " ");
                violations.push(violation(&file, what, "run actionlint, which says where"));
                continue;
            }
        };
        if file == CHAPTER {
            violations.extend(steps(&file, &workflow));
        }
        violations.extend(versions(&file, &text));
    }
    Ok(violations)
}

fn violation(file: &str, what: impl Into<String>, to_do: impl Into<String>) -> Violation {
    Violation { file: file.to_owned(), what: what.into(), to_do: to_do.into() }
}

/// The workflows that are there, by name, and `chapter.yml` also where it is not.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut files = vec![CHAPTER.to_owned()];
    for entry in std::fs::read_dir(root.join(FOLDER)).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yml") || name.ends_with(".yaml") {
            files.push(format!("{FOLDER}/{name}"));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn caller_of(file: &str) -> Option<u8> {
    let name = file.strip_prefix(FOLDER)?.strip_prefix("/ci-ch-")?;
    name.split('.').next()?.parse().ok()
}

fn callers(root: &Path, numbers: &[u8]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for number in numbers {
        let file = format!("{FOLDER}/ci-ch-{number}.yml");
        let expected = CALLER.replace("{N}", &number.to_string());
        let what = match std::fs::read_to_string(root.join(&file)) {
            Err(_) => format!("is missing, so nothing checks {}", chapters::name(*number)),
            Ok(text) if text != expected => {
                "is not the thin caller that each chapter has".to_owned()
            }
            Ok(_) => continue,
        };
        let to_do = "write what lab/src/ci/caller.yml says, with the chapter's number for {N}";
        violations.push(violation(&file, what, to_do));
    }
    violations
}

/// One line for what is missing, for what is unknown, and for each step that is before one it should follow.
fn steps(file: &str, workflow: &Workflow) -> Vec<Violation> {
    let mut violations = Vec::new();
    let place =
        |job: &str, name: &str| STEPS.iter().position(|step| (step.job, step.name) == (job, name));
    let there: Vec<(&str, &str)> = workflow
        .scripts()
        .map(|(job, step)| (job, step.name.as_deref().unwrap_or_default()))
        .collect();
    for step in STEPS {
        if !there.contains(&(step.job, step.name)) {
            violations.push(violation(
                file,
                format!("job `{}` lacks the step `{}`", step.job, step.name),
                format!("add it, or take it out of {LIST}"),
            ));
        }
    }
    let mut last = 0;
    for (job, step) in workflow.scripts() {
        let name = step.name.as_deref().unwrap_or_default();
        let to_do = match place(job, name) {
            None => Some((
                format!("job `{job}` has the step `{name}`, which is unknown"),
                format!("add it to {LIST}, with what it catches, or remove it"),
            )),
            Some(place) if place < last => Some((
                format!("job `{job}` has the step `{name}` after one that should follow it"),
                format!("put it where {LIST} has it"),
            )),
            Some(place) => {
                last = place;
                None
            }
        };
        violations.extend(to_do.map(|(what, to_do)| violation(file, what, to_do)));
        if step.run.as_deref().is_some_and(|run| run.contains("${{")) {
            violations.push(violation(
                file,
                format!("the step `{name}` has an expression in its `run:`"),
                "give it to the script in `env:`, so that it runs at home, and that no input is taken for shell",
            ));
        }
    }
    violations
}

/// An action that is named by a hash has its version beside it.
fn versions(file: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((_, called)) = line.split_once("uses: ") else {
            continue;
        };
        let (called, comment) = called.split_once(" # ").unwrap_or((called, ""));
        let version = comment.strip_prefix('v').unwrap_or_default();
        if called.contains('@') && !version.starts_with(|c: char| c.is_ascii_digit()) {
            violations.push(violation(
                &format!("{file}:{}", index + 1),
                format!("`{called}` does not say its version"),
                "add it as a comment, as in `# v6.0.2`: nobody can read a hash",
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests;
