//! Text that strangers wrote must not control a terminal or a shell, and secrets must not be shown.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::stream::Reply;
use crate::check::stream::Stream;
use crate::check::stream::block;
use crate::check::stream::change;
use crate::check::stream::events;
use crate::check::subject::Subject;
use crate::check::suites::suite2::watched;
use crate::ports::free_port;
use crate::process;
use crate::process::Program;
use crate::screen::is_harmful;

pub const CHECKS: &[Check] = &[
    Check {
        name: "text that strangers wrote cannot control the terminal",
        expected: "on stdout and stderr no control character, no U+2028, and no character that changes the direction of text",
        hint: "escape all that strangers wrote with one function, and all log lines in one place, so that no line is forgotten",
        run: |subject| Box::pin(steers_nothing(subject)),
        ..PROCESS
    },
    Check {
        name: "names in any script, and emoji, stay readable",
        expected: "the title as the stream has it, with its joiners (U+200C, U+200D)",
        hint: "escape only the characters that do harm, not everything that is not ASCII",
        run: |subject| Box::pin(readable(subject)),
        ..PROCESS
    },
    Check {
        name: "the printed --resume can be pasted into a shell, whatever ids the stream has",
        expected: "the value of --resume is one word in single quotes; with it the next run does not show the event again",
        hint: "a meta.id is text of a stranger and may hold a quote; JSON can write it as \\u0027",
        run: |subject| Box::pin(pasted(subject)),
        ..PROCESS
    },
    Check {
        name: "a password or a key in WIKIPEDIA_STREAM_URL is not shown",
        expected: "neither in the log of a connection and of a refusal, nor where the URL is no good",
        hint: "make a type for the URL that shows neither user nor query, and take the URL out of the errors of the HTTP client",
        run: |subject| Box::pin(private_url(subject)),
        ..PROCESS
    },
    Check {
        name: "a stream on this machine is not asked through a proxy",
        expected: "events 0 to 4, although http_proxy names a proxy that is away, and also if a server behind a proxy redirects to them",
        hint: "a proxy on another machine would look for 127.0.0.1 there",
        run: |subject| Box::pin(no_proxy(subject)),
        not_in_image: Some("what is this machine to a container depends on its network"),
        ..PROCESS
    },
];

const HOSTILE: &str = "\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{2028}\u{200f}\u{3164}";

fn harmless(lines: &[String]) -> Result<()> {
    for line in lines {
        let harmful = |c| is_harmful(c) && c != '\t';
        ensure!(!line.contains(harmful), "the line {line:?}");
    }
    Ok(())
}

async fn steers_nothing(subject: &Subject) -> Result<()> {
    let mut event = change(3);
    event["title"] = json!(format!("{HOSTILE} Page 3"));
    event["user"] = json!(format!("User 3{HOSTILE}"));
    let error = format!("event: error\ndata: {HOSTILE}\n\n");
    let body = [&error, &block(2, HOSTILE), &block(3, &event.to_string()), &events(4..9)];
    let page = Reply::page("502 Bad Gateway", "", HOSTILE);
    let replies = vec![page, Reply::hold(body.map(String::as_str).concat())];
    let watched = watched::run(subject, replies, &["--limit", "2"]).await?;
    ensure!(watched.lines.len() == 2, "{} lines: {:?}", watched.lines.len(), watched.lines);
    harmless(&watched.lines).context("stdout")?;
    harmless(&watched.stderr).context("stderr")
}

async fn readable(subject: &Subject) -> Result<()> {
    let title = "東京 Köln می\u{200c}خواهم 👩\u{200d}🚀 Page 0";
    let mut event = change(0);
    event["title"] = json!(title);
    let body = block(0, &event.to_string());
    let watched = watched::run(subject, vec![Reply::hold(body)], &["--limit", "1"]).await?;
    let line = watched.lines.concat();
    ensure!(line.contains(title), "the line {line:?}");
    Ok(())
}

async fn pasted(subject: &Subject) -> Result<()> {
    let mut event = change(0);
    event["meta"]["id"] = json!(format!("'; touch pasted; echo '{HOSTILE}\n"));
    let body = block(0, &event.to_string()) + &events(1..9);
    let first = watched::run(subject, vec![Reply::hold(&body)], &["--limit", "1"]).await?;
    let line = first.stderr.iter().rev().find_map(|line| line.split_once("--resume"));
    let said = || format!("no `--resume` on stderr:\n{}", process::tail(&first.stderr));
    let (_, value) = line.with_context(said)?;
    let parts: Vec<&str> = value.trim_start_matches(['=', ' ']).split('\'').collect();
    let ["", value, ""] = parts[..] else {
        anyhow::bail!("not one word in single quotes: {value:?}")
    };
    ensure!(!value.contains(is_harmful), "{value:?}");
    let arguments = ["--limit", "1", "--resume", value];
    let second = watched::run(subject, vec![Reply::hold(&body)], &arguments).await?;
    watched::same_numbers(&second, &[1]).context("with --resume")
}

async fn private_url(subject: &Subject) -> Result<()> {
    let replies = vec![
        Reply::refusal("429 Too Many Requests", ""),
        Reply::cut(events(0..1)),
        Reply::hold(events(0..9)),
    ];
    let stream = Stream::start(replies).await?;
    let url = stream.url().replace("http://", "http://me:hunter2@") + "?key=hunter2#hunter2";
    let limited = ["watch", "--limit", "2"];
    let change = |program: Program| program.env("WIKIPEDIA_STREAM_URL", &url);
    let finished = subject.output_with(&limited, "", change).await?;
    finished.has_succeeded()?;
    let asked = stream.requests();
    let key = asked.first().is_some_and(|request| request.head.contains("key=hunter2"));
    ensure!(key, "the request without the key: {asked:?}");
    let away = format!("http://me:hunter2@127.0.0.1:{}/?key=hunter2", free_port()?);
    let mut said = finished.stderr;
    for bad in [url.replace("http:", "ftp:"), url.replace("http://", "")] {
        let change = |program: Program| program.env("WIKIPEDIA_STREAM_URL", bad);
        said.extend(subject.refuses("watch", &["WIKIPEDIA_STREAM_URL"], change).await?);
    }
    let change = |program: Program| program.env("WIKIPEDIA_STREAM_URL", away);
    let running = watched::start_with(subject, Vec::new(), &[], change).await?;
    running.process.says("WARN", crate::check::wait::SOON).await?;
    said.extend(running.process.stderr.lines());
    let shown = said.iter().find(|line| line.contains("hunter2"));
    ensure!(shown.is_none(), "the line {shown:?}");
    drop(running);
    Ok(())
}

async fn no_proxy(subject: &Subject) -> Result<()> {
    let proxy = format!("http://127.0.0.1:{}", free_port()?);
    let change = |program: Program| program.env("http_proxy", &proxy).env("HTTP_PROXY", &proxy);
    let limited = ["--limit", "5"];
    let running = watched::start_with(subject, vec![Reply::hold(events(0..9))], &limited, change);
    watched::same_numbers(&running.await?.finish().await?, &[0, 1, 2, 3, 4])?;
    let stream = Stream::start(vec![Reply::hold(events(0..9))]).await?;
    let location = format!("location: {}\r\n", stream.url());
    let proxy = Stream::start(vec![Reply::refusal("302 Found", &location)]).await?;
    let change = |program: Program| {
        let program = program.env("http_proxy", proxy.url()).env("HTTP_PROXY", proxy.url());
        program.env("WIKIPEDIA_STREAM_URL", "http://stream.invalid/")
    };
    let running = watched::start_with(subject, Vec::new(), &limited, change);
    let watched = running.await?.finish().await.context("a server behind a proxy redirects")?;
    watched::same_numbers(&watched, &[0, 1, 2, 3, 4])
}
