//! Uses Docker by its command line: runs a program inside an image as if it ran on this machine, and asks about images
//! and containers. Called by `process` and by suite 4 of `check`.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tokio::process::Command;

use crate::chapters;

/// Runs `docker` with `arguments`, and returns what it prints.
pub async fn docker<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Result<String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run docker: is it installed?")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("docker: {}", said.trim().lines().last().unwrap_or("failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A chapter's image, the one that serves users where there are two, and the command that builds it. Chapter 1 has
/// none; its successor's will do.
pub fn image(chapter: u8) -> (String, String) {
    let name = chapters::name(chapter.max(2));
    if chapter < 5 {
        let command = format!("docker build -f {name}/Dockerfile -t {name} .");
        return (name, command);
    }
    let command =
        format!("docker build --target consumer -f {name}/Dockerfile -t {name}-consumer .");
    (format!("{name}-consumer"), command)
}

/// A container by its name, which is known before Docker has made it. Gone with the value, in whatever state it is.
#[derive(Debug)]
pub struct Container(String);

impl Container {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("lab-{}-{number}", std::process::id()))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// The arguments of `docker run` that hold for every program under test: this machine's network, so that addresses
    /// mean the same inside, and as little else as a program needs. The image and its arguments come behind them.
    pub fn run_arguments<'a>(
        &self,
        variables: impl IntoIterator<Item = &'a str>,
        folder: Option<&Path>,
    ) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["run", "--name", &self.0, "--network", "host", "--read-only", "--cap-drop", "ALL"]
                .map(OsString::from)
                .to_vec();
        // By name alone: docker takes the value from its own environment, and no process list shows it.
        for variable in variables {
            arguments.extend(["--env".into(), variable.into()]);
        }
        if let Some(folder) = folder {
            let mut volume = folder.as_os_str().to_owned();
            volume.push(":");
            volume.push(folder);
            volume.push(":ro");
            arguments.extend(["--volume".into(), volume]);
            arguments.extend(["--workdir".into(), folder.into()]);
        }
        arguments
    }

    /// SIGKILL for the program: sent to `docker run` it would end that alone.
    pub fn kill(&self) -> Result<()> {
        let status = self.blocking("kill", &[])?;
        if !status.success() {
            bail!("cannot kill the container {}: docker kill ended with {status}", self.0);
        }
        Ok(())
    }

    fn blocking(&self, verb: &str, options: &[&str]) -> Result<std::process::ExitStatus> {
        std::process::Command::new("docker")
            .arg(verb)
            .args(options)
            .arg(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot run docker")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.blocking("rm", &["--force", "--volumes"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_an_image_gets_names_of_variables_and_its_folder_and_no_rights() {
        let container = Container("lab-1-0".to_owned());
        let arguments =
            container.run_arguments(["HTTP_ADDR", "JWT_SECRET"], Some(Path::new("/tmp/a")));
        let line = arguments.join(OsStr::new(" "));
        let expected = "run --name lab-1-0 --network host --read-only --cap-drop ALL \
            --env HTTP_ADDR --env JWT_SECRET --volume /tmp/a:/tmp/a:ro --workdir /tmp/a";
        assert_eq!(line, expected);
    }

    #[test]
    fn from_chapter_5_on_an_image_is_a_target() {
        assert_eq!(image(4).1, "docker build -f ch-4/Dockerfile -t ch-4 .");
        let (name, command) = image(5);
        assert_eq!(name, "ch-5-consumer");
        assert!(command.contains("--target consumer -f ch-5/Dockerfile -t ch-5-consumer"));
    }

    #[test]
    fn every_container_has_a_name_of_its_own() {
        let (first, second) = (Container::new(), Container::new());
        assert_ne!(first.name(), second.name());
        // Nothing to remove, and perhaps no Docker.
        std::mem::forget((first, second));
    }
}
