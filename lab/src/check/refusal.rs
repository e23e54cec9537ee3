//! Runs the program to its end, for the checks of what it must refuse and of what it must say.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::check::wait::STOP;
use crate::process::Finished;
use crate::process::Program;
use crate::process::Signal;
use crate::process::describe;
use crate::scratch;

impl Subject {
    /// Runs the program with `arguments` to its end, `input` on stdin.
    pub async fn output(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        self.output_with(arguments, input, |program| program).await
    }

    pub async fn output_with(
        &self,
        arguments: &[&str],
        input: &str,
        change: impl FnOnce(Program) -> Program,
    ) -> Result<Finished> {
        let role = arguments.first().filter(|role| **role == "watch");
        self.works(role.unwrap_or(&self.server_role())).await?;
        let folder = scratch::folder()?;
        let program = self.program()?.folder(folder.path()).args(arguments);
        change(program).output(input.as_bytes(), SOON).await
    }

    /// Expects that the program refuses to start: it ends in time, with a non-zero exit status, and its message
    /// contains all of `named`. Returns the lines of the message.
    pub async fn refuses(
        &self,
        role: &str,
        named: &[&str],
        change: impl FnOnce(Program) -> Program,
    ) -> Result<Vec<String>> {
        self.works(role).await?;
        let started = self.output_with(&[role], "", change).await;
        let finished = started.context("the program did not refuse to start")?;
        let said = finished.stderr.join("\n");
        ensure!(
            !finished.status.success(),
            "the program ended with exit status 0, although it must refuse this; stderr:\n{said}"
        );
        ensure!(finished.status.code().is_some(), "{}; stderr:\n{said}", describe(finished.status));
        ensure!(!said.contains("panicked"), "stderr shows a panic:\n{said}");
        for word in named {
            ensure!(said.contains(word), "the message on stderr does not name {word}:\n{said}");
        }
        Ok(finished.stderr.into_iter().filter(|line| !line.trim().is_empty()).collect())
    }

    /// As `refuses`, and the message must be one line.
    pub async fn refuses_in_one_line(
        &self,
        role: &str,
        named: &[&str],
        change: impl FnOnce(Program) -> Program,
    ) -> Result<String> {
        let lines = self.refuses(role, named, change).await?;
        ensure!(lines.len() == 1, "{} lines on stderr:\n{}", lines.len(), lines.join("\n"));
        Ok(lines.concat())
    }

    /// As `refuses_in_one_line`, for each of `values` in the variable `name`.
    pub async fn refuses_each(&self, role: &str, name: &str, values: &[&str]) -> Result<()> {
        for value in values {
            self.refuses_in_one_line(role, &[name], |program| program.env(name, *value))
                .await
                .with_context(|| format!("{name}={value:?}"))?;
        }
        Ok(())
    }

    /// The help texts of the program and of `roles` in one string.
    pub async fn help(&self, roles: &[&str]) -> Result<String> {
        let mut text = String::new();
        let of_roles = roles.iter().map(|role| vec![*role, "--help"]);
        for arguments in [vec!["--help"]].into_iter().chain(of_roles) {
            let finished = self.output(&arguments, "").await?;
            let ended = finished.has_succeeded();
            ended.with_context(|| format!("of {arguments:?}"))?;
            text += &finished.stdout.join("\n");
        }
        Ok(text)
    }

    /// Expects that the program says that nobody answers at `address`. It may go on waiting, and end on SIGTERM, or end
    /// by itself with a non-zero exit status.
    pub async fn names_what_is_away(
        &self,
        role: &str,
        address: &str,
        change: impl FnOnce(Program) -> Program,
    ) -> Result<()> {
        self.works(role).await?;
        let mut server = self.launch(role, change)?;
        let process = server.process()?;
        process.says(address, SOON).await?;
        if let Some(status) = process.ended() {
            ensure!(!status.success(), "exit status 0");
            return Ok(());
        }
        process.signal(Signal::TERM)?;
        process.wait(STOP).await?;
        Ok(())
    }
}
