//! What the rounds gave, as lines while it runs and as a table at the end.

use std::process::ExitCode;

use anyhow::Result;

use super::Outcome;
use super::ROWS;
use super::Row;
use crate::bench::row::Measured;
use crate::bench::row::Memory;
use crate::bench::row::median;
use crate::bench::table;
use crate::bench::table::number;
use crate::screen::grouped;
use crate::terminal;

// The targets that the course has set itself, on 2 cores that do nothing else.
const PRODUCE_TARGET: f64 = 80_000.0;
/// Of the rate of `parse`.
const PRODUCE_SHARE_TARGET: f64 = 0.6;
const MEMORY_TARGET: f64 = 400_000.0;
const CASSANDRA_TARGET: f64 = 50_000.0;
const RESIDENT_TARGET_KIB: u64 = 150 * 1024;
/// What passes for flat, of the size at half.
const FLAT: f64 = 1.1;

/// Everything that the rounds gave so far.
pub struct Report {
    chapter: u8,
    events: u64,
    event_bytes: f64,
    /// With the round.
    outcomes: Vec<(Row, u32, Outcome)>,
    skipped: Vec<(Row, String)>,
    failed: Vec<(Row, String)>,
}

impl Report {
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
    pub fn add(&mut self, row: Row, round: u32, outcome: Result<Outcome>) -> String {
        let name = self.name(row);
        match outcome {
            Ok(outcome) => {
                let line = match &outcome {
                    Outcome::Throughput(run) => {
                        format!("{} events/s", grouped(run.events_a_second as u64))
                    }
                    Outcome::Resident([producer, consumer]) => format!(
                        "at most {} and {} MiB",
                        producer.peak / 1024,
                        consumer.peak / 1024
                    ),
                };
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

    pub fn skip(&mut self, row: Row, reason: String) {
        if !self.skipped.iter().any(|(skipped, _)| *skipped == row) {
            self.skipped.push((row, reason));
        }
    }

    fn name(&self, row: Row) -> String {
        let chapter = self.chapter;
        match row {
            Row::Read => "read".to_owned(),
            Row::Parse => "read and parse".to_owned(),
            Row::Watch => format!("ch-{chapter} watch"),
            Row::Produce => format!("ch-{chapter} producer"),
            Row::Librdkafka => "librdkafka alone".to_owned(),
            Row::Memory => format!("ch-{chapter} consumer, memory"),
            Row::Cassandra => format!("ch-{chapter} consumer, Cassandra"),
            Row::Resident => format!("ch-{chapter} resident memory"),
        }
    }

    /// With the round of each.
    fn throughput(&self, row: Row) -> Vec<(u32, Measured)> {
        let of_row = self.outcomes.iter().filter(|(known, ..)| *known == row);
        of_row
            .filter_map(|(_, round, outcome)| match outcome {
                Outcome::Throughput(measured) => Some((*round, *measured)),
                Outcome::Resident(_) => None,
            })
            .collect()
    }

    /// The median of the ratios of one round each, so that a busy moment falls on both.
    fn ratio(&self, row: Row, of: Row) -> Option<f64> {
        let of = self.throughput(of);
        let runs = self.throughput(row);
        median(runs.iter().filter_map(|(round, run)| {
            let (_, of) = of.iter().find(|(its, _)| its == round)?;
            Some(run.events_a_second / of.events_a_second)
        }))
    }

    /// The exit status is a failure where a row failed: slow is no failure.
    pub fn print(&self, machine: &[String; 2], runs: u32) -> Result<ExitCode> {
        let head = format!(
            "{}\n{}\n{} events of {:.0} bytes, medians of {runs} round{}\n",
            machine[0],
            machine[1],
            grouped(self.events),
            self.event_bytes,
            if runs == 1 { "" } else { "s" }
        );
        let sections = [self.throughput_table(), self.resident_lines()];
        terminal::print(|out| {
            writeln!(out, "\n{head}")?;
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
        Ok(if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn throughput_table(&self) -> Option<String> {
        let head = [
            "",
            "events/s",
            "of parse",
            "of librdkafka",
            "µs own",
            "µs replay",
            "µs broker",
            "peak MiB",
            "elsewhere %",
            "target",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        for row in ROWS {
            let runs: Vec<Measured> = self.throughput(row).iter().map(|(_, run)| *run).collect();
            if runs.is_empty() {
                continue;
            }
            let measured = Measured::median(&runs);
            let from_topic = matches!(row, Row::Librdkafka | Row::Memory | Row::Cassandra);
            let of = |of| self.ratio(row, of);
            lines.push(vec![
                self.name(row),
                grouped(measured.events_a_second as u64),
                number(of(Row::Parse).filter(|_| !from_topic), 2),
                number(of(Row::Librdkafka).filter(|_| from_topic), 2),
                number(measured.reader_micros, 2),
                number(measured.replay_micros, 2),
                number(measured.broker_micros, 2),
                number(measured.peak_mib, 0),
                number(measured.elsewhere.map(|share| share * 100.0), 0),
                self.target(row, measured.events_a_second),
            ]);
        }
        (lines.len() > 1).then(|| table::render(&lines))
    }

    fn target(&self, row: Row, rate: f64) -> String {
        match row {
            Row::Produce => {
                let rate = verdict(rate >= PRODUCE_TARGET, "80,000");
                match self.ratio(row, Row::Parse) {
                    Some(share) => {
                        let share = verdict(share >= PRODUCE_SHARE_TARGET, "0.60 of parse");
                        format!("{rate}; {share}")
                    }
                    None => rate,
                }
            }
            Row::Memory => verdict(rate >= MEMORY_TARGET, "400,000"),
            Row::Cassandra => verdict(rate >= CASSANDRA_TARGET, "50,000"),
            _ => String::new(),
        }
    }

    fn resident_lines(&self) -> Option<String> {
        let roles = self
            .outcomes
            .iter()
            .find_map(|(.., outcome)| match outcome {
                Outcome::Resident(roles) => Some(roles),
                Outcome::Throughput(_) => None,
            })?;
        let lines = ["producer", "consumer"].iter().zip(roles);
        Some(
            lines
                .map(|(role, memory)| self.resident_line(role, memory))
                .collect(),
        )
    }

    fn resident_line(&self, role: &str, memory: &Memory) -> String {
        let mib = |kib: u64| kib / 1024;
        let verdict = match memory.end {
            0 => "not known on this system".to_owned(),
            end => {
                let flat = end as f64 <= memory.half as f64 * FLAT;
                let small = memory.peak < RESIDENT_TARGET_KIB;
                verdict(flat && small, "flat, < 150 MiB")
            }
        };
        format!(
            "ch-{} {role}: {} MiB when half of {} events were through, {} MiB at the end, at most {} MiB; \
             target {verdict}\n",
            self.chapter,
            mib(memory.half),
            grouped(super::RESIDENT_EVENTS),
            mib(memory.end),
            mib(memory.peak),
        )
    }
}

fn verdict(is_met: bool, target: &str) -> String {
    format!("{target}: {}", if is_met { "ok" } else { "missed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(events_a_second: f64) -> Result<Outcome> {
        Ok(Outcome::Throughput(Measured {
            events_a_second,
            ..Measured::default()
        }))
    }

    #[test]
    fn ratios_are_of_the_same_round_also_where_one_failed() {
        let mut report = Report::new(5, 1, 1.0);
        report.add(Row::Parse, 1, rate(100.0));
        report.add(Row::Produce, 1, Err(anyhow::anyhow!("broken")));
        report.add(Row::Parse, 2, rate(10.0));
        report.add(Row::Produce, 2, rate(7.0));
        assert_eq!(report.ratio(Row::Produce, Row::Parse), Some(0.7));
        assert_eq!(report.ratio(Row::Produce, Row::Read), None);
        assert_eq!(
            report.target(Row::Produce, 7.0),
            "80,000: missed; 0.60 of parse: ok"
        );
    }

    #[test]
    fn memory_that_grows_or_is_large_misses_the_target() {
        let report = Report::new(5, 1, 1.0);
        let line = |half, end, peak| report.resident_line("producer", &Memory { half, end, peak });
        assert!(line(50_000, 54_000, 60_000).contains("150 MiB: ok"));
        assert!(line(50_000, 56_000, 60_000).contains("150 MiB: missed"));
        assert!(line(50_000, 50_000, 160_000).contains("150 MiB: missed"));
        assert!(line(0, 0, 0).contains("not known"));
    }
}
