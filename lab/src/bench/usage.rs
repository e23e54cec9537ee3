//! What a running process has used so far, from Linux's `/proc`. Elsewhere nothing is known, and the table says so.

use crate::process::Process;

/// Linux counts CPU time in these, on every architecture that Rust's standard library runs on.
const TICKS_A_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time.
    pub cpu_seconds: f64,
    /// 0 once the process has ended.
    pub resident_kib: u64,
    pub peak_kib: u64,
    /// It has ended, and nobody has asked for its exit status yet.
    pub is_zombie: bool,
}

impl Usage {
    pub fn of(process: &Process) -> Option<Self> {
        let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", process.id())).ok();
        let (cpu_seconds, is_zombie) = parse_stat(&read("stat")?)?;
        let status = read("status")?;
        Some(Self {
            cpu_seconds,
            is_zombie,
            resident_kib: field(&status, "VmRSS:").unwrap_or_default(),
            peak_kib: field(&status, "VmHWM:").unwrap_or_default(),
        })
    }
}

/// CPU time, and whether the process is a zombie. The columns are pid, name in brackets (it may hold spaces), state,
/// ten others, user time, system time.
fn parse_stat(stat: &str) -> Option<(f64, bool)> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let columns: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let ticks = |column: usize| columns.get(column)?.parse::<u64>().ok();
    Some(((ticks(11)? + ticks(12)?) as f64 / TICKS_A_SECOND, columns.first() == Some(&"Z")))
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// The CPU time that the whole machine has spent on anything, in seconds: a difference of two tells how quiet it was.
pub fn machine_cpu_seconds() -> Option<f64> {
    parse_machine(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: `cpu`, then user, nice, system, idle, iowait, irq, softirq, steal; the guests' time is in user's.
fn parse_machine(stat: &str) -> Option<f64> {
    let columns: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .map_while(|column| column.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6, 7].map(|column| columns.get(column).copied().unwrap_or_default());
    Some(busy.iter().sum::<u64>() as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_brackets() {
        let stat =
            "7 (a) b) R 1 7 7 0 -1 4194304 2 0 0 0 150 25 0 0 20 0 1 0 9 1 1 184 0 0 0 0 0 0 0";
        assert_eq!(parse_stat(stat), Some((1.75, false)));
        assert_eq!(parse_stat(&stat.replace(" R ", " Z ")), Some((1.75, true)));
        assert_eq!(parse_stat("7 (a) R 1"), None);
    }

    #[test]
    fn memory_is_read_by_its_name() {
        let status = "VmPeak:\t  900 kB\nVmHWM:\t  124 kB\nVmRSS:\t   96 kB\n";
        assert_eq!(field(status, "VmHWM:"), Some(124));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        let stat = "cpu  100 200 300 4000 5000 10 20 70 1 1\ncpu0 1 1 1 1\n";
        assert_eq!(parse_machine(stat), Some(7.0));
        assert_eq!(parse_machine(""), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_ended_process_still_tells_its_time() {
        use std::time::Duration;
        let process = crate::process::Program::new([
            "sh",
            "-c",
            "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done",
        ])
        .start()
        .unwrap();
        let ended = async {
            loop {
                let usage = Usage::of(&process).unwrap();
                if usage.is_zombie {
                    return usage;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let usage = tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
        assert!(usage.cpu_seconds > 0.0);
        assert_eq!(usage.resident_kib, 0);
    }
}
