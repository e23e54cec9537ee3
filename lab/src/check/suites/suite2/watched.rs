//! What the checks of `watch` share: a run of it on a scripted stream, and what its lines must show.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tempfile::TempDir;

use crate::check::stream::Reply;
use crate::check::stream::Request;
use crate::check::stream::Stream;
use crate::check::stream::time;
use crate::check::subject::Subject;
use crate::process;
use crate::process::Process;
use crate::process::Program;
use crate::scratch;

/// A reconnect may wait for its back-off, and a stall for the idle timeout.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a run of `watch` left behind.
pub struct Watched {
    pub lines: Vec<String>,
    pub stderr: Vec<String>,
    pub requests: Vec<Request>,
}

/// A running `watch` on a scripted stream.
pub struct Running {
    pub process: Process,
    pub stream: Stream,
    _folder: TempDir,
}

/// Starts `watch` with `arguments` on a stream that gives `replies`.
pub async fn start(subject: &Subject, replies: Vec<Reply>, arguments: &[&str]) -> Result<Running> {
    start_with(subject, replies, arguments, |program| program).await
}

pub async fn start_with(
    subject: &Subject,
    replies: Vec<Reply>,
    arguments: &[&str],
    change: impl FnOnce(Program) -> Program,
) -> Result<Running> {
    let start = |program: Program| change(program.args(arguments)).start();
    start_as(subject, replies, start).await
}

/// Starts `watch` with a stdout that nobody reads.
pub async fn start_unread(subject: &Subject, replies: Vec<Reply>) -> Result<Running> {
    start_as(subject, replies, |program| program.start_with_open_stdout()).await
}

async fn start_as(
    subject: &Subject,
    replies: Vec<Reply>,
    start: impl FnOnce(Program) -> Result<Process>,
) -> Result<Running> {
    subject.works("watch").await?;
    let stream = Stream::start(replies).await?;
    let folder = scratch::folder()?;
    let program =
        subject.program()?.folder(folder.path()).env("WIKIPEDIA_STREAM_URL", stream.url());
    let process = start(program.args(["watch"]))?;
    Ok(Running { process, stream, _folder: folder })
}

/// Runs `watch --limit` as many as `expected`, and expects just these events of the stream, in order.
pub async fn shows(subject: &Subject, replies: Vec<Reply>, expected: &[u64]) -> Result<Watched> {
    let watched = run(subject, replies, &["--limit", &expected.len().to_string()]).await?;
    same_numbers(&watched, expected)?;
    Ok(watched)
}

/// Runs `watch` with `arguments`, which must make it end, and expects exit status 0.
pub async fn run(subject: &Subject, replies: Vec<Reply>, arguments: &[&str]) -> Result<Watched> {
    start(subject, replies, arguments).await?.finish().await
}

impl Running {
    pub async fn finish(mut self) -> Result<Watched> {
        let finished = self.process.finish(PATIENCE).await.with_context(|| {
            let said = process::tail(&self.process.stderr.lines());
            let connections = self.stream.requests().len();
            format!(
                "{} lines on stdout and {connections} connections to the stream; stderr:\n{said}\nwatch",
                self.process.stdout.count()
            )
        })?;
        finished.has_succeeded()?;
        Ok(Watched {
            lines: finished.stdout,
            stderr: finished.stderr,
            requests: self.stream.requests(),
        })
    }
}

/// The lines of `watched` are those of the events `expected`, in order.
pub fn same_numbers(watched: &Watched, expected: &[u64]) -> Result<()> {
    let came: Vec<u64> = watched.lines.iter().map(|line| number(line)).collect::<Result<_>>()?;
    ensure!(came == expected, "{}", difference(&came, expected));
    for (line, number) in watched.lines.iter().zip(expected) {
        for part in [time(*number), "en.wikipedia.org".to_owned(), format!("User {number}")] {
            ensure!(line.contains(&part), "a line without {part}: {line:?}");
        }
    }
    Ok(())
}

/// The number of the event that a line shows, from its title: `Page 12`.
pub fn number(line: &str) -> Result<u64> {
    let title = line.rsplit_once("Page ").map(|(_, rest)| rest);
    let digits = title.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("a line without its title: {line:?}"))
}

fn difference(came: &[u64], expected: &[u64]) -> String {
    let place = came.iter().zip(expected).position(|(came, expected)| came != expected);
    let place = place.unwrap_or_else(|| came.len().min(expected.len()));
    let end = "the end".to_owned();
    let at = |numbers: &[u64]| {
        numbers.get(place).map_or_else(|| end.clone(), |number| format!("event {number}"))
    };
    format!("{} lines; line {} shows {} and not {}", came.len(), place + 1, at(came), at(expected))
}
