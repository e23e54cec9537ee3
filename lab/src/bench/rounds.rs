//! What the rounds of a bench gave, as lines while it runs and as a text at the end.

use std::process::ExitCode;

use anyhow::Result;

use crate::bench::row::Measured;
use crate::bench::row::median;
use crate::screen::grouped;
use crate::terminal;

/// One of the things that are measured, once a round.
pub trait Row: Copy + PartialEq {
    fn name(self, chapter: u8) -> String;
}

/// What one run of a row gave.
pub trait Outcome {
    /// In a few words.
    fn line(&self) -> String;

    /// Of the rows whose rates the table compares.
    fn throughput(&self) -> Option<Measured>;
}

impl Outcome for Measured {
    fn line(&self) -> String {
        format!("{} events/s", grouped(self.events_a_second as u64))
    }

    fn throughput(&self) -> Option<Measured> {
        Some(*self)
    }
}

/// Everything that the rounds gave so far.
pub struct Rounds<R, O> {
    pub chapter: u8,
    pub events: u64,
    pub event_bytes: f64,
    /// With the round.
    outcomes: Vec<(R, u32, O)>,
    skipped: Vec<(R, String)>,
    failed: Vec<(R, String)>,
}

impl<R: Row, O: Outcome> Rounds<R, O> {
    pub fn new(chapter: u8, events: u64, event_bytes: f64) -> Self {
        Self {
            chapter,
            events,
            event_bytes,
            outcomes: Vec::new(),
            skipped: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Keeps what a run gave, and says it in a line.
    pub fn add(&mut self, row: R, round: u32, outcome: Result<O>) -> String {
        let name = self.name(row);
        match outcome {
            Ok(outcome) => {
                let line = outcome.line();
                self.outcomes.push((row, round, outcome));
                format!("{name}, {line}")
            }
            Err(error) => {
                let line = format!("{error:#}");
                self.failed.push((row, line.clone()));
                format!("{name}, FAILED: {line}")
            }
        }
    }

    pub fn skip(&mut self, row: R, reason: String) {
        if !self.skipped.iter().any(|(skipped, _)| *skipped == row) {
            self.skipped.push((row, reason));
        }
    }

    pub fn name(&self, row: R) -> String {
        row.name(self.chapter)
    }

    pub fn outcomes(&self) -> impl Iterator<Item = &O> {
        self.outcomes.iter().map(|(.., outcome)| outcome)
    }

    /// With the round of each.
    fn throughput(&self, row: R) -> Vec<(u32, Measured)> {
        let of_row = self.outcomes.iter().filter(|(known, ..)| *known == row);
        of_row.filter_map(|(_, round, outcome)| Some((*round, outcome.throughput()?))).collect()
    }

    pub fn median(&self, row: R) -> Option<Measured> {
        let runs: Vec<Measured> = self.throughput(row).iter().map(|(_, run)| *run).collect();
        (!runs.is_empty()).then(|| Measured::median(&runs))
    }

    /// The median of the ratios of one round each, so that a busy moment falls on both.
    pub fn ratio(&self, row: R, of: R) -> Option<f64> {
        let of = self.throughput(of);
        let runs = self.throughput(row);
        median(runs.iter().filter_map(|(round, run)| {
            let (_, of) = of.iter().find(|(its, _)| its == round)?;
            Some(run.events_a_second / of.events_a_second)
        }))
    }

    /// The exit status is a failure where a row failed: slow is no failure.
    pub fn print(
        &self,
        machine: &[String; 2],
        runs: u32,
        sections: &[Option<String>],
    ) -> Result<ExitCode> {
        let [time, hardware] = machine;
        let (events, bytes) = (grouped(self.events), self.event_bytes);
        let plural = if runs == 1 { "" } else { "s" };
        terminal::print(|out| {
            writeln!(out, "\n{time}\n{hardware}")?;
            writeln!(
                out,
                "{events} events of {bytes:.0} bytes, medians of {runs} round{plural}\n"
            )?;
            for section in sections.iter().flatten() {
                writeln!(out, "{section}")?;
            }
            for (row, reason) in &self.skipped {
                writeln!(out, "{}: skipped, {reason}", self.name(*row))?;
            }
            for (row, error) in &self.failed {
                writeln!(out, "{}: FAILED: {error}", self.name(*row))?;
            }
            Ok(())
        })?;
        Ok(if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A target and whether it is met.
pub fn verdict(is_met: bool, target: &str) -> String {
    format!("{target}: {}", if is_met { "ok" } else { "missed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    struct Name(&'static str);

    impl Row for Name {
        fn name(self, chapter: u8) -> String {
            format!("ch-{chapter} {}", self.0)
        }
    }

    fn rate(events_a_second: f64) -> Result<Measured> {
        Ok(Measured { events_a_second, ..Measured::default() })
    }

    #[test]
    fn ratios_are_of_the_same_round_also_where_one_failed() {
        let [fast, slow, none] = [Name("fast"), Name("slow"), Name("none")];
        let mut rounds = Rounds::new(5, 1, 1.0);
        rounds.add(fast, 1, rate(100.0));
        let line = rounds.add(slow, 1, Err(anyhow::anyhow!("broken")));
        assert_eq!(line, "ch-5 slow, FAILED: broken");
        rounds.add(fast, 2, rate(10.0));
        rounds.add(slow, 2, rate(7.0));
        assert_eq!(rounds.ratio(slow, fast), Some(0.7));
        assert_eq!(rounds.ratio(slow, none), None);
        assert_eq!(rounds.median(fast).map(|run| run.events_a_second), Some(55.0));
    }

    #[test]
    fn row_that_failed_once_fails_the_bench() {
        let machine = [String::new(), String::new()];
        let mut rounds = Rounds::new(5, 1, 1.0);
        rounds.add(Name("a"), 1, rate(1.0));
        rounds.skip(Name("b"), "not there".to_owned());
        let status = |rounds: &Rounds<Name, Measured>| rounds.print(&machine, 2, &[]).unwrap();
        assert_eq!(status(&rounds), ExitCode::SUCCESS);
        rounds.add(Name("a"), 2, Err(anyhow::anyhow!("broken")));
        assert_eq!(status(&rounds), ExitCode::FAILURE);
    }
}
