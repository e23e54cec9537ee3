//! A running program: the signals that it is sent, how it ends, and what it has printed.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::ChildStdout;

use crate::docker::Container;
use crate::process::output::Output;

/// What is known of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Finished {
    /// # Errors
    /// The exit status is not 0, or the program was killed; the error has its last lines on stderr.
    pub fn has_succeeded(&self) -> Result<()> {
        if !self.status.success() {
            bail!("{}; stderr:\n{}", describe(self.status), tail(&self.stderr));
        }
        Ok(())
    }
}

/// A running program. Dropping it kills the program and what it started, and waits until the program is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    ended: Option<ExitStatus>,
    /// Must be dropped after `docker run` was killed, which could otherwise still create the container.
    container: Option<Container>,
    pub stdout: Output,
    pub stderr: Output,
}

impl Process {
    /// `container` is given if `child` is `docker run`. The last `kept_lines` lines of stderr are kept.
    pub fn of(mut child: Child, container: Option<Container>, kept_lines: usize) -> Result<Self> {
        let stderr = child.stderr.take();
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            child,
            pid: pid.context("the program has no process id")?,
            ended: None,
            container,
            stdout: Output::default(),
            stderr: stderr.map_or_else(Output::default, |stderr| Output::read(stderr, kept_lines)),
        })
    }

    pub fn read_stdout(&mut self, kept_lines: usize) {
        if let Some(stdout) = self.child.stdout.take() {
            self.stdout = Output::read(stdout, kept_lines);
        }
    }

    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Writes all of `input` and closes stdin. It is no error if the program does not read it.
    pub async fn write_stdin(&mut self, input: &[u8]) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(input).await;
        }
    }

    /// Writes one line and leaves stdin open.
    pub async fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("stdin is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await.context("the program does not read its stdin")
    }

    /// Waits for a line on stderr that contains `part`. The error shows the lines that came instead.
    pub async fn says(&self, part: &str, deadline: Duration) -> Result<String> {
        let line = self.stderr.line(deadline, |line| line.contains(part)).await;
        line.with_context(|| {
            let said = tail(&self.stderr.lines());
            format!("no line with {part} on stderr:\n{said}")
        })
    }

    /// The end of a sentence about this program: the last lines of its stderr, or of its stdout where stderr is empty.
    pub async fn last_words(&mut self) -> String {
        let ended = self.ended().is_some();
        for (name, output) in [("stderr", &self.stderr), ("stdout", &self.stdout)] {
            let lines = if ended { output.all().await } else { output.lines() };
            if !lines.is_empty() {
                return format!("; its {name}:\n{}", tail(&lines));
            }
        }
        if ended { ", and it printed nothing" } else { "; it has printed nothing" }.to_owned()
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            bail!("the program has ended before it could be sent a signal");
        }
        if let (Some(container), Signal::KILL) = (&self.container, signal) {
            return container.kill();
        }
        rustix::process::kill_process(self.pid, signal).context("cannot send the program a signal")
    }

    /// The exit status if the program has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// # Errors
    /// It has ended; the error has its last lines.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!(
                "ended by itself, {}; stderr:\n{}",
                describe(status),
                tail(&self.stderr.lines())
            ),
        }
    }

    /// Waits for the program's end. It is an error if the program still runs at the deadline.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let status = tokio::time::timeout(deadline, self.child.wait()).await.ok();
        let status = status
            .with_context(|| format!("the program still runs after {} s", deadline.as_secs()))?
            .context("cannot wait for the program")?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Waits for the program's end, and returns its status and all that it has printed.
    pub async fn finish(&mut self, deadline: Duration) -> Result<Finished> {
        Ok(Finished {
            status: self.wait(deadline).await?,
            stdout: self.stdout.all().await,
            stderr: self.stderr.all().await,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group, so that what a wrapper script started goes too. Once its leader is reaped and its last member
        // gone, the number could belong to somebody else: hence only while the leader is ours.
        if self.ended().is_none() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            // A killed program holds its ports for a moment, and whoever comes next may want them.
            for _ in 0..200 {
                if self.ended().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// The last lines of an output, for a report.
pub fn tail(lines: &[String]) -> String {
    const SHOWN: usize = 12;
    let skipped = lines.len().saturating_sub(SHOWN);
    let shown = lines[skipped..].join("\n");
    if skipped > 0 { format!("… {skipped} lines before\n{shown}") } else { shown }
}

/// `exit status 0` or `killed by signal 9`, for a report.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}
