//! What `check` prints: for each check a line when it ends, with details if it has failed, and at the end a summary.
//! With `--json` it is one document for a program to read.

use std::process::ExitCode;
use std::time::Duration;

use console::style;
use console::truncate_str;
use serde_json::Value;
use serde_json::json;

use crate::check::runner::Check;
use crate::check::runner::Needs;
use crate::check::runner::Outcome;
use crate::screen;
use crate::screen::plain;
use crate::terminal;

pub struct Report {
    chapter: u8,
    json: bool,
    pub colour: bool,
    heading: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// How many of the skipped checks need what an earlier failure has shown to be missing.
    down: usize,
    /// How many checks `--fail-fast` has left out.
    not_run: usize,
    first_failure: Option<&'static str>,
    checks: Vec<Value>,
}

impl Report {
    pub fn new(chapter: u8, json: bool) -> Self {
        let colour = terminal::has_colour();
        Self {
            chapter,
            json,
            colour,
            heading: String::new(),
            passed: 0,
            failed: 0,
            skipped: 0,
            down: 0,
            not_run: 0,
            first_failure: None,
            checks: Vec::new(),
        }
    }

    /// Prints what is the same for all checks that follow.
    pub fn say(&self, text: &str) {
        if !self.json {
            print(&format!("{text}\n"));
        }
    }

    /// Prints what is checked now, because a check may take a while.
    pub fn begin(&mut self, suite: u8, check: &Check) {
        if self.json {
            return;
        }
        let heading = heading(suite, check);
        if self.heading != heading {
            print(&format!("{heading}\n"));
            self.heading = heading;
        }
        if self.colour {
            // On one line, which the result is then written over.
            let name = format!("  … {}", check.name);
            print(&truncate_str(&name, screen::size().1, "…"));
        }
    }

    pub fn add(&mut self, suite: u8, check: &'static Check, (outcome, took): (Outcome, Duration)) {
        let (word, came) = match &outcome {
            Outcome::Passed(note) => ("passed", note.as_ref()),
            Outcome::Skipped(reason) => ("skipped", Some(reason)),
            Outcome::Down(reason) => ("skipped", Some(reason)),
            Outcome::Failed(came) | Outcome::Broken(came) => ("failed", Some(came)),
        };
        self.checks.push(json!({
            "suite": suite,
            "name": check.name,
            "status": word,
            "expected": check.expected,
            "came": came,
            "hint": hint(check, &outcome),
            "seconds": (took.as_secs_f64() * 1000.0).round() / 1000.0,
        }));
        match outcome {
            Outcome::Passed(_) => self.passed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
            Outcome::Down(_) => {
                self.skipped += 1;
                self.down += 1;
            }
            Outcome::Failed(_) | Outcome::Broken(_) => {
                self.failed += 1;
                self.first_failure.get_or_insert(check.name);
            }
        }
        if !self.json {
            print(&self.lines(check, &outcome, took));
        }
    }

    pub fn lines(&self, check: &Check, outcome: &Outcome, took: Duration) -> String {
        let mark = |text| style(text).force_styling(self.colour);
        let erase = if self.colour { "\r\x1b[K" } else { "" };
        let time = if took.as_secs() >= 1 {
            format!(" ({:.1} s)", took.as_secs_f64())
        } else {
            String::new()
        };
        let name = check.name;
        match outcome {
            Outcome::Passed(note) => {
                let note = note.as_ref().map(|note| format!(": {note}"));
                let note = note.unwrap_or_default();
                format!("{erase}  {} {name}{time}{note}\n", mark("✓").green())
            }
            Outcome::Skipped(reason) => {
                format!("{erase}  {} {name}: skipped, {reason}\n", mark("-").yellow())
            }
            Outcome::Down(_) => erase.to_owned(),
            Outcome::Failed(came) | Outcome::Broken(came) => {
                // What the program has printed may contain control characters, which must not reach the terminal.
                let lines: Vec<String> = came.trim_end().split('\n').map(plain).collect();
                let came = lines.join("\n               ");
                let (expected, hint) = (check.expected, hint(check, outcome));
                format!(
                    "{erase}  {} {name}{time}\n      expected {expected}\n      came     {came}\n      hint     {hint}\n",
                    mark("✗").red()
                )
            }
        }
    }

    /// Takes note of checks that `--fail-fast` leaves out.
    pub fn leave_out(&mut self, checks: usize) {
        self.not_run = checks;
    }

    /// Prints the end, and says how `check` must exit.
    pub fn finish(&self) -> ExitCode {
        if self.json {
            print(&format!("{:#}\n", self.document()));
        } else {
            print(&self.summary());
        }
        if self.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub fn summary(&self) -> String {
        let Self { chapter, passed, failed, skipped, down, .. } = self;
        let mut text =
            format!("chapter {chapter}: {passed} passed, {failed} failed, {skipped} skipped");
        if *down > 0 {
            text += &format!("; {down} of these need what a failure above says is missing");
        }
        text += "\n";
        if self.not_run > 0 {
            let not_run = self.not_run;
            text +=
                &format!("{not_run} more were not run: leave out --fail-fast to run them too\n");
        }
        if let Some(name) = self.first_failure {
            text += &format!("begin with the first failure: {name}\n");
        }
        text
    }

    /// Whether no check has failed and at least one has passed: a program that was not looked at is not good.
    pub fn good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    pub fn document(&self) -> Value {
        json!({
            "chapter": self.chapter,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "not_run": self.not_run,
            "checks": self.checks,
        })
    }
}

/// What to do next. If the check failed for a reason that many checks share, its own hint would be misleading.
fn hint(check: &Check, outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Broken(_) => "mend this first; the checks that need it are run only after that",
        _ => check.hint,
    }
}

fn heading(suite: u8, check: &Check) -> String {
    if check.needs.faults() { "faults".to_owned() } else { format!("suite {suite}") }
}

/// `--list`.
pub fn list(checks: &[(u8, &'static Check)]) {
    for (suite, check) in checks {
        let needs = match check.needs {
            Needs::Http => "",
            Needs::Process => " [process]",
            Needs::Cassandra => " [Cassandra]",
            Needs::Image => " [image]",
            Needs::Faults => " [Kafka]",
            Needs::FaultsAndCassandra => " [Kafka, Cassandra]",
        };
        let slow = if check.slow { " [slow]" } else { "" };
        print(&format!(
            "{}: {}{needs}{slow}\n     {}\n",
            heading(*suite, check),
            check.name,
            check.expected
        ));
        if let Some((chapter, how)) = check.changed_in {
            print(&format!("     until chapter {chapter}: {how}\n"));
        }
    }
}

/// It does not matter if the output can't be printed, because the exit status says the result too.
fn print(text: &str) {
    let _ = screen::print(text);
}
