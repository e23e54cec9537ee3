//! One row of the table: what a run measured, and the median of several.

use std::time::Instant;

use crate::bench::usage::Usage;
use crate::bench::usage::machine_cpu_seconds;

/// What one run measured. `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    pub events_a_second: f64,
    /// CPU time of the program that is measured, of the replay and of the broker, in microseconds an event.
    pub reader_micros: Option<f64>,
    pub replay_micros: Option<f64>,
    pub broker_micros: Option<f64>,
    pub peak_mib: Option<f64>,
    /// The share of the machine's CPU time that went elsewhere: to lab, to Cassandra, to strangers.
    pub elsewhere: Option<f64>,
}

/// What the parts of a measurement have used so far. `None` for one that takes no part, or is not known.
#[derive(Clone, Copy, Default)]
pub struct Used {
    pub reader: Option<Usage>,
    pub replay: Option<Usage>,
    pub broker: Option<Usage>,
}

/// Resident memory of a program while it worked, in KiB: when half was done, at the end, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    pub half: u64,
    pub end: u64,
    pub peak: u64,
}

impl Memory {
    /// To be told again and again, `done` `of` so many.
    pub fn see(&mut self, usage: Option<Usage>, done: u64, of: u64) {
        let Some(usage) = usage else { return };
        self.end = usage.resident_kib;
        self.peak = self.peak.max(usage.peak_kib);
        if done <= of / 2 {
            self.half = usage.resident_kib;
        }
    }
}

/// Taken when a measurement begins; `end` gives what has been used since.
pub struct Meter {
    begun: Instant,
    used: Used,
    machine: Option<f64>,
}

impl Meter {
    pub fn begin(used: Used) -> Self {
        Self { begun: Instant::now(), used, machine: machine_cpu_seconds() }
    }

    /// `events` in `seconds`, of all the `sent` ones.
    pub fn end(&self, used: Used, events: u64, sent: u64, seconds: f64) -> Measured {
        let since = |pick: fn(&Used) -> Option<Usage>| {
            Some(pick(&used)?.cpu_seconds - pick(&self.used)?.cpu_seconds)
        };
        let reader_cpu = since(|used| used.reader);
        let replay_cpu = since(|used| used.replay);
        let broker_cpu = since(|used| used.broker);
        let machine_cpu = machine_cpu_seconds().zip(self.machine);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let elapsed = self.begun.elapsed().as_secs_f64();
        let ours = reader_cpu
            .map(|reader| reader + replay_cpu.unwrap_or_default() + broker_cpu.unwrap_or_default());
        Measured {
            events_a_second: events as f64 / seconds,
            reader_micros: reader_cpu.map(|cpu| cpu * 1e6 / events as f64),
            replay_micros: replay_cpu.map(|cpu| cpu * 1e6 / sent as f64),
            broker_micros: broker_cpu.map(|cpu| cpu * 1e6 / sent as f64),
            peak_mib: used.reader.map(|usage| usage.peak_kib as f64 / 1024.0),
            elsewhere: ours.zip(machine_cpu).map(|(ours, (now, before))| {
                ((now - before - ours) / (elapsed * cores)).clamp(0.0, 1.0)
            }),
        }
    }
}

impl Measured {
    /// Each number's own median.
    pub fn median(runs: &[Self]) -> Self {
        let all = |pick: fn(&Self) -> Option<f64>| median(runs.iter().filter_map(pick));
        Self {
            events_a_second: all(|run| Some(run.events_a_second)).unwrap_or_default(),
            reader_micros: all(|run| run.reader_micros),
            replay_micros: all(|run| run.replay_micros),
            broker_micros: all(|run| run.broker_micros),
            peak_mib: all(|run| run.peak_mib),
            elsewhere: all(|run| run.elsewhere),
        }
    }
}

/// Of an even number the mean of the two in the middle.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn memory_at_half_is_the_last_that_was_seen_before_it() {
        let mut memory = Memory::default();
        for (resident_kib, done) in [(10, 0), (20, 4), (30, 5), (70, 6), (40, 10)] {
            let usage = Usage { resident_kib, peak_kib: resident_kib, ..Usage::default() };
            memory.see(Some(usage), done, 10);
        }
        memory.see(None, 10, 10);
        assert_eq!((memory.half, memory.end, memory.peak), (30, 40, 70));
    }

    #[test]
    fn what_one_run_did_not_tell_is_left_out_of_the_median() {
        let run = |reader_micros| Measured { reader_micros, ..Measured::default() };
        let median = Measured::median(&[run(None), run(Some(4.0)), run(Some(2.0))]);
        assert_eq!(median.reader_micros, Some(3.0));
        assert_eq!(median.peak_mib, None);
    }
}
