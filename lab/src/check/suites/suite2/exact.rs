//! Each event is printed once, although connections are cut and the program is started again.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::stream::Reply;
use crate::check::stream::block;
use crate::check::stream::change;
use crate::check::stream::events;
use crate::check::stream::goes_on_after;
use crate::check::stream::id;
use crate::check::subject::Subject;
use crate::check::suites::suite2::watched;
use crate::check::wait::PATIENCE;
use crate::process;
use crate::replay;
use crate::scratch;

/// Of the run with cuts.
const EVENTS: u64 = 2000;

pub const CHECKS: &[Check] = &[
    Check {
        name: "a cut connection is resumed, and no event is lost or doubled",
        expected: "events 0 to 19 once each, and the second request with the id of event 9 as its Last-Event-ID, less a millisecond",
        hint: "Wikimedia adds a millisecond to the time of an event in its id: take it away again before you send the id back, or other events of that millisecond are lost; the last event then comes again: drop it by its meta.id",
        run: |subject| Box::pin(resumes(subject)),
        ..PROCESS
    },
    Check {
        name: "an event that is cut in the middle is read after the reconnect",
        expected: "events 0 to 9 once each",
        hint: "an event is complete when its blank line has come; remember its id only then",
        run: |subject| Box::pin(cut_in_the_middle(subject)),
        ..PROCESS
    },
    Check {
        name: "2,000 events with a cut every 150 are the same as without",
        expected: "the 2,000 lines of an uncut run, in order, although each reconnect goes back by 20 events",
        hint: "where lines are missing: the id is a millisecond ahead of its event, take that away again before you send it back; where lines are doubled: remember the meta.ids of the last events, some hundreds at least",
        run: |subject| Box::pin(cuts(subject)),
        ..PROCESS
    },
    Check {
        name: "--resume goes on where the run before stopped",
        expected: "events 0 to 9; then, started again with the printed value, events 10 to 19: none missing, none twice",
        hint: "at its end, watch writes a line with `--resume` and the value to stderr; the request has the id of the last event less a millisecond",
        run: |subject| Box::pin(restart(subject, id)),
        ..PROCESS
    },
    Check {
        name: "--resume is exact where several events share a millisecond",
        expected: "events 0 to 9, then 10 to 19, although events 8 to 11 have the same id in the stream",
        hint: "the stream goes on with all events of a millisecond, also with those that were read: what --resume takes must hold the meta.ids read at that time; the request has the id less a millisecond",
        run: |subject| {
            Box::pin(restart(subject, |number| {
                id(if (8..12).contains(&number) { 8 } else { number })
            }))
        },
        ..PROCESS
    },
];

async fn resumes(subject: &Subject) -> Result<()> {
    let replies = vec![Reply::cut(events(0..10)), Reply::hold(events(9..30))];
    let expected: Vec<u64> = (0..20).collect();
    let watched = watched::shows(subject, replies, &expected).await?;
    let second = watched.requests.get(1).context("there was only one connection")?;
    let sent = second.header("last-event-id").context("the second request has no Last-Event-ID")?;
    ensure!(goes_on_after(sent, &id(9)), "Last-Event-ID: {sent}");
    Ok(())
}

async fn cut_in_the_middle(subject: &Subject) -> Result<()> {
    let whole = block(5, &change(5).to_string());
    let half = &whole[..whole.len() / 2];
    // Complete but for its blank line: by the format's rule not an event yet.
    let open = block(7, &change(7).to_string());
    let open = open.trim_end();
    let replies = vec![
        Reply::cut(format!("{}{half}", events(0..5))),
        Reply::cut(format!("{}{open}\n", events(4..7))),
        Reply::hold(events(6..20)),
    ];
    let expected: Vec<u64> = (0..10).collect();
    watched::shows(subject, replies, &expected).await?;
    Ok(())
}

async fn cuts(subject: &Subject) -> Result<()> {
    let mut options = replay::Options { canaries: 0, ..replay::Options::of(EVENTS) };
    let uncut = watch_replay(subject, options.clone()).await?;
    options.faults.cut_every = Some(150);
    options.faults.back = 20;
    let cut = watch_replay(subject, options).await?;
    let place = uncut.iter().zip(&cut).position(|(uncut, cut)| uncut != cut);
    if let Some(place) = place {
        anyhow::bail!("line {} is {:?} and not {:?}", place + 1, cut[place], uncut[place]);
    }
    ensure!(cut.len() == uncut.len(), "{} lines and not {}", cut.len(), uncut.len());
    Ok(())
}

/// The lines of `watch` for all events of a replay.
async fn watch_replay(subject: &Subject, options: replay::Options) -> Result<Vec<String>> {
    subject.works("watch").await?;
    let replay = replay::start(options).await?;
    let folder = scratch::folder()?;
    let program =
        subject.program()?.folder(folder.path()).env("WIKIPEDIA_STREAM_URL", replay.stream_url());
    let mut process = program.args(["watch", "--limit", &EVENTS.to_string()]).start()?;
    let finished = process.finish(PATIENCE).await.with_context(|| {
        let (lines, progress) = (process.stdout.count(), replay.progress());
        format!("{lines} of {EVENTS} lines after {} connections", progress.connections_opened)
    })?;
    finished.has_succeeded()?;
    Ok(finished.stdout)
}

/// Runs `watch` for ten events, and again with what it printed; `stream_id` gives the events their ids.
async fn restart(subject: &Subject, stream_id: fn(u64) -> String) -> Result<()> {
    let event = |number: u64| format!("id: {}\ndata: {}\n\n", stream_id(number), change(number));
    let body: String = (0..20).map(event).collect();
    let first = watched::run(subject, vec![Reply::hold(body)], &["--limit", "10"]).await?;
    watched::same_numbers(&first, &(0..10).collect::<Vec<u64>>())?;
    let resume = resume_value(&first.stderr).with_context(|| {
        format!("no `--resume` at the end of stderr:\n{}", process::tail(&first.stderr))
    })?;
    // The stream's rule: on with the first event that is not older than the id.
    let from = (0..10).find(|number| stream_id(*number) == stream_id(9)).unwrap_or(9);
    let body: String = (from..30).map(event).collect();
    let second =
        watched::run(subject, vec![Reply::hold(body)], &["--limit", "10", "--resume", &resume])
            .await?;
    let sent = second
        .requests
        .first()
        .and_then(|request| request.header("last-event-id").map(str::to_owned));
    ensure!(
        sent.as_deref().is_some_and(|sent| goes_on_after(sent, &stream_id(9))),
        "Last-Event-ID {sent:?} after --resume {resume}"
    );
    watched::same_numbers(&second, &(10..20).collect::<Vec<u64>>()).context("with --resume")
}

/// What stands behind `--resume` in the last line of stderr that has it, without a shell's quotes.
fn resume_value(stderr: &[String]) -> Option<String> {
    let line = stderr.iter().rev().find(|line| line.contains("--resume"))?;
    let (_, value) = line.split_once("--resume")?;
    let value = value.trim_start_matches(['=', ' ']).trim_end();
    let quoted = value.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    Some(quoted.unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_value_is_found_quoted_or_not() {
        let value = |line: &str| resume_value(&["events 3".to_owned(), line.to_owned()]);
        assert_eq!(value("go on with: --resume '{\"a\": [1]}'").unwrap(), "{\"a\": [1]}");
        assert_eq!(value("next: watch --resume=[1, 2] ").unwrap(), "[1, 2]");
        assert_eq!(value("nothing"), None);
    }
}
