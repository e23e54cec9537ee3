//! The process of a service: started so that it outlives the command, found again by its pid file, and ended only
//! after it is known to be ours.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::Instant;

use crate::services::program::Program;

const POLL: Duration = Duration::from_millis(100);
/// Cassandra drains on SIGTERM: what is in its commit log is on disk when it ends.
const CLEAN_END: Duration = Duration::from_secs(30);
const KILLED: Duration = Duration::from_secs(10);

/// A process that was started here and lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    pub port: u16,
}

pub fn log_file(folder: &Path) -> PathBuf {
    folder.join("log.txt")
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("pid")
}

/// Held while a service is started or ended, so that two commands at once do not do it twice.
pub fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Starts the program in a process group of its own: Ctrl-C and the end of the terminal do not reach it.
pub fn start(folder: &Path, program: &Program, port: u16) -> Result<Child> {
    let log = log_file(folder);
    // The log of the run before says why that one ended.
    let _ = std::fs::rename(&log, folder.join("log.1.txt"));
    let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let child = tokio::process::Command::new(&program.path)
        .arg(marker(folder))
        .args(&program.arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.path.display()))?;
    let pid = child.id().context("the process ended at once")?;
    std::fs::write(pid_file(folder), format!("{pid} {port}\n"))?;
    Ok(child)
}

/// The process that the folder's pid file names, if it lives and is ours: a pid is used again after a crash.
pub fn running(folder: &Path) -> Option<Running> {
    let text = std::fs::read_to_string(pid_file(folder)).ok()?;
    let (pid, port) = text.trim().split_once(' ')?;
    let running = Running { pid: pid.parse().ok()?, port: port.parse().ok()? };
    is_ours(running.pid, folder).then_some(running)
}

/// Ends the process: SIGTERM and time for a clean end, then SIGKILL. Returns whether the end was clean.
pub async fn stop(folder: &Path, pid: u32) -> Result<bool> {
    let clean = signal_and_wait(folder, pid, Signal::TERM, CLEAN_END).await?;
    if !clean && !signal_and_wait(folder, pid, Signal::KILL, KILLED).await? {
        bail!("process {pid} does not end, not even by SIGKILL");
    }
    Ok(clean)
}

/// Whether a process that was started here ended, and nobody has noted it yet.
pub fn is_left_behind(folder: &Path) -> bool {
    pid_file(folder).exists() && running(folder).is_none()
}

/// Notes that the process has ended.
pub fn forget(folder: &Path) -> Result<()> {
    match std::fs::remove_file(pid_file(folder)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context("cannot remove the pid file")
        }
        _ => Ok(()),
    }
}

async fn signal_and_wait(folder: &Path, pid: u32, signal: Signal, time: Duration) -> Result<bool> {
    let deadline = Instant::now() + time;
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a pid")?;
    // Asked again right before, so that nobody else's process is ended.
    if is_ours(pid, folder) {
        match rustix::process::kill_process(target, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot end process {pid}")),
        }
    }
    while is_ours(pid, folder) {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(true)
}

/// Stands in the command line of what is started here; a JVM takes it as a property that nobody reads.
fn marker(folder: &Path) -> String {
    format!("-Dlab.service={}/", folder.display())
}

/// Whether `pid` is a live process that was started for `folder`.
fn is_ours(pid: u32, folder: &Path) -> bool {
    command_line(pid).contains(&marker(folder))
}

/// The command line of a process, its arguments apart by a sign; empty where it ended and waits to be reaped.
fn command_line(pid: u32) -> String {
    if cfg!(target_os = "linux") {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let output =
        Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// What the log says last of an error, or else its last lines. The last cause stands first: what an error led to, line
/// after line, would hide it.
pub fn last_words(log: &str) -> String {
    let is_cause = |line: &&str| line.contains("Caused by:");
    let is_error = |line: &&str| {
        let signs = ["ERROR", "Exception", "Caused by:"];
        signs.iter().any(|sign| line.contains(sign)) || line.starts_with("Error")
    };
    // A stack trace says where, and its first line already says what.
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("at "))
        .collect();
    let errors: Vec<&str> = lines.iter().copied().filter(is_error).collect();
    let chosen = if errors.is_empty() { lines } else { errors };
    let (before, last) = chosen.split_at(chosen.len().saturating_sub(5));
    let hidden = before.iter().copied().rfind(is_cause).filter(|_| !last.iter().any(is_cause));
    hidden.iter().chain(last).map(|line| format!("\n  {}", line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A shell with our marker in its command line, ready when this returns; reaped in the background.
    async fn started(folder: &Path, script: &str) -> (tokio::task::JoinHandle<()>, u32) {
        let ready = folder.join("ready");
        let script = format!("{script} : > '{}'; while :; do sleep 0.1; done", ready.display());
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", &script])
            .arg(marker(folder))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A test that fails must not leave it behind.
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !ready.exists() {
            assert!(Instant::now() < deadline, "the shell does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (tokio::spawn(async move { drop(child.wait().await) }), pid)
    }

    #[tokio::test]
    async fn own_process_is_found_by_its_pid_file_and_ended() {
        let folder = Scratch::new();
        let (ended, pid) = started(folder.path(), "").await;
        folder.write("pid", &format!("{pid} 9042\n"));
        assert_eq!(running(folder.path()), Some(Running { pid, port: 9042 }));
        assert!(stop(folder.path(), pid).await.unwrap(), "a clean end");
        ended.await.unwrap();
        assert_eq!(running(folder.path()), None);
        assert!(is_left_behind(folder.path()));
        forget(folder.path()).unwrap();
        assert!(!is_left_behind(folder.path()));
    }

    #[tokio::test]
    async fn pid_of_another_process_is_left_alone() {
        let (folder, other) = (Scratch::new(), Scratch::new());
        let (ended, pid) = started(other.path(), "").await;
        folder.write("pid", &format!("{pid} 9042\n"));
        assert_eq!(running(folder.path()), None);
        stop(folder.path(), pid).await.unwrap();
        assert!(is_ours(pid, other.path()), "it must still run");
        assert!(stop(other.path(), pid).await.unwrap());
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn process_deaf_to_sigterm_is_waited_for_and_then_killed() {
        let folder = Scratch::new();
        let (ended, pid) = started(folder.path(), "trap '' TERM;").await;
        let time = Duration::from_millis(300);
        assert!(!signal_and_wait(folder.path(), pid, Signal::TERM, time).await.unwrap());
        assert!(signal_and_wait(folder.path(), pid, Signal::KILL, KILLED).await.unwrap());
        ended.await.unwrap();
    }

    #[test]
    fn pid_file_with_anything_else_in_it_names_no_process() {
        let folder = Scratch::new();
        assert_eq!(running(folder.path()), None);
        for text in ["", "12", "x y", "999999999999 9042", "0 9042"] {
            folder.write("pid", text);
            assert_eq!(running(folder.path()), None, "{text:?}");
        }
    }

    #[test]
    fn errors_are_quoted_before_other_lines() {
        let log = "INFO starting\nERROR no disk\nINFO ending\n\n";
        assert_eq!(last_words(log), "\n  ERROR no disk");
        let trace =
            "java.io.IOException: no\n\tat java.io.Exception.a(A.java:1)\nCaused by: Exception\n";
        assert_eq!(last_words(trace), "\n  java.io.IOException: no\n  Caused by: Exception");
        let caused = "ERROR fatal\nCaused by: java.lang.OutOfMemoryError\n".to_owned();
        let said = last_words(&(caused + &"ERROR more\n".repeat(9)));
        assert!(
            said.starts_with("\n  Caused by: java.lang.OutOfMemoryError\n  ERROR more"),
            "{said}"
        );
        assert_eq!(last_words("a\nb\n"), "\n  a\n  b");
        assert_eq!(last_words("1\n2\n3\n4\n5\n6"), "\n  2\n  3\n  4\n  5\n  6");
        assert_eq!(last_words(""), "");
    }
}
