//! How the image runs: on a read-only file system, without capabilities, healthy, halted for a while, and stopped.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::IMAGE;
use crate::check::subject::Subject;
use crate::check::wait::START;
use crate::client::Client;
use crate::docker::Container;
use crate::docker::docker;
use crate::ports::free_port;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the image's own command serves, on a read-only file system and without capabilities",
        expected: "an answer from /status, by the image's ENTRYPOINT and CMD alone",
        hint: "CMD is the role that serves; it may write to stdout, stderr and the network alone, and not to files",
        run: |subject| Box::pin(serves(subject)),
        ..IMAGE
    },
    Check {
        name: "HEALTHCHECK turns healthy",
        expected: "the state `healthy` within 60 s",
        hint: "HEALTHCHECK CMD [\"/app\", \"healthcheck\"], in exec form, because there is no shell",
        run: |subject| Box::pin(healthy(subject)),
        ..IMAGE
    },
    Check {
        name: "HEALTHCHECK turns unhealthy while the server does not answer",
        expected: "the state `unhealthy` within 120 s after the program was halted by SIGSTOP",
        hint: "the health check must ask the server, with a timeout, not only start",
        slow: true,
        run: |subject| Box::pin(unhealthy(subject)),
        ..IMAGE
    },
    Check {
        name: "docker stop ends the container",
        expected: "exit status 0 in less than 10 s, after which Docker would kill it",
        hint: "the program must be process 1 (ENTRYPOINT in exec form) and handle STOPSIGNAL",
        run: |subject| Box::pin(stops(subject)),
        ..IMAGE
    },
];

const HEALTHY: Duration = Duration::from_secs(60);
/// Three probes, each waiting for its timeout, and the pauses between.
const UNHEALTHY: Duration = Duration::from_secs(120);
/// What `docker stop` gives a container before it sends SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// The image with no arguments, once it answers.
async fn start(subject: &Subject) -> Result<Container> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let program = subject.program()?.env("HTTP_ADDR", address.as_str());
    let container = program.start_detached().await?;
    let client = Client::new(format!("http://{address}"));
    let start = Instant::now();
    while client.get("/status").await.is_err() {
        let running = inspect(&container, "{{.State.Running}}").await?;
        if running != "true" || start.elapsed() > START {
            let said = docker(["logs", container.name()]).await.unwrap_or_default();
            bail!("no answer from http://{address}/status; running: {running}; stdout: {said}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(container)
}

async fn inspect(container: &Container, format: &str) -> Result<String> {
    docker(["inspect", "--format", format, container.name()]).await
}

async fn serves(subject: &Subject) -> Result<()> {
    let container = start(subject).await?;
    let rights =
        inspect(&container, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}").await?;
    ensure!(rights == "true [ALL]", "Docker gave other rights: {rights}");
    Ok(())
}

async fn has_health(container: &Container, wanted: &str, deadline: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let state = inspect(
            container,
            "{{if .State.Health}}{{.State.Health.Status}}{{else}}no HEALTHCHECK{{end}}",
        )
        .await?;
        if state == wanted {
            return Ok(());
        }
        if start.elapsed() > deadline || state.starts_with("no") {
            let probe = inspect(container, "{{range .State.Health.Log}}{{.Output}} {{end}}").await;
            let said = probe.unwrap_or_default();
            bail!("{state} after {} s; the probes said: {said}", start.elapsed().as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn healthy(subject: &Subject) -> Result<()> {
    let container = start(subject).await?;
    has_health(&container, "healthy", HEALTHY).await
}

async fn unhealthy(subject: &Subject) -> Result<()> {
    let container = start(subject).await?;
    has_health(&container, "healthy", HEALTHY).await?;
    docker(["kill", "--signal", "STOP", container.name()]).await?;
    has_health(&container, "unhealthy", UNHEALTHY).await
}

async fn stops(subject: &Subject) -> Result<()> {
    let container = start(subject).await?;
    let begun = Instant::now();
    docker(["stop", container.name()]).await?;
    let took = begun.elapsed();
    let code = inspect(&container, "{{.State.ExitCode}}").await.context("after docker stop")?;
    ensure!(code == "0" && took < GRACE, "exit status {code} after {:.1} s", took.as_secs_f64());
    Ok(())
}
