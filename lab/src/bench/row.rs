//! One row of the table: what a run measured, and the median of several.

use std::time::Instant;

use super::replay::Replay;
use super::usage::Usage;
use super::usage::machine_cpu_seconds;

/// What one run measured. `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    pub events_a_second: f64,
    /// CPU time of the program that reads, and of the replay, in microseconds an event.
    pub reader_micros: Option<f64>,
    pub replay_micros: Option<f64>,
    pub peak_mib: Option<f64>,
    /// The share of the machine's CPU time that went elsewhere: to lab, to Cassandra, to strangers.
    pub elsewhere: Option<f64>,
}

/// Taken when a measurement begins; `end` gives what has been used since.
pub struct Meter {
    begun: Instant,
    reader: Option<Usage>,
    replay: Option<Usage>,
    machine: Option<f64>,
}

impl Meter {
    pub fn begin(reader: Option<Usage>, replay: &Replay) -> Self {
        Self {
            begun: Instant::now(),
            reader,
            replay: replay.usage(),
            machine: machine_cpu_seconds(),
        }
    }

    /// `events` in `seconds`, of all the `sent` ones.
    pub fn end(
        &self,
        reader: Option<Usage>,
        replay: &Replay,
        events: u64,
        sent: u64,
        seconds: f64,
    ) -> Measured {
        let since = |before: Option<Usage>, now: Option<Usage>| {
            Some(now?.cpu_seconds - before?.cpu_seconds)
        };
        let reader_cpu = since(self.reader, reader);
        let replay_cpu = since(self.replay, replay.usage());
        let machine_cpu = machine_cpu_seconds().zip(self.machine);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let elapsed = self.begun.elapsed().as_secs_f64();
        let elsewhere = reader_cpu.zip(replay_cpu).zip(machine_cpu);
        Measured {
            events_a_second: events as f64 / seconds,
            reader_micros: reader_cpu.map(|cpu| cpu * 1e6 / events as f64),
            replay_micros: replay_cpu.map(|cpu| cpu * 1e6 / sent as f64),
            peak_mib: reader.map(|usage| usage.peak_kib as f64 / 1024.0),
            elsewhere: elsewhere.map(|((reader, replay), (now, before))| {
                ((now - before - reader - replay) / (elapsed * cores)).clamp(0.0, 1.0)
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
    fn what_one_run_did_not_tell_is_left_out_of_the_median() {
        let run = |reader_micros| Measured {
            reader_micros,
            ..Measured::default()
        };
        let median = Measured::median(&[run(None), run(Some(4.0)), run(Some(2.0))]);
        assert_eq!(median.reader_micros, Some(3.0));
        assert_eq!(median.peak_mib, None);
    }
}
