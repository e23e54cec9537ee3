//! What `ci` prints: each step with its command as it begins, its result as it ends, all results once more at the end.

use std::process::ExitCode;
use std::process::ExitStatus;
use std::time::Duration;

use super::steps::Place;
use super::steps::Step;
use super::workflow;
use crate::process;
use crate::screen;
use crate::terminal;

pub enum Outcome {
    Passed(Duration),
    Failed(Duration, ExitStatus),
    /// What is missing, and what to do about it.
    Skipped(String),
}

pub struct Report {
    chapter: u8,
    colour: bool,
    results: Vec<(&'static Step, Outcome)>,
}

impl Report {
    pub fn new(chapter: u8) -> Self {
        Self { chapter, colour: terminal::has_colour(), results: Vec::new() }
    }

    pub fn head(&self) {
        print(&format!(
            "the steps of {}, with CHAPTER={}; --list shows those that only GitHub runs too\n",
            workflow::CHAPTER,
            self.chapter
        ));
    }

    pub fn begin(&self, step: &Step, script: &str) {
        print(&format!("\n{}\n", self.paint("1", step.name)));
        print(&command(script));
    }

    pub fn end(&mut self, step: &'static Step, outcome: Outcome) {
        let gap = match outcome {
            Outcome::Skipped(_) => "\n",
            _ => "",
        };
        print(&format!("{gap}{}\n", self.line(step, &outcome)));
        self.results.push((step, outcome));
    }

    fn line(&self, step: &Step, outcome: &Outcome) -> String {
        let name = step.name;
        match outcome {
            Outcome::Passed(took) => {
                format!("{} {name} ({:.1} s)", self.paint("32", "✓"), took.as_secs_f64())
            }
            Outcome::Failed(took, status) => format!(
                "{} {name} ({:.1} s): {}; it catches {}",
                self.paint("31", "✗"),
                took.as_secs_f64(),
                process::describe(*status),
                step.catches
            ),
            Outcome::Skipped(reason) => self.paint("33", &format!("- {name}: skipped, {reason}")),
        }
    }

    /// The steps that failed or were skipped.
    pub fn not_passed(&self) -> Vec<&'static str> {
        self.results
            .iter()
            .filter(|(_, outcome)| !matches!(outcome, Outcome::Passed(_)))
            .map(|(step, _)| step.name)
            .collect()
    }

    /// Prints the end, and says how `ci` must exit.
    pub fn finish(&self) -> ExitCode {
        print("\n");
        for (step, outcome) in &self.results {
            print(&format!("{}\n", self.line(step, outcome)));
        }
        let count = |wanted: fn(&Outcome) -> bool| {
            self.results.iter().filter(|(_, outcome)| wanted(outcome)).count()
        };
        let passed = count(|outcome| matches!(outcome, Outcome::Passed(_)));
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(..)));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        print(&format!(
            "chapter {}: {passed} passed, {failed} failed, {skipped} skipped\n",
            self.chapter
        ));
        if self.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// No step has failed, and not all were skipped: what was not looked at is not good.
    fn good(&self) -> bool {
        let any =
            |wanted: fn(&Outcome) -> bool| self.results.iter().any(|(_, outcome)| wanted(outcome));
        any(|outcome| matches!(outcome, Outcome::Passed(_)))
            && !any(|outcome| matches!(outcome, Outcome::Failed(..)))
    }

    /// `--list`.
    pub fn list(&self, steps: &[(&Step, &str)]) {
        let mut job = "";
        for (step, script) in steps {
            if job != step.job {
                job = step.job;
                print(&format!("job {job}\n"));
            }
            let place = match step.place {
                Place::Home([]) => String::new(),
                Place::Home(needs) => {
                    let names: Vec<String> = needs.iter().map(|need| need.name()).collect();
                    format!(" [{}]", names.join("; "))
                }
                Place::GitHub(why) => format!(" [on GitHub only: {why}]"),
            };
            print(&format!("  {}{place}\n", self.paint("1", step.name)));
            print(&format!("      catches {}\n", step.catches));
            if let Place::Home(_) = step.place {
                for line in command(script).lines() {
                    print(&format!("      {line}\n"));
                }
            }
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The script as it would be typed: a prompt before the first line.
fn command(script: &str) -> String {
    script
        .trim_end()
        .lines()
        .enumerate()
        .map(|(index, line)| format!("{} {line}\n", if index == 0 { "$" } else { " " }))
        .collect()
}

/// It does not matter if the output can't be printed, because the exit status says the result too.
fn print(text: &str) {
    let _ = screen::print(text);
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::ci::steps::STEPS;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let mut report = Report::new(4);
        report.results = STEPS.iter().zip(outcomes).collect();
        report
    }

    fn passed() -> Outcome {
        Outcome::Passed(Duration::from_secs(1))
    }

    fn failed() -> Outcome {
        Outcome::Failed(Duration::from_secs(1), ExitStatus::from_raw(0x0100))
    }

    fn skipped() -> Outcome {
        Outcome::Skipped("it is missing: install it".to_owned())
    }

    #[test]
    fn one_failure_or_nothing_passed_is_not_good() {
        let good = |outcomes| report(outcomes).good();
        assert!(good(vec![passed(), skipped()]));
        assert!(!good(vec![passed(), failed()]));
        assert!(!good(vec![skipped()]));
        assert!(!good(vec![]));
    }

    #[test]
    fn failed_and_skipped_steps_are_what_did_not_pass() {
        let report = report(vec![passed(), failed(), skipped()]);
        assert_eq!(report.not_passed(), [STEPS[1].name, STEPS[2].name]);
    }

    #[test]
    fn lines_name_the_step_and_say_what_to_do() {
        let report = Report { colour: true, ..report(vec![]) };
        let step = STEPS.iter().find(|step| step.name == "Format").unwrap();
        let line = report.line(step, &skipped());
        assert_eq!(line, "\x1b[33m- Format: skipped, it is missing: install it\x1b[0m");
        let line = report.line(step, &failed());
        assert!(line.contains("exit status 1; it catches code"), "{line}");
    }

    #[test]
    fn command_stands_behind_a_prompt() {
        assert_eq!(command("a \\\n  b\nc\n"), "$ a \\\n    b\n  c\n");
    }
}
