//! A workflow of GitHub Actions as far as lab reads it: the jobs in their order, and of each its steps. Used by `ci`,
//! which runs the steps, and by `drift`, which looks at how they are written.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use yaml_rust2::Yaml;
use yaml_rust2::YamlLoader;

/// The workflow that holds the steps of every chapter.
pub const CHAPTER: &str = ".github/workflows/chapter.yml";

#[derive(Debug)]
pub struct Workflow {
    pub jobs: Vec<Job>,
}

#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub name: Option<String>,
    /// The shell script; `None` where the step runs an action.
    pub run: Option<String>,
}

impl Workflow {
    pub fn read(root: &Path, file: &str) -> Result<Self> {
        let text = std::fs::read_to_string(root.join(file))
            .with_context(|| format!("cannot read {file}"))?;
        Self::parse(&text).with_context(|| format!("cannot understand {file}"))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let documents = YamlLoader::load_from_str(text).context("this is not YAML")?;
        let document = documents.first().context("the file is empty")?;
        let jobs = document["jobs"].as_hash().context("it has no `jobs:`")?;
        let mut read = Vec::new();
        for (id, job) in jobs {
            let mut steps = Vec::new();
            for step in job["steps"].as_vec().into_iter().flatten() {
                steps.push(Step { name: text_of(&step["name"]), run: text_of(&step["run"]) });
            }
            read.push(Job { id: id.as_str().unwrap_or_default().to_owned(), steps });
        }
        Ok(Self { jobs: read })
    }

    /// The steps that run a script, with the job that each is in.
    pub fn scripts(&self) -> impl Iterator<Item = (&str, &Step)> {
        self.jobs.iter().flat_map(|job| {
            job.steps.iter().filter(|step| step.run.is_some()).map(|step| (job.id.as_str(), step))
        })
    }

    /// What the step of this name in this job runs.
    pub fn script(&self, job: &str, name: &str) -> Option<&str> {
        self.scripts()
            .find(|(id, step)| *id == job && step.name.as_deref() == Some(name))
            .and_then(|(_, step)| step.run.as_deref())
    }
}

/// A scalar as it is meant here: the command `true` is no truth value.
fn text_of(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Boolean(value) => Some(value.to_string()),
        Yaml::Integer(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: x\non:\n  push:\npermissions: {}\njobs:\n  second:\n    steps:\n      - uses: a/b@c\n      - name: One\n        run: cargo one\n  first:\n    steps:\n      - name: Two\n        run: |\n          a\n          b\n  caller:\n    uses: ./x.yml\n";

    #[test]
    fn jobs_and_steps_keep_their_order() {
        let workflow = Workflow::parse(TEXT).unwrap();
        let seen: Vec<_> = workflow
            .scripts()
            .map(|(job, step)| (job, step.name.as_deref(), step.run.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [("second", Some("One"), Some("cargo one")), ("first", Some("Two"), Some("a\nb\n")),]
        );
        assert_eq!(workflow.script("first", "Two"), Some("a\nb\n"));
        assert_eq!(workflow.script("second", "Two"), None);
    }

    #[test]
    fn command_that_reads_as_a_truth_value_is_a_command() {
        let text = "jobs:\n  a:\n    steps:\n      - run: true\n";
        let workflow = Workflow::parse(text).unwrap();
        let (_, step) = workflow.scripts().next().unwrap();
        assert_eq!(step.run.as_deref(), Some("true"));
    }

    #[test]
    fn what_is_no_workflow_is_an_error() {
        for text in ["", "a: [", "name: x\n"] {
            assert!(Workflow::parse(text).is_err(), "{text}");
        }
    }
}
