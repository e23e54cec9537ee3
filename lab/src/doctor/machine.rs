//! What the machine itself gives: free ports, memory, open files, disk.

use std::process::Command;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::chapters;
use crate::doctor::finding::Finding;
use crate::ports;
use crate::services;

/// The project's default ports: number, who listens there, and how to choose another.
const PORTS: [(u16, &str, &str); 6] = [
    (FIRST, "ch-1 to ch-4", "HTTP_ADDR=127.0.0.1:7001, or `cargo lab up --help`"),
    (8080, "from ch-5 on, the consumer", "HTTP_ADDR=127.0.0.1:8081, or `cargo lab up --help`"),
    (2112, "from ch-5 on, the producer", "HTTP_ADDR=127.0.0.1:2113, or `cargo lab up --help`"),
    (CASSANDRA, "from ch-3 on, Cassandra", "cargo lab services up --cassandra-port 19042"),
    (
        KAFKA,
        "from ch-5 on, Kafka or Redpanda",
        "cargo lab services up kafka --kafka-port 19092, and REDPANDA_BROKER=127.0.0.1:19092",
    ),
    (7100, "from ch-2 on, the stream of `cargo lab replay`", "see `cargo lab replay --help`"),
];
const FIRST: u16 = 7000;
const CASSANDRA: u16 = 9042;
const KAFKA: u16 = 9092;

/// From which chapter on how many MiB must be free: a build; with Cassandra (its heap is 1 GiB); with Kafka too;
/// with a Kubernetes cluster around all of it.
const MEMORY: [(u8, u64); 4] = [(1, 1024), (3, 2560), (5, 4096), (8, 6144)];
/// From which chapter on how many MiB of disk: debug and release builds, jars, data; librdkafka's builds; images.
const DISK: [(u8, u64); 3] = [(1, 4096), (5, 10_240), (8, 20_480)];
/// `cargo lab check` opens 2,000 connections, and the server has as many.
const OPEN_FILES: u64 = 4096;

pub async fn look(tell: &mut impl FnMut(Finding)) {
    for (port, needed_by, other) in PORTS {
        let at = ("127.0.0.1", port);
        let serves = match port {
            CASSANDRA => services::cassandra_answers(at).await.then_some("Cassandra"),
            KAFKA => services::kafka_answers(at).await.then_some("a Kafka broker"),
            _ => None,
        };
        let what = format!("port {port}");
        tell(match (ports::owner(port), serves) {
            (None, _) => Finding::good(&what, "free", needed_by),
            (Some(owner), Some(service)) => {
                Finding::good(&what, format!("{service} answers: {owner}"), needed_by)
            }
            (Some(owner), None) => taken(port, &owner, needed_by, other),
        });
    }
    tell(room(
        "memory",
        available_memory(),
        &MEMORY,
        "end what you do not need, or keep STORAGE=memory",
    ));
    tell(room(
        "disk",
        free_disk(),
        &DISK,
        "cargo clean, or set CARGO_TARGET_DIR to a folder on another disk",
    ));
    let limit = getrlimit(Resource::Nofile).current;
    tell(open_files(limit));
}

/// Chapter 1 knows no other port than its own; all that come later can take another.
fn taken(port: u16, owner: &str, needed_by: &str, other: &str) -> Finding {
    let (what, state) = (format!("port {port}"), format!("taken by {owner}"));
    if port == FIRST {
        let mend =
            format!("end that program: ch-1 can't use another port (ch-2 to ch-4 can: {other})");
        return Finding::missing(&what, state, needed_by, &mend);
    }
    Finding::attention(
        &what,
        state,
        needed_by,
        &format!("end that program, or choose another port: {other}"),
    )
}

/// Compares what is there with what chapters need, in MiB.
fn room(what: &str, available: Option<u64>, needs: &[(u8, u64)], mend: &str) -> Finding {
    let Some(available) = available else {
        return Finding::attention(what, "cannot be read on this system", "every chapter", mend);
    };
    match needs.iter().find(|(_, need)| available < *need) {
        None => Finding::good(what, format!("{available} MiB free"), "enough for every chapter"),
        Some((from, need)) => {
            let state = format!("{available} MiB free");
            let needed_by = format!("from ch-{from} on {need} MiB");
            if *from == 1 {
                Finding::missing(what, state, &needed_by, mend)
            } else {
                Finding::attention(what, state, &needed_by, mend)
            }
        }
    }
}

fn available_memory() -> Option<u64> {
    if cfg!(target_os = "macos") {
        // All of it: what macOS calls free says little.
        let output = Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
        let bytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
        return Some(bytes >> 20);
    }
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib >> 10)
}

/// What is free where cargo builds, or will build.
fn free_disk() -> Option<u64> {
    let target = chapters::target();
    let place = if target.exists() { target } else { chapters::root() };
    let output = Command::new("df").arg("-Pk").arg(place).output().ok()?;
    parse_df(&String::from_utf8_lossy(&output.stdout))
}

/// The fourth column of POSIX `df -Pk`, in KiB; the name of the file system before it may hold blanks.
fn parse_df(text: &str) -> Option<u64> {
    let columns: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    let capacity = columns.iter().position(|column| column.ends_with('%'))?;
    let kib: u64 = columns.get(capacity.checked_sub(1)?)?.parse().ok()?;
    Some(kib >> 10)
}

/// `None` is no limit.
fn open_files(limit: Option<u64>) -> Finding {
    let needed_by = "from ch-3 on, for many connections";
    match limit {
        Some(limit) if limit < OPEN_FILES => Finding::attention(
            "open files",
            format!("at most {limit}"),
            needed_by,
            &format!("ulimit -n {OPEN_FILES}"),
        ),
        Some(limit) => Finding::good("open files", format!("at most {limit}"), needed_by),
        None => Finding::good("open files", "no limit", needed_by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Mark;

    #[test]
    fn room_is_weighed_chapter_by_chapter() {
        let memory = |available| room("memory", available, &MEMORY, "mend");
        assert_eq!(memory(Some(6144)).mark, Mark::Good);
        let later = memory(Some(3000));
        assert_eq!(later.mark, Mark::Attention);
        assert!(later.to_string().contains("from ch-5 on 4096 MiB"), "{later}");
        assert_eq!(memory(Some(1000)).mark, Mark::Missing);
        assert_eq!(memory(None).mark, Mark::Attention);
    }

    #[test]
    fn without_port_7000_the_first_chapter_is_not_ready() {
        let mark = |port| taken(port, "java (pid 1)", "a chapter", "PORT=1").mark;
        assert_eq!([mark(7000), mark(8080)], [Mark::Missing, Mark::Attention]);
    }

    #[test]
    fn system_s_tables_are_read() {
        let meminfo = "MemTotal:       24684000 kB\nMemAvailable:    2097152 kB\n";
        assert_eq!(parse_meminfo(meminfo), Some(2048));
        assert_eq!(parse_meminfo("MemTotal: 1 kB\n"), None);
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\nmap auto home 300 100 204800 14% /a b\n";
        assert_eq!(parse_df(df), Some(200));
        assert_eq!(parse_df("df: no such file\n"), None);
    }

    #[test]
    fn low_file_limit_is_named_with_its_command() {
        let low = open_files(Some(256));
        assert_eq!(low.mark, Mark::Attention);
        assert!(low.to_string().contains("> ulimit -n 4096"), "{low}");
        assert_eq!(open_files(Some(4096)).mark, Mark::Good);
        assert_eq!(open_files(None).mark, Mark::Good);
    }
}
