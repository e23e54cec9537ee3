//! The tables of the pipeline's bench, and its targets.

use crate::bench::pipeline::rows::Outcome;
use crate::bench::pipeline::rows::RESIDENT_EVENTS;
use crate::bench::pipeline::rows::ROWS;
use crate::bench::pipeline::rows::Rounds;
use crate::bench::pipeline::rows::Row;
use crate::bench::rounds::verdict;
use crate::bench::row::Memory;
use crate::bench::table;
use crate::bench::table::number;
use crate::screen::grouped;

// The targets that the course has set itself, on 2 cores that do nothing else.
const PRODUCE_TARGET: f64 = 80_000.0;
/// Of the rate of `parse`.
const PRODUCE_SHARE_TARGET: f64 = 0.6;
const MEMORY_TARGET: f64 = 400_000.0;
const CASSANDRA_TARGET: f64 = 50_000.0;
const RESIDENT_TARGET_KIB: u64 = 150 * 1024;
/// What passes for flat, of the size at half.
const FLAT: f64 = 1.1;

pub fn sections(rounds: &Rounds) -> [Option<String>; 2] {
    [throughput_table(rounds), resident_lines(rounds)]
}

fn throughput_table(rounds: &Rounds) -> Option<String> {
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
        let Some(measured) = rounds.median(row) else {
            continue;
        };
        let from_topic = matches!(row, Row::Librdkafka | Row::Memory | Row::Cassandra);
        let of = |of| rounds.ratio(row, of);
        lines.push(vec![
            rounds.name(row),
            grouped(measured.events_a_second as u64),
            number(of(Row::Parse).filter(|_| !from_topic), 2),
            number(of(Row::Librdkafka).filter(|_| from_topic), 2),
            number(measured.reader_micros, 2),
            number(measured.replay_micros, 2),
            number(measured.broker_micros, 2),
            number(measured.peak_mib, 0),
            number(measured.elsewhere.map(|share| share * 100.0), 0),
            target(row, measured.events_a_second, of(Row::Parse)),
        ]);
    }
    (lines.len() > 1).then(|| table::render(&lines))
}

fn target(row: Row, rate: f64, of_parse: Option<f64>) -> String {
    match row {
        Row::Produce => {
            let rate = verdict(rate >= PRODUCE_TARGET, "80,000");
            match of_parse {
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

fn resident_lines(rounds: &Rounds) -> Option<String> {
    let roles = rounds.outcomes().find_map(|outcome| match outcome {
        Outcome::Resident(roles) => Some(roles),
        Outcome::Throughput(_) => None,
    })?;
    let lines = ["producer", "consumer"].iter().zip(roles);
    let line = |(role, memory): (&&str, &Memory)| {
        format!("ch-{} {role}: {}\n", rounds.chapter, resident(memory))
    };
    Some(lines.map(line).collect())
}

fn resident(memory: &Memory) -> String {
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
        "{} MiB when half of {} events were through, {} MiB at the end, at most {} MiB; target {verdict}",
        mib(memory.half),
        grouped(RESIDENT_EVENTS),
        mib(memory.end),
        mib(memory.peak),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_share_of_the_producer_are_two_targets() {
        assert_eq!(target(Row::Produce, 7.0, Some(0.7)), "80,000: missed; 0.60 of parse: ok");
        assert_eq!(target(Row::Produce, 80_000.0, None), "80,000: ok");
    }

    #[test]
    fn memory_that_grows_or_is_large_misses_the_target() {
        let line = |half, end, peak| resident(&Memory { half, end, peak });
        assert!(line(50_000, 54_000, 60_000).contains("150 MiB: ok"));
        assert!(line(50_000, 56_000, 60_000).contains("150 MiB: missed"));
        assert!(line(50_000, 50_000, 160_000).contains("150 MiB: missed"));
        assert!(line(0, 0, 0).contains("not known"));
    }
}
