//! A program that can be started: its command, its environment and its folder, on this machine or in an image.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use tokio::process::Command;

use crate::docker::Container;
use crate::process::running::Finished;
use crate::process::running::Process;

/// What a program must not inherit from the shell that lab was started in: the variables that
/// chapters read, and those that change what a panic or an error prints.
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

/// A program must not inherit these either: it talks to servers on this machine, and a proxy would not find them.
pub const PROXIES: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

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
    /// If a word names a file there, its absolute path is used, because the program may run in another directory.
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
        Self { command, image: None, environment: Vec::new(), folder: None, kept_lines: 1_000_000 }
    }

    /// The program of a Docker image. It runs in a container with this machine's network, its folder and its variables,
    /// on a read-only file system and without capabilities; `docker run` passes its signals and streams on.
    pub fn in_image(image: impl Into<String>) -> Self {
        Self { image: Some(image.into()), ..Self::new([] as [OsString; 0]) }
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, arguments: I) -> Self {
        self.command.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable. If it is set more than once, the last value counts.
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

    /// Without the variables that a role does not need if it signs no tokens and keeps no counts.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        ["JWT_SECRET", "ADMIN_USERNAME", "ADMIN_PASSWORD_HASH", "STORAGE"]
            .into_iter()
            .fold(self, Self::without)
    }

    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// How many of the last lines of each output are kept; without this, a million.
    #[must_use]
    pub fn keep_lines(mut self, lines: usize) -> Self {
        self.kept_lines = lines;
        self
    }

    /// # Errors
    /// There is no such program, or it is a file that can't be run; the error says what to give instead.
    pub fn can_start(&self) -> Result<()> {
        let program = self.command.first().context("there is no command to run")?;
        let name = program.display();
        let is_executable = |file: &Path| {
            file.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        let file = Path::new(program);
        if !program.as_encoded_bytes().contains(&b'/') {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let is_there =
                std::env::split_paths(&path).any(|folder| is_executable(&folder.join(file)));
            ensure!(
                is_there,
                "no folder of PATH has a program {name}; a program in this folder is ./{name}"
            );
        } else if file.is_dir() {
            bail!("{name} is a folder: give the program in it, built beforehand");
        } else if !file.exists() {
            bail!("there is no {name}: build your program first, and give its path");
        } else if !is_executable(file) {
            bail!("{name} is not executable: give its interpreter first, or chmod +x it");
        }
        Ok(())
    }

    /// Starts the program, and reads both of its outputs.
    pub fn start(&self) -> Result<Process> {
        let mut process = self.start_with_open_stdout()?;
        process.read_stdout(self.kept_lines);
        Ok(process)
    }

    /// Starts the program, and leaves its stdout to the caller, who takes it by `Process::take_stdout`.
    pub fn start_with_open_stdout(&self) -> Result<Process> {
        let container = self.image.is_some().then(Container::new);
        let mut command = match (&self.image, &container) {
            (Some(image), Some(container)) => {
                self.docker_run(container, image, &["--rm", "--interactive", "--no-healthcheck"])
            }
            _ => {
                let (program, arguments) =
                    self.command.split_first().context("there is no command to run")?;
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
        let child = command.spawn().with_context(|| {
            let program = command.as_std().get_program();
            format!("cannot start {}", program.display())
        })?;
        Process::of(child, container, self.kept_lines)
    }

    /// Starts the image's own command in the background, with its health checks, as an operator would.
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
        for name in OURS.iter().chain(&PROXIES) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_proxy_is_inherited_and_one_that_is_given_is_used() {
        // In a program of its own, because the environment of this one is shared by all tests.
        let inherits = Program::new(["env"]).env("http_proxy", "http://proxy:1");
        let mut command = Command::new("env");
        command.env("https_proxy", "http://shell:1").env("no_proxy", "x");
        inherits.set_environment(&mut command);
        let output = command.output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("http_proxy=http://proxy:1"), "{said}");
        assert!(!said.contains("https_proxy") && !said.contains("no_proxy"), "{said}");
    }

    #[test]
    fn what_names_a_file_is_made_absolute_but_a_word_for_the_path_is_not() {
        let program = Program::new(["Cargo.toml", "Cargo.toml", "--flag"]);
        assert_eq!(program.command.first().unwrap(), "Cargo.toml");
        assert!(Path::new(&program.command[1]).is_absolute());
        assert_eq!(program.command[2], "--flag");
    }

    #[test]
    fn a_program_that_cannot_be_started_is_told_with_what_to_do() {
        let why =
            |program: &str| Program::new([program]).can_start().err().map(|why| why.to_string());
        assert_eq!(why("sh"), None);
        assert_eq!(why("/bin/sh"), None);
        for (program, told) in [
            ("no-such-program", "./no-such-program"),
            ("./no-such-program", "build your program first"),
            ("./src", "is a folder"),
            ("./Cargo.toml", "not executable"),
        ] {
            let why = why(program).unwrap();
            assert!(why.contains(told), "{why}");
        }
    }
}
