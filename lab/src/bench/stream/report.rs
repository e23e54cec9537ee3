//! What the rounds gave, as lines while it runs and as tables at the end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::Outcome;
use super::ROWS;
use super::Resident;
use super::Row;
use super::StatsUnderLoad;
use super::median;
use crate::bench::row::Measured;
use crate::bench::table;
use crate::bench::table::number;
use crate::screen::grouped;
use crate::terminal;

// The targets that the course has set itself, on 2 cores.
const MEMORY_TARGET: f64 = 140_000.0;
const CASSANDRA_TARGET: f64 = 40_000.0;
const STATS_TARGET: Duration = Duration::from_millis(20);
const RESIDENT_TARGET_MIB: f64 = 120.0;

/// Everything that the rounds gave so far.
pub struct Report {
    chapter: u8,
    events: u64,
    event_bytes: f64,
    outcomes: Vec<(Row, Outcome)>,
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
    pub fn add(&mut self, row: Row, outcome: Result<Outcome>) -> String {
        let name = self.name(row);
        match outcome {
            Ok(outcome) => {
                let line = match &outcome {
                    Outcome::Throughput(run) => {
                        format!("{} events/s", grouped(run.events_a_second as u64))
                    }
                    Outcome::Stats(run) => format!("p99 {}", millis(run.load.percentile(99.0))),
                    Outcome::Resident(run) => format!("{} MiB", number(run.resident_mib, 0)),
                };
                self.outcomes.push((row, outcome));
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

    /// How many runs of `row` have ended, well or not.
    pub fn runs(&self, row: Row) -> usize {
        let well = self.outcomes.iter().filter(|(known, _)| *known == row);
        let ill = self.failed.iter().filter(|(known, _)| *known == row);
        well.count() + ill.count()
    }

    pub fn median_rate(&self, row: Row) -> Option<f64> {
        self.median(row).map(|median| median.events_a_second)
    }

    fn throughput(&self, row: Row) -> Vec<Measured> {
        let of_row = self.outcomes.iter().filter(|(known, _)| *known == row);
        of_row
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Throughput(measured) => Some(*measured),
                _ => None,
            })
            .collect()
    }

    fn median(&self, row: Row) -> Option<Measured> {
        let runs = self.throughput(row);
        (!runs.is_empty()).then(|| Measured::median(&runs))
    }

    fn name(&self, row: Row) -> String {
        let chapter = self.chapter;
        match row {
            Row::Read => "read".to_owned(),
            Row::Parse => "read and parse".to_owned(),
            Row::Watch => format!("ch-{chapter} watch"),
            Row::Memory => format!("ch-{chapter} serve, memory"),
            Row::Cassandra => format!("ch-{chapter} serve, Cassandra"),
            Row::Stats => format!("ch-{chapter} /stats under load"),
            Row::Resident => format!("ch-{chapter} resident memory"),
        }
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
        let sections = [
            self.throughput_table(),
            self.where_the_time_goes(),
            self.stats_line(),
            self.resident_line(),
        ];
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
        let read = self.throughput(Row::Read);
        let mut lines = Vec::new();
        for row in ROWS {
            let runs = self.throughput(row);
            if runs.is_empty() {
                continue;
            }
            let measured = Measured::median(&runs);
            let rate = measured.events_a_second;
            // Of one round each, so that a busy moment falls on both; unless a round failed.
            let same_rounds = runs.len() == read.len();
            let ratios = runs.iter().zip(&read).filter(|_| same_rounds);
            let ratio = median(ratios.map(|(run, of)| run.events_a_second / of.events_a_second));
            let target = match row {
                Row::Memory => verdict(rate >= MEMORY_TARGET, "140,000"),
                Row::Cassandra => verdict(rate >= CASSANDRA_TARGET, "40,000"),
                _ => String::new(),
            };
            lines.push(vec![
                self.name(row),
                grouped(rate as u64),
                number(Some(rate * self.event_bytes / 1e6), 0),
                number(ratio, 2),
                number(measured.reader_micros, 2),
                number(measured.replay_micros, 2),
                number(measured.peak_mib, 0),
                number(measured.elsewhere.map(|share| share * 100.0), 0),
                target,
            ]);
        }
        if lines.is_empty() {
            return None;
        }
        let head = [
            "",
            "events/s",
            "MB/s",
            "of read",
            "µs reader",
            "µs replay",
            "peak MiB",
            "elsewhere %",
            "target",
        ];
        lines.insert(0, head.map(str::to_owned).to_vec());
        Some(table::render(&lines))
    }

    /// The CPU time of a row without that of the row that does less.
    fn where_the_time_goes(&self) -> Option<String> {
        let micros = |row| self.median(row)?.reader_micros;
        let (read, parse) = (micros(Row::Read)?, micros(Row::Parse)?);
        let memory = micros(Row::Memory)?;
        let (parsing, rest) = (parse - read, memory - parse);
        Some(format!(
            "CPU of ch-{} serve, µs an event: {read:.2} reading + {parsing:.2} plain parsing + {rest:.2} the rest \
             (bounds, resume, folding) = {memory:.2}.\nMost of it is one thread's: a core to itself would give \
             about {} events/s.\n",
            self.chapter,
            grouped((1e6 / memory) as u64)
        ))
    }

    fn stats_line(&self) -> Option<String> {
        let runs: Vec<&StatsUnderLoad> = self
            .outcomes
            .iter()
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Stats(run) => Some(run),
                _ => None,
            })
            .collect();
        let latency = |percent: f64| {
            let all = runs.iter().filter_map(|run| run.load.percentile(percent));
            median(all.map(|time| time.as_secs_f64())).map(Duration::from_secs_f64)
        };
        let first = runs.first()?;
        let rate = |pick: fn(&StatsUnderLoad) -> f64| {
            grouped(median(runs.iter().map(|run| pick(run))).unwrap_or_default() as u64)
        };
        let errors: u64 = runs.iter().map(|run| run.load.errors).sum();
        let good = errors == 0 && latency(99.0).is_some_and(|p99| p99 < STATS_TARGET);
        Some(format!(
            "{}: p50 {}, p99 {}, max {}, {errors} errors; target p99 < 20 ms: {}\n  {} requests/s while {} events/s \
             came (asked for: {} and {}); latency from when a request was due,\n  in steps of a timer of 1 ms\n",
            self.name(Row::Stats),
            millis(latency(50.0)),
            millis(latency(99.0)),
            millis(latency(100.0)),
            if good { "ok" } else { "missed" },
            rate(|run| run.load.requests_a_second),
            rate(|run| run.events_a_second),
            grouped(super::REQUESTS_A_SECOND.into()),
            grouped(first.asked_events_a_second),
        ))
    }

    fn resident_line(&self) -> Option<String> {
        let run: &Resident = self
            .outcomes
            .iter()
            .find_map(|(_, outcome)| match outcome {
                Outcome::Resident(run) => Some(run),
                _ => None,
            })?;
        let verdict = match run.resident_mib {
            None => "not known on this system".to_owned(),
            Some(mib) => verdict(mib < RESIDENT_TARGET_MIB, "< 120 MiB"),
        };
        Some(format!(
            "{}: {} MiB after {} events of {} users, at most {} MiB; target {verdict}\n",
            self.name(Row::Resident),
            number(run.resident_mib, 0),
            grouped(run.events),
            grouped(run.distinct_users),
            number(run.peak_mib, 0),
        ))
    }
}

fn verdict(is_met: bool, target: &str) -> String {
    format!("{target}: {}", if is_met { "ok" } else { "missed" })
}

fn millis(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    })
}
