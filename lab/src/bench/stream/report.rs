//! The tables of the stream's bench, and its targets.

use std::time::Duration;

use crate::bench::rounds::verdict;
use crate::bench::row::median;
use crate::bench::stream::rows::Outcome;
use crate::bench::stream::rows::REQUESTS_A_SECOND;
use crate::bench::stream::rows::ROWS;
use crate::bench::stream::rows::Resident;
use crate::bench::stream::rows::Rounds;
use crate::bench::stream::rows::Row;
use crate::bench::stream::rows::StatsUnderLoad;
use crate::bench::table;
use crate::bench::table::millis;
use crate::bench::table::number;
use crate::screen::grouped;

// The targets that the course has set itself, on 2 cores.
const MEMORY_TARGET: f64 = 140_000.0;
const CASSANDRA_TARGET: f64 = 40_000.0;
const STATS_TARGET: Duration = Duration::from_millis(20);
const RESIDENT_TARGET_MIB: f64 = 120.0;

pub fn sections(rounds: &Rounds) -> [Option<String>; 4] {
    [
        throughput_table(rounds),
        where_the_time_goes(rounds),
        stats_line(rounds),
        resident_line(rounds),
    ]
}

fn throughput_table(rounds: &Rounds) -> Option<String> {
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
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in ROWS {
        let Some(measured) = rounds.median(row) else {
            continue;
        };
        let rate = measured.events_a_second;
        let target = match row {
            Row::Memory => verdict(rate >= MEMORY_TARGET, "140,000"),
            Row::Cassandra => verdict(rate >= CASSANDRA_TARGET, "40,000"),
            _ => String::new(),
        };
        lines.push(vec![
            rounds.name(row),
            grouped(rate as u64),
            number(Some(rate * rounds.event_bytes / 1e6), 0),
            number(rounds.ratio(row, Row::Read), 2),
            number(measured.reader_micros, 2),
            number(measured.replay_micros, 2),
            number(measured.peak_mib, 0),
            number(measured.elsewhere.map(|share| share * 100.0), 0),
            target,
        ]);
    }
    (lines.len() > 1).then(|| table::render(&lines))
}

/// The CPU time of a row without that of the row that does less.
fn where_the_time_goes(rounds: &Rounds) -> Option<String> {
    let micros = |row| rounds.median(row)?.reader_micros;
    let (read, parse) = (micros(Row::Read)?, micros(Row::Parse)?);
    let memory = micros(Row::Memory)?;
    let (parsing, rest) = (parse - read, memory - parse);
    Some(format!(
        "CPU of ch-{} serve, µs an event: {read:.2} reading + {parsing:.2} plain parsing + {rest:.2} the rest \
         (bounds, resume, folding) = {memory:.2}.\nMost of it is one thread's: a core to itself would give \
         about {} events/s.\n",
        rounds.chapter,
        grouped((1e6 / memory) as u64)
    ))
}

fn stats_line(rounds: &Rounds) -> Option<String> {
    let runs: Vec<&StatsUnderLoad> = rounds
        .outcomes()
        .filter_map(|outcome| match outcome {
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
        rounds.name(Row::Stats),
        millis(latency(50.0)),
        millis(latency(99.0)),
        millis(latency(100.0)),
        if good { "ok" } else { "missed" },
        rate(|run| run.load.requests_a_second),
        rate(|run| run.events_a_second),
        grouped(REQUESTS_A_SECOND.into()),
        grouped(first.asked_events_a_second),
    ))
}

fn resident_line(rounds: &Rounds) -> Option<String> {
    let run: &Resident = rounds.outcomes().find_map(|outcome| match outcome {
        Outcome::Resident(run) => Some(run),
        _ => None,
    })?;
    let verdict = match run.resident_mib {
        None => "not known on this system".to_owned(),
        Some(mib) => verdict(mib < RESIDENT_TARGET_MIB, "< 120 MiB"),
    };
    Some(format!(
        "{}: {} MiB after {} events of {} users, at most {} MiB; target {verdict}\n",
        rounds.name(Row::Resident),
        number(run.resident_mib, 0),
        grouped(run.events),
        grouped(run.distinct_users),
        number(run.peak_mib, 0),
    ))
}
