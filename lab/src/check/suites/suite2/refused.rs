//! The User-Agent that `watch` sends, and what it does when the stream refuses it.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::stream::Reply;
use crate::check::stream::events;
use crate::check::stream::goes_on_after;
use crate::check::stream::id;
use crate::check::subject::Subject;
use crate::check::suites::suite2::watched;
use crate::check::wait::SOON;
use crate::process::Program;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the program sends a User-Agent that says who it is",
        expected: "with no variable set, a User-Agent with name, version and a contact (a URL or a mail address)",
        hint: "Wikimedia answers 403 to the default of most HTTP libraries, and to none at all",
        run: |subject| Box::pin(introduces_itself(subject)),
        ..PROCESS
    },
    Check {
        name: "USER_AGENT is sent as it is",
        expected: "the value of USER_AGENT as the request's User-Agent",
        hint: "the HTTP client's default must be overwritten, not extended",
        run: |subject| Box::pin(user_agent(subject)),
        ..PROCESS
    },
    Check {
        name: "a 403 names USER_AGENT",
        expected: "a line on stderr with 403 and USER_AGENT",
        hint: "403 is Wikimedia's answer to a client that does not say who it is; the message should say what to set",
        run: |subject| Box::pin(forbidden(subject)),
        ..PROCESS
    },
    Check {
        name: "Retry-After of a 429 is kept, and the reading goes on",
        expected: "the second request no earlier than 2 s after the first, then events 0 to 4",
        hint: "wait as long as Retry-After says, instead of your own back-off",
        run: |subject| Box::pin(retry_after(subject, "429 Too Many Requests")),
        ..PROCESS
    },
    Check {
        name: "Retry-After of a 503 is kept, and the reading goes on",
        expected: "the second request no earlier than 2 s after the first, then events 0 to 4",
        hint: "503 may carry Retry-After as well",
        run: |subject| Box::pin(retry_after(subject, "503 Service Unavailable")),
        ..PROCESS
    },
    Check {
        name: "retry: of the stream is kept",
        expected: "the second request no earlier than 2 s after the first, as `retry: 2000` asks",
        hint: "it is the shortest wait before a reconnect; limit it, so that it is neither 0 nor a year",
        run: |subject| Box::pin(retry(subject)),
        ..PROCESS
    },
    Check {
        name: "a place that the stream refuses is explained",
        expected: "a line on stderr with 400 and what the server said, and later tries that still send the place",
        hint: "show the body of the 400, which says why; if you silently begin elsewhere, events are lost",
        run: |subject| Box::pin(refused_place(subject)),
        ..PROCESS
    },
    Check {
        name: "an answer that is not a stream is logged with what it is",
        expected: "stderr names text/html and shows how the page begins, and later names gzip; then events 0 to 4",
        hint: "a login page of a hotel answers 200 too, and a compressed body has no events that can be read",
        run: |subject| Box::pin(no_stream(subject)),
        ..PROCESS
    },
    Check {
        name: "after errors of the server the reading goes on",
        expected: "events 0 to 4 after a 500, a 502, a 200 with HTML and an empty stream",
        hint: "try a failed connection again after a pause, and make the pause longer each time",
        run: |subject| Box::pin(errors(subject)),
        ..PROCESS
    },
];

/// What the refusals ask for.
const PAUSE: Duration = Duration::from_secs(2);

async fn introduces_itself(subject: &Subject) -> Result<()> {
    let watched = watched::run(subject, vec![Reply::hold(events(0..9))], &["--limit", "1"]).await?;
    let agent = watched.requests.first().and_then(|request| request.header("user-agent"));
    let agent = agent.context("no User-Agent")?;
    let (name, _) =
        agent.split_once('/').with_context(|| format!("no name/version in {agent:?}"))?;
    let contact = agent.contains("http://") || agent.contains("https://") || agent.contains('@');
    ensure!(!name.is_empty() && contact, "User-Agent: {agent}");
    Ok(())
}

async fn user_agent(subject: &Subject) -> Result<()> {
    let agent = "lab-check/1.0 (https://example.org/contact)";
    let change = |program: Program| program.env("USER_AGENT", agent);
    let replies = vec![Reply::hold(events(0..9))];
    let watched =
        watched::start_with(subject, replies, &["--limit", "1"], change).await?.finish().await?;
    let sent = watched.requests.first().and_then(|request| request.header("user-agent"));
    ensure!(sent == Some(agent), "User-Agent: {sent:?}");
    Ok(())
}

async fn forbidden(subject: &Subject) -> Result<()> {
    let refusals = vec![Reply::refusal("403 Forbidden", ""); 100];
    let mut running = watched::start(subject, refusals, &[]).await?;
    let line = running.process.says("USER_AGENT", SOON).await?;
    ensure!(line.contains("403"), "a line without the status: {line}");
    // To end or to try again later are both fine.
    if running.process.ended().is_none() {
        running.process.signal(Signal::TERM)?;
    }
    Ok(())
}

async fn retry_after(subject: &Subject, status: &str) -> Result<()> {
    let replies = vec![
        Reply::refusal(status, &format!("retry-after: {}\r\n", PAUSE.as_secs())),
        Reply::hold(events(0..9)),
    ];
    waits_before_the_second_request(subject, replies).await
}

async fn retry(subject: &Subject) -> Result<()> {
    let body = format!("retry: {}\n\n{}", PAUSE.as_millis(), events(0..3));
    waits_before_the_second_request(subject, vec![Reply::cut(body), Reply::hold(events(2..9))])
        .await
}

async fn waits_before_the_second_request(subject: &Subject, replies: Vec<Reply>) -> Result<()> {
    let watched = watched::shows(subject, replies, &[0, 1, 2, 3, 4]).await?;
    let [first, second, ..] = watched.requests.as_slice() else {
        anyhow::bail!("there was only one request")
    };
    let pause = second.at.duration_since(first.at);
    ensure!(
        pause >= PAUSE.mul_f64(0.95),
        "the second request {:.2} s after the first",
        pause.as_secs_f64()
    );
    Ok(())
}

async fn refused_place(subject: &Subject) -> Result<()> {
    let replies = vec![
        Reply::page("400 Bad Request", "content-type: application/json\r\n", "no such partition"),
        Reply::hold(events(4..9)),
    ];
    let arguments = ["--limit", "1", "--resume", &id(4)];
    let watched = watched::run(subject, replies, &arguments).await?;
    let said = watched.stderr.iter().find(|line| line.contains("no such partition"));
    let line = said.with_context(|| format!("stderr:\n{}", watched.stderr.join("\n")))?;
    ensure!(line.contains("400"), "a line without the status: {line}");
    let sent = watched.requests.iter().map(|request| request.header("last-event-id"));
    let sent: Vec<&str> = sent.map(Option::unwrap_or_default).collect();
    // What --resume takes is the program's own affair: it may be an id from which the millisecond was taken away before.
    let all = sent.iter().all(|sent| *sent == id(4) || goes_on_after(sent, &id(4)));
    ensure!(all && sent.len() == 2, "Last-Event-IDs: {sent:?}");
    Ok(())
}

async fn no_stream(subject: &Subject) -> Result<()> {
    let stream = "content-type: text/event-stream\r\n";
    let page = "<h1>Please log in</h1>";
    let replies = vec![
        Reply::page("200 OK", "content-type: text/html\r\n", page),
        Reply::page("200 OK", &format!("{stream}content-encoding: gzip\r\n"), "\u{1f}"),
        Reply::hold(events(0..9)),
    ];
    let watched = watched::shows(subject, replies, &[0, 1, 2, 3, 4]).await?;
    let said = watched.stderr.join("\n");
    for part in ["text/html", page, "gzip"] {
        ensure!(said.contains(part), "nothing about {part} on stderr:\n{said}");
    }
    Ok(())
}

async fn errors(subject: &Subject) -> Result<()> {
    let replies = vec![
        Reply::refusal("500 Internal Server Error", ""),
        Reply::refusal("502 Bad Gateway", "content-type: text/html\r\n"),
        Reply::refusal("200 OK", "content-type: text/html\r\n"),
        Reply::cut(""),
        Reply::cut(events(0..3)),
        Reply::hold(events(2..9)),
    ];
    watched::shows(subject, replies, &[0, 1, 2, 3, 4]).await?;
    Ok(())
}
