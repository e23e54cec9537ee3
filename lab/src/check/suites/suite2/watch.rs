//! What `watch` prints, when it ends, and how.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::ChildStdout;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::server::end;
use crate::check::stream::Reply;
use crate::check::stream::block;
use crate::check::stream::change;
use crate::check::stream::events;
use crate::check::subject::Subject;
use crate::check::suites::suite2::watched;
use crate::check::wait::SOON;
use crate::check::wait::STOP;
use crate::process;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "watch --limit 5 prints five lines and ends",
        expected: "five lines on stdout, each with time, domain, user and title; exit status 0",
        hint: "one line an event, all logs on stderr; the limit ends the program although the stream goes on",
        smoke: true,
        run: |subject| Box::pin(limit(subject)),
        ..PROCESS
    },
    Check {
        name: "a line of watch tells bots from people",
        expected: "the lines of two events that differ in `bot` alone differ",
        hint: "the line shows time, domain, user, bot and title",
        run: |subject| Box::pin(bot(subject)),
        ..PROCESS
    },
    Check {
        name: "an event is shown before the next one comes",
        expected: "the line of an event while the stream is open and silent",
        hint: "stdout is buffered when it is no terminal: flush after each event, or whenever nothing more is there",
        run: |subject| Box::pin(at_once(subject)),
        ..PROCESS
    },
    Check {
        name: "a closed pipe ends watch quietly",
        expected: "exit status 0, no panic and no broken pipe on stderr, as in `watch | head -1`; stderr has the `--resume` to go on with",
        hint: "a write to a closed pipe fails with EPIPE: the reader wants no more, which is not an error",
        run: |subject| Box::pin(closed_pipe(subject)),
        not_in_image: Some("Docker reads the program's stdout to its end, whoever reads Docker's"),
        ..PROCESS
    },
    Check {
        name: "control characters of a title do not reach the terminal",
        expected: "one line an event, and no control character in it but a tab between columns",
        hint: "titles and users are written by strangers; an escape sequence in one would steer the reader's terminal",
        run: |subject| Box::pin(control_characters(subject)),
        ..PROCESS
    },
    Check {
        name: "watch with LOG_FORMAT=json writes JSON lines to stderr to its end",
        expected: "every line on stderr is a JSON object, also the last ones, and one has `--resume`; also with RUST_LOG=off",
        hint: "what a program prints at its end goes to the same stderr as its log, where a program reads it",
        run: |subject| Box::pin(json_lines(subject)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM ends watch",
        expected: "exit status 0 within 10 s while the stream is open and silent",
        hint: "reading from the stream must end on shutdown too, not only the loop around it",
        run: |subject| Box::pin(ends(subject, Signal::TERM)),
        ..PROCESS
    },
    Check {
        name: "SIGINT ends watch",
        expected: "exit status 0 within 10 s while the stream is open and silent",
        hint: "Ctrl-C is the usual way to end it, and no failure",
        run: |subject| Box::pin(ends(subject, Signal::INT)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM ends watch while nobody reads its stdout",
        expected: "exit status 0 within 10 s while stdout is a full pipe, as in `watch | less`",
        hint: "a write to a full pipe blocks its thread: write from a thread that the shutdown does not wait for",
        run: |subject| Box::pin(ends_with_full_pipe(subject)),
        not_in_image: Some("Docker itself stands still until its client's stdout is read"),
        ..PROCESS
    },
    Check {
        name: "SIGTERM ends watch while it waits before a reconnect",
        expected: "exit status 0 within 10 s although the stream said Retry-After: 600",
        hint: "the wait before a reconnect must end on shutdown too",
        run: |subject| Box::pin(ends_in_back_off(subject)),
        ..PROCESS
    },
];

async fn limit(subject: &Subject) -> Result<()> {
    watched::shows(subject, vec![Reply::hold(events(0..50))], &[0, 1, 2, 3, 4]).await?;
    Ok(())
}

async fn bot(subject: &Subject) -> Result<()> {
    let event = |bot: bool| {
        let mut event = change(7);
        event["bot"] = json!(bot);
        event["meta"]["id"] = json!(format!("bot-{bot}"));
        block(7, &event.to_string())
    };
    let body = format!("{}{}", event(true), event(false));
    let watched = watched::run(subject, vec![Reply::hold(body)], &["--limit", "2"]).await?;
    ensure!(watched.lines.len() == 2, "{} lines", watched.lines.len());
    ensure!(watched.lines[0] != watched.lines[1], "the same line twice: {:?}", watched.lines[0]);
    Ok(())
}

async fn at_once(subject: &Subject) -> Result<()> {
    let mut running = watched::start(subject, vec![Reply::hold(events(0..1))], &[]).await?;
    let line = running.process.stdout.line(SOON, |_| true).await;
    let said = process::tail(&running.process.stderr.lines());
    let line = line.with_context(|| format!("stderr:\n{said}\nwatch"))?;
    ensure!(watched::number(&line)? == 0, "the line {line:?}");
    running.process.signal(Signal::TERM)?;
    running.process.wait(STOP).await?;
    Ok(())
}

async fn closed_pipe(subject: &Subject) -> Result<()> {
    // More than a pipe holds, so that it must be written to after it was closed.
    let mut running = watched::start_unread(subject, vec![Reply::hold(events(0..3000))]).await?;
    let process = &mut running.process;
    let mut stdout = BufReader::new(process.take_stdout().context("no stdout")?);
    let mut line = String::new();
    tokio::time::timeout(SOON, stdout.read_line(&mut line))
        .await
        .ok()
        .context("no line within 30 s")??;
    drop(stdout);
    let finished = process.finish(SOON).await;
    let finished = finished.context("after the pipe was closed")?;
    finished.has_succeeded()?;
    let said = finished.stderr.join("\n");
    for word in ["panic", "roken pipe", "Traceback", "EPIPE"] {
        ensure!(!said.contains(word), "stderr:\n{said}");
    }
    ensure!(said.contains("--resume"), "no `--resume` on stderr:\n{said}");
    Ok(())
}

async fn control_characters(subject: &Subject) -> Result<()> {
    let hostile =
        "\u{1b}[31mred\u{1b}]0;title\u{7}\nnext line\rover\u{8}\u{9b}2J\u{85}\u{7f} Page 3";
    let mut event = change(3);
    event["title"] = json!(hostile);
    event["user"] = json!(format!("User 3{hostile}"));
    event["server_name"] = json!(format!("en.wikipedia.org{hostile}"));
    let body = format!("{}{}", block(3, &event.to_string()), events(4..5));
    let watched = watched::run(subject, vec![Reply::hold(body)], &["--limit", "2"]).await?;
    ensure!(watched.lines.len() == 2, "{} lines: {:?}", watched.lines.len(), watched.lines);
    let control = |c: char| c.is_control() && c != '\t';
    for line in &watched.lines {
        ensure!(!line.contains(control), "the line {line:?}");
    }
    Ok(())
}

async fn json_lines(subject: &Subject) -> Result<()> {
    let replies = || vec![Reply::hold(events(0..9))];
    for filter in ["info", "off"] {
        let change = |program: Program| program.env("LOG_FORMAT", "json").env("RUST_LOG", filter);
        let running = watched::start_with(subject, replies(), &["--limit", "1"], change).await?;
        let stderr = running.finish().await?.stderr;
        for line in &stderr {
            let is_object = serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
            ensure!(is_object, "RUST_LOG={filter}, the line {line}");
        }
        let resume = stderr.iter().any(|line| line.contains("--resume"));
        ensure!(resume, "RUST_LOG={filter}, no `--resume` on stderr: {stderr:?}");
    }
    Ok(())
}

async fn ends(subject: &Subject, signal: Signal) -> Result<()> {
    let mut running = watched::start(subject, vec![Reply::hold(events(0..3))], &[]).await?;
    running.process.stdout.wait_for_count(3, SOON).await?;
    ends_on(&mut running, signal).await
}

async fn ends_with_full_pipe(subject: &Subject) -> Result<()> {
    // Several times what a pipe holds.
    let mut running = watched::start_unread(subject, vec![Reply::hold(events(0..10_000))]).await?;
    let stdout = running.process.take_stdout().context("no stdout")?;
    wait_until_full(&stdout, &running.process).await?;
    ends_on(&mut running, Signal::TERM).await?;
    drop(stdout);
    Ok(())
}

/// Until what waits in the pipe has not grown for half a second. How much a pipe holds differs between systems.
async fn wait_until_full(stdout: &ChildStdout, process: &Process) -> Result<()> {
    const STILL: Duration = Duration::from_millis(500);
    let start = Instant::now();
    let (mut waiting, mut since) = (0, start);
    while waiting == 0 || since.elapsed() < STILL {
        let now = rustix::io::ioctl_fionread(stdout).context("cannot ask how full stdout is")?;
        if now != waiting {
            (waiting, since) = (now, Instant::now());
        }
        ensure!(
            start.elapsed() < SOON,
            "{waiting} bytes on stdout after {} s; stderr:\n{}",
            SOON.as_secs(),
            process::tail(&process.stderr.lines())
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn ends_in_back_off(subject: &Subject) -> Result<()> {
    let refusal = Reply::refusal("429 Too Many Requests", "retry-after: 600\r\n");
    let mut running = watched::start(subject, vec![refusal], &[]).await?;
    running.stream.wait_for_requests(1, SOON).await?;
    // That it has read the answer shows only in its log; a program that logs nothing of it gets its second.
    let _ = running.process.stderr.line(Duration::from_secs(1), |line| line.contains("429")).await;
    ends_on(&mut running, Signal::TERM).await
}

async fn ends_on(running: &mut watched::Running, signal: Signal) -> Result<()> {
    end(&mut running.process, signal).await.map(drop)
}
