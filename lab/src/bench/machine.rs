//! On which machine and when a bench ran: without this a rate says nothing.

use std::process::Command;

use crate::chapters;

/// Two lines: the time and the revision, and the machine.
pub fn describe() -> [String; 2] {
    let date = output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default();
    let revision = output("git", &["rev-parse", "--short", "HEAD"]);
    let changed = output("git", &["status", "--porcelain"]).is_some_and(|files| !files.is_empty());
    let revision = match (revision, changed) {
        (Some(revision), true) => format!("git {revision} with changes"),
        (Some(revision), false) => format!("git {revision}"),
        (None, _) => "no git revision".to_owned(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut machine = format!("{cores} cores, {} {}", std::env::consts::OS, std::env::consts::ARCH);
    if let Some(processor) = proc_line("/proc/cpuinfo", "model name") {
        machine = format!("{machine}, {processor}");
    }
    let kib = proc_line("/proc/meminfo", "MemTotal")
        .and_then(|size| size.trim_end_matches("kB").trim().parse::<f64>().ok());
    if let Some(kib) = kib {
        machine = format!("{machine}, {:.1} GiB", kib / 1024.0 / 1024.0);
    }
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let last_minute = load.split(' ').next().unwrap_or_default();
        machine = format!("{machine}, load {last_minute} before the bench");
    }
    [format!("{date}, {revision}"), machine]
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).current_dir(chapters::root()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// What stands behind the colon of the first line that begins with `name`.
fn proc_line(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
