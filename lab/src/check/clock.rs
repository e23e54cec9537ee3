//! Sets the clock of one program back by ten minutes. The C compiler of this machine makes a small library for it,
//! which the program loads before libc. The clock by which a program measures how long something takes stays right.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tempfile::TempDir;
use tokio::process::Command;

use crate::check::runner::Skip;
use crate::check::session;
use crate::check::token;
use crate::client::Client;
use crate::process::Program;
use crate::scratch;

const BEHIND: Duration = Duration::from_secs(600);

pub struct Clock(TempDir);

impl Clock {
    /// # Errors
    /// A `Skip` where there is no C compiler.
    pub async fn behind() -> Result<Self> {
        let clock = Self(scratch::folder()?);
        let source = clock.0.path().join("clock.c");
        std::fs::write(
            &source,
            format!(
                "#define _GNU_SOURCE\n\
                 #include <sys/syscall.h>\n\
                 #include <time.h>\n\
                 #include <unistd.h>\n\
                 int clock_gettime(clockid_t clock, struct timespec *time) {{\n\
                     int result = syscall(SYS_clock_gettime, clock, time);\n\
                     if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec -= {};\n\
                     return result;\n\
                 }}\n",
                BEHIND.as_secs()
            ),
        )?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(clock.library()).arg(&source);
        let Ok(output) = compiler.output().await else {
            return Err(Skip("needs a C compiler, cc, to set a clock back".to_owned()).into());
        };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot compile the clock: {said}");
        Ok(clock)
    }

    fn library(&self) -> std::path::PathBuf {
        self.0.path().join("clock.so")
    }

    pub fn set(&self, program: Program) -> Program {
        program.env("LD_PRELOAD", self.library().to_string_lossy())
    }

    /// # Errors
    /// A `Skip` if the program that answers `client` has the right time: it does not ask libc for it.
    pub async fn is_kept(client: &Client) -> Result<()> {
        let (_, claims) = token::decode(&session::first_log_in(client).await?)?;
        let issued = claims["iat"].as_u64().context("no iat")?;
        if token::now().abs_diff(issued) < BEHIND.as_secs() / 2 {
            let reason = "the program does not ask libc for the time, so its clock can't be set";
            return Err(Skip(reason.to_owned()).into());
        }
        Ok(())
    }
}
