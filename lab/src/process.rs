//! The programs that lab runs: builds a chapter, starts it with an environment of our own choosing, reads what it
//! prints, sends it signals, and waits for its end. Used by `check`, `up` and `bench`.
//! A program never outlives the `Process` that stands for it.

mod output;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::process::Pid;
pub use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;

pub use self::output::Output;
use crate::chapters;
use crate::docker::Container;

/// What a program must not inherit from the shell that lab was started in: the variables of design's table, and
/// those that change what a panic or an error prints.
const OURS: [&str; 26] = [
    "ADMIN_PASSWORD_HASH",
    "ADMIN_USERNAME",
    "BATCH_INTERVAL",
    "BATCH_SIZE",
    "CASSANDRA_KEYSPACE",
    "CASSANDRA_NODES",
    "CASSANDRA_REPLICATION",
    "CONFIG_FILE",
    "CONSUMER_GROUP",
    "CURSOR_TOPIC",
    "DEAD_LETTER_TOPIC",
    "HTTP_ADDR",
    "JWT_SECRET",
    "LOG_FORMAT",
    "REDPANDA_BROKER",
    "REDPANDA_PROPERTIES",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "STORAGE",
    "USER_AGENT",
    "WIKIPEDIA_STREAM_URL",
    "WIKIPEDIA_TOPIC",
    "WIKIPEDIA_TOPIC_PARTITIONS",
    "WIKIPEDIA_TOPIC_REPLICATION",
    "WORKERS",
];

/// Builds chapter `number`, cargo's progress on stderr, and returns its binary.
pub async fn build(number: u8) -> Result<PathBuf> {
    build_package(&chapters::name(number)).await
}

/// The same for any package of the workspace whose binary has its name.
///
/// The profile is that of lab itself. `cargo lab` is a release build, and builds no more than `name`. A debug build of
/// lab is for those who work on it, as `.ci/run` does: then the whole workspace is built, because
/// `cargo test --workspace` has compiled nearly all of that already, and for one package alone cargo would choose other
/// features of the dependencies, and compile them again.
pub async fn build_package(name: &str) -> Result<PathBuf> {
    let what: &[&str] = if cfg!(debug_assertions) {
        &["--workspace"]
    } else {
        &["--release", "--package", name]
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    // Not `output()`, which would take stderr too, and show nobody what cargo does for minutes.
    let cargo = Command::new(cargo)
        .args(["build", "--locked"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(what)
        .current_dir(chapters::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run cargo")?;
    let output = cargo.wait_with_output().await?;
    if !output.status.success() {
        bail!("cargo could not build {name}; its reason stands above");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == name && message["executable"].is_string())
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built {name}, but named no binary"))
}

/// A program that is not running yet: the command, its environment and its working directory.
#[derive(Clone, Debug)]
pub struct Program {
    command: Vec<OsString>,
    image: Option<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
    kept_lines: usize,
}

impl Program {
    /// `command` is the program and its first arguments, as a shell in the current directory would take them.
    /// What names a file there is made absolute, because the program may run in another directory.
    pub fn new<I: IntoIterator<Item: Into<OsString>>>(command: I) -> Self {
        // The program itself is looked up in PATH where it is one word, as a shell would do.
        let here = |position: usize, word: OsString| match Path::new(&word).canonicalize() {
            Ok(path)
                if path.is_file() && (position > 0 || word.as_encoded_bytes().contains(&b'/')) =>
            {
                path.into()
            }
            _ => word,
        };
        let words = command.into_iter().map(Into::into).enumerate();
        let command = words.map(|(position, word)| here(position, word)).collect();
        Self {
            command,
            image: None,
            environment: Vec::new(),
            folder: None,
            kept_lines: 1_000_000,
        }
    }

    /// The program of a Docker image. It runs in a container with this machine's network, its folder and its variables,
    /// on a read-only file system and without capabilities; `docker run` passes its signals and streams on.
    pub fn in_image(image: impl Into<String>) -> Self {
        Self {
            image: Some(image.into()),
            ..Self::new([] as [OsString; 0])
        }
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, arguments: I) -> Self {
        self.command.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable; the last value given counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// How many of the last lines of each output are kept; a million where nothing is said.
    #[must_use]
    pub fn keep_lines(mut self, lines: usize) -> Self {
        self.kept_lines = lines;
        self
    }

    /// Starts the program, both outputs read by lab.
    pub fn start(&self) -> Result<Process> {
        let mut process = self.start_with_open_stdout()?;
        if let Some(stdout) = process.child.stdout.take() {
            process.stdout = Output::read(stdout, self.kept_lines);
        }
        Ok(process)
    }

    /// Starts the program; its stdout is the caller's, see `Process::take_stdout`.
    pub fn start_with_open_stdout(&self) -> Result<Process> {
        let container = self.image.is_some().then(Container::new);
        let mut command = match (&self.image, &container) {
            (Some(image), Some(container)) => self.docker_run(
                container,
                image,
                &["--rm", "--interactive", "--no-healthcheck"],
            ),
            _ => {
                let (program, arguments) = self
                    .command
                    .split_first()
                    .context("there is no command to run")?;
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
        };
        self.set_environment(&mut command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C in the terminal reaches lab alone, which then ends the program in order.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().with_context(|| {
            let program = command.as_std().get_program();
            format!("cannot start {}", program.display())
        })?;
        let stderr = child
            .stderr
            .take()
            .map(|stderr| Output::read(stderr, self.kept_lines));
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Process {
            child,
            pid: pid.context("the program has no process id")?,
            ended: None,
            container,
            stdout: Output::default(),
            stderr: stderr.unwrap_or_default(),
        })
    }

    /// Starts the image's own command in the background, health checks and all, as an operator would.
    pub async fn start_detached(&self) -> Result<Container> {
        let image = self.image.as_deref().context("there is no image to run")?;
        let container = Container::new();
        let mut command = self.docker_run(&container, image, &["--detach"]);
        self.set_environment(&mut command);
        let output = command.stdin(Stdio::null()).output().await;
        let output = output.context("cannot run docker: is it installed?")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(container)
    }

    fn docker_run(&self, container: &Container, image: &str, options: &[&str]) -> Command {
        let variables = self.environment.iter().map(|(name, _)| name.as_str());
        let mut command = Command::new("docker");
        command
            .args(container.run_arguments(variables, self.folder.as_deref()))
            .args(options)
            .arg(image)
            .args(&self.command);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        for name in OURS {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Starts the program with `input` on stdin, and waits for its end.
    pub async fn output(&self, input: &[u8], deadline: Duration) -> Result<Finished> {
        let mut process = self.start()?;
        process.write_stdin(input).await;
        process.finish(deadline).await
    }
}

/// What a program that has ended left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Finished {
    /// # Errors
    /// It has ended otherwise than with exit status 0; the error has its last words.
    pub fn has_succeeded(&self) -> Result<()> {
        if !self.status.success() {
            bail!("{}; stderr:\n{}", describe(self.status), tail(&self.stderr));
        }
        Ok(())
    }
}

/// A running program. Dropping it kills the program and what it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    ended: Option<ExitStatus>,
    /// Dropped after `docker run` was killed: that one could still make it.
    container: Option<Container>,
    pub stdout: Output,
    pub stderr: Output,
}

impl Process {
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Writes all of `input` and closes stdin. A program that does not read it is no error.
    pub async fn write_stdin(&mut self, input: &[u8]) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(input).await;
        }
    }

    /// Writes one line and leaves stdin open.
    pub async fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("stdin is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin
            .flush()
            .await
            .context("the program does not read its stdin")
    }

    /// Waits for a line on stderr that holds `part`; the error quotes what stands there instead.
    pub async fn says(&self, part: &str, deadline: Duration) -> Result<String> {
        let line = self.stderr.line(deadline, |line| line.contains(part)).await;
        line.with_context(|| {
            let said = tail(&self.stderr.lines());
            format!("stderr:\n{said}\nwithout {part}")
        })
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
    /// It has ended; the error has its last words.
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

    /// Waits for the program's end, and fails at the deadline.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let status = tokio::time::timeout(deadline, self.child.wait())
            .await
            .with_context(|| format!("still running after {} s", deadline.as_secs()))?
            .context("cannot wait for the program")?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Waits for the program's end, and takes all that it has said.
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
        }
    }
}

/// The last lines of what a program said, for a report.
pub fn tail(lines: &[String]) -> String {
    const SHOWN: usize = 12;
    let skipped = lines.len().saturating_sub(SHOWN);
    let shown = lines[skipped..].join("\n");
    if skipped > 0 {
        format!("… {skipped} lines before\n{shown}")
    } else {
        shown
    }
}

/// `exit status 0` or `killed by signal 9`, for a report.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Program {
        Program::new(["sh", "-c", script])
    }

    #[tokio::test]
    async fn both_outputs_and_the_exit_status_are_taken() {
        let finished = shell("read word; echo got $word; echo oops >&2; exit 3")
            .output(b"it\n", SOON)
            .await
            .unwrap();
        assert_eq!(finished.stdout, ["got it"]);
        assert_eq!(finished.stderr, ["oops"]);
        assert_eq!(describe(finished.status), "exit status 3");
    }

    #[tokio::test]
    async fn a_program_that_runs_on_is_an_error_at_the_deadline() {
        let error = shell("exec sleep 600")
            .output(b"", Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("still running"));
    }

    #[tokio::test]
    async fn a_signal_reaches_the_program_and_a_later_line_is_waited_for() {
        let mut process =
            shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
                .start()
                .unwrap();
        process
            .stdout
            .line(SOON, |line| line == "ready")
            .await
            .unwrap();
        process.signal(Signal::TERM).unwrap();
        process
            .stdout
            .line(SOON, |line| line == "bye")
            .await
            .unwrap();
        assert!(process.wait(SOON).await.unwrap().success());
        assert!(process.signal(Signal::TERM).is_err());
    }

    #[tokio::test]
    async fn a_dropped_process_takes_its_children_with_it() {
        let process = shell("sleep 600 & echo $!; wait").start().unwrap();
        let child = process.stdout.line(SOON, |_| true).await.unwrap();
        drop(process);
        let pid = Pid::from_raw(child.parse().unwrap()).unwrap();
        let gone = async {
            // A zombie that nobody reaps still takes signals, so its state is read too.
            while rustix::process::test_kill_process(pid).is_ok() && !zombie(&child) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, gone).await.unwrap();
    }

    fn zombie(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[tokio::test]
    async fn the_shells_own_settings_are_not_inherited_and_ours_are_set() {
        let program = shell("echo ${HTTP_ADDR-none} ${STORAGE-none}")
            .env("STORAGE", "a")
            .env("STORAGE", "memory");
        let finished = program.output(b"", SOON).await.unwrap();
        assert_eq!(finished.stdout, ["none memory"]);
    }

    #[test]
    fn what_names_a_file_is_made_absolute_but_a_word_for_the_path_is_not() {
        let program = Program::new(["Cargo.toml", "Cargo.toml", "--flag"]);
        assert_eq!(program.command.first().unwrap(), "Cargo.toml");
        assert!(Path::new(&program.command[1]).is_absolute());
        assert_eq!(program.command[2], "--flag");
    }
}
