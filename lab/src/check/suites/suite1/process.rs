//! How the program starts, what it logs, and how it ends.

use std::net::TcpListener;
use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::subject::FIXED_PORT;
use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::check::wait::STOP;
use crate::check::wait::until;
use crate::client::KeepAlive;
use crate::client::Raw;
use crate::ports;
use crate::process;
use crate::process::Program;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "SIGTERM ends the program",
        expected: "exit status 0 within 10 s",
        hint: "a handler for SIGTERM, which is what Docker and Kubernetes send; and process 1 of a container ignores it where there is no handler",
        smoke: true,
        run: |subject| Box::pin(ends(subject, Signal::TERM)),
        ..PROCESS
    },
    Check {
        name: "SIGINT ends the program",
        expected: "exit status 0 within 10 s",
        hint: "a handler for SIGINT, which is what Ctrl-C sends",
        run: |subject| Box::pin(ends(subject, Signal::INT)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM ends the program while a client has sent half a request",
        expected: "exit status 0 within 10 s, although the client holds the connection open",
        hint: "graceful shutdown waits for open connections, and this one never ends: the waiting needs a deadline",
        run: |subject| Box::pin(ends_with_half_open(subject)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM ends the program while a client holds an idle connection",
        expected: "exit status 0 within 10 s, although the client holds the connection open",
        hint: "idle connections must be closed at shutdown, not waited for",
        run: |subject| Box::pin(ends_with_idle(subject)),
        ..PROCESS
    },
    Check {
        name: "a second SIGINT ends the program at once",
        expected: "an exit status other than 0 although a client holds half a request, which the first signal waits for",
        hint: "whoever presses Ctrl-C again does not want to wait: go on listening for the signal after the first one",
        run: |subject| Box::pin(ends_on_second(subject)),
        ..PROCESS
    },
    Check {
        name: "logs go to stderr, and nothing to stdout",
        expected: "at least one line on stderr, and none on stdout, from the start of the program to its end",
        hint: "let the logger write to stderr; stdout is for the output of a program",
        run: |subject| Box::pin(logs(subject)),
        ..PROCESS
    },
    Check {
        name: "LOG_FORMAT=json gives JSON lines",
        expected: "every line on stderr is a JSON object",
        hint: "choose the format of the log by LOG_FORMAT, and look for output that does not go through the logger",
        run: |subject| Box::pin(json_logs(subject)),
        ..PROCESS
    },
    Check {
        name: "RUST_LOG=error silences a quiet run",
        expected: "no line on stderr, from the start of the program to its end",
        hint: "read the filter of the log from RUST_LOG; start and stop are logged at the level info",
        run: |subject| Box::pin(quiet_logs(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad LOG_FORMAT is refused by name",
        expected: "a non-zero exit status and a short message on stderr that names LOG_FORMAT",
        hint: "a value that is neither text nor json must end the program; do not silently take another one",
        run: |subject| Box::pin(bad_variable(subject, "LOG_FORMAT", "yaml")),
        ..PROCESS
    },
    Check {
        name: "a bad RUST_LOG is refused by name",
        expected: "a non-zero exit status and a short message on stderr that names RUST_LOG",
        hint: "parse the filter strictly: with a spelling mistake in it, the log that somebody wanted would be missing",
        run: |subject| Box::pin(bad_filters(subject)),
        ..PROCESS
    },
    Check {
        name: "an empty RUST_LOG counts as not set",
        expected: "lines on stderr from the start of the program to its end, as without the variable",
        hint: "treat an empty variable as one that is not set, because compose files and shells set such variables",
        run: |subject| Box::pin(empty_filter(subject)),
        ..PROCESS
    },
    Check {
        name: "the error that ends the program is told once, whatever RUST_LOG and LOG_FORMAT say",
        expected: "with RUST_LOG=off and a taken port one line on stderr that names it; a JSON object with LOG_FORMAT=json",
        hint: "write the reason of the end yourself, not through the log, whose filter may hide it",
        run: |subject| Box::pin(told_whatever_the_filter(subject)),
        ..PROCESS
    },
    Check {
        name: "a taken port is named",
        expected: "a non-zero exit status and the port's number on stderr, without a panic",
        hint: "the error of bind says only `address in use`; add the address to it",
        run: |subject| Box::pin(port_taken(subject)),
        ..PROCESS
    },
    Check {
        name: "an unknown argument is refused",
        expected: "a non-zero exit status and the argument on stderr",
        hint: "a program that ignores unknown arguments hides spelling mistakes",
        run: |subject| Box::pin(unknown_argument(subject)),
        ..PROCESS
    },
];

async fn ends(subject: &Subject, signal: Signal) -> Result<()> {
    let mut server = subject.serve().await?;
    server.ends_on(signal).await?;
    Ok(())
}

async fn ends_with_half_open(subject: &Subject) -> Result<()> {
    let mut server = subject.serve().await?;
    let authority = server.client.authority().to_owned();
    let held = Raw::open(&authority, "GET /status HTTP/1.1\r\nhost: half").await?;
    // Connections are accepted in order, so this answer shows that the one before is in the server's hands.
    server.lives().await?;
    server.ends_on(Signal::TERM).await?;
    drop(held);
    Ok(())
}

async fn ends_with_idle(subject: &Subject) -> Result<()> {
    let mut server = subject.serve().await?;
    let authority = server.client.authority().to_owned();
    let mut held = KeepAlive::connect(&authority).await?;
    held.get(&authority, "/status", SOON).await?;
    server.ends_on(Signal::TERM).await?;
    drop(held);
    Ok(())
}

async fn ends_on_second(subject: &Subject) -> Result<()> {
    let mut server = subject.serve().await?;
    let authority = server.client.authority().to_owned();
    let held = Raw::open(&authority, "GET /status HTTP/1.1\r\nhost: half").await?;
    server.lives().await?;
    let process = server.process()?;
    process.signal(Signal::INT)?;
    until(SOON, async || {
        let listens = Raw::connect(&authority).await.is_ok();
        Ok(if listens { Continue("still listening".to_owned()) } else { Break(()) })
    })
    .await?;
    // A program that waits for nobody has ended by now.
    if process.ended().is_none() {
        process.signal(Signal::INT)?;
        let status = process.wait(STOP).await?;
        ensure!(!status.success(), "exit status 0, as if it had waited");
    }
    drop(held);
    Ok(())
}

async fn logs(subject: &Subject) -> Result<()> {
    let mut server = subject.serve().await?;
    server.lives().await?;
    server.client.get("/no/such/path").await?;
    let (stdout, stderr) = server.said().await?;
    ensure!(stdout.is_empty(), "on stdout:\n{}", stdout.join("\n"));
    ensure!(!stderr.is_empty(), "stderr is empty");
    Ok(())
}

async fn json_logs(subject: &Subject) -> Result<()> {
    let mut server = subject.serve_with(|program| program.env("LOG_FORMAT", "json")).await?;
    server.client.get("/no/such/path").await?;
    let (_, stderr) = server.said().await?;
    ensure!(!stderr.is_empty(), "stderr is empty");
    for line in stderr {
        ensure!(
            serde_json::from_str::<Value>(&line).is_ok_and(|value| value.is_object()),
            "the line {line}"
        );
    }
    Ok(())
}

async fn quiet_logs(subject: &Subject) -> Result<()> {
    let mut server = subject.serve_with(|program| program.env("RUST_LOG", "error")).await?;
    let (_, stderr) = server.said().await?;
    ensure!(stderr.is_empty(), "on stderr:\n{}", process::tail(&stderr));
    Ok(())
}

async fn bad_filters(subject: &Subject) -> Result<()> {
    for value in ["info,http=loud", "inf", "debug;info"] {
        bad_variable(subject, "RUST_LOG", value).await.with_context(|| value.to_owned())?;
    }
    Ok(())
}

async fn bad_variable(subject: &Subject, name: &str, value: &str) -> Result<()> {
    let lines =
        subject.refuses(subject.server_role(), &[name], |program| program.env(name, value)).await?;
    // Chapter 2 makes it one line; here the message of an argument parser will do, but not a page of help.
    ensure!(lines.len() <= 3, "{} lines on stderr:\n{}", lines.len(), lines.join("\n"));
    Ok(())
}

async fn empty_filter(subject: &Subject) -> Result<()> {
    let mut server = subject.serve_with(|program| program.env("RUST_LOG", "")).await?;
    let (_, stderr) = server.said().await?;
    ensure!(!stderr.is_empty(), "stderr is empty");
    Ok(())
}

async fn told_whatever_the_filter(subject: &Subject) -> Result<()> {
    for format in ["text", "json"] {
        let quiet = |program: Program| program.env("RUST_LOG", "off").env("LOG_FORMAT", format);
        let lines = refuses_a_taken_port(subject, quiet).await?;
        ensure!(lines.len() == 1, "{} lines on stderr:\n{}", lines.len(), lines.join("\n"));
        let is_json = serde_json::from_str::<Value>(&lines[0]).is_ok_and(|value| value.is_object());
        ensure!(is_json == (format == "json"), "LOG_FORMAT={format}: {}", lines[0]);
    }
    Ok(())
}

async fn port_taken(subject: &Subject) -> Result<()> {
    refuses_a_taken_port(subject, |program| program).await?;
    Ok(())
}

/// The lines on stderr, which name the port.
async fn refuses_a_taken_port(
    subject: &Subject,
    change: impl FnOnce(Program) -> Program,
) -> Result<Vec<String>> {
    let held = TcpListener::bind(("127.0.0.1", 0))?;
    let mut ports = vec![held.local_addr()?.port()];
    // A program of chapter 1 takes the fixed port instead, whoever else may hold it.
    let mut fixed = None;
    if subject.has_fixed_port() {
        fixed = ports::hold(FIXED_PORT).await;
        ports.push(FIXED_PORT);
    }
    let address = format!("127.0.0.1:{}", ports[0]);
    let lines = subject
        .refuses(subject.server_role(), &[], |program| change(program.env("HTTP_ADDR", address)))
        .await?;
    drop((held, fixed));
    let said = lines.join("\n");
    ensure!(
        ports.iter().any(|port| said.contains(&port.to_string())),
        "stderr without the port:\n{said}"
    );
    Ok(lines)
}

async fn unknown_argument(subject: &Subject) -> Result<()> {
    let argument = |program: Program| program.args(["--no-such-argument"]);
    subject.refuses(subject.server_role(), &["no-such-argument"], argument).await?;
    Ok(())
}
