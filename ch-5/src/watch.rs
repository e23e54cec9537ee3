//! The role `watch` writes the events of the stream to stdout, one in each line.

use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::pin::pin;

use anyhow::Context;
use anyhow::Result;
use futures_util::StreamExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::io::Stdout;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::event::Event;
use crate::printable::printable;
use crate::resume::Resume;
use crate::telemetry::Format;
use crate::wikimedia;
use crate::wikimedia::Counters;

/// The most events that are written together.
const SLICE: usize = 500;

/// Writes events until the limit is reached or the shutdown begins, and then says on stderr how to continue. It also
/// ends when nobody reads stdout any more.
pub async fn run(
    config: config::Watch,
    log_format: Format,
    shutdown: CancellationToken,
) -> Result<()> {
    let counters = Counters::default();
    let mut resume = config.resume.unwrap_or_default();
    let events = wikimedia::events(&config.stream, resume.clone(), counters.clone())?
        .take_until(shutdown.cancelled())
        .take(config.limit.unwrap_or(usize::MAX));
    let mut slices = pin!(events.ready_chunks(SLICE));
    // Tokio writes to stdout in a separate thread, so a slow reader cannot delay the shutdown.
    let mut stdout = tokio::io::stdout();
    while let Some(slice) = slices.next().await {
        let lines: String = slice.iter().map(|(event, _)| line(event)).collect();
        match shutdown.run_until_cancelled(write(&mut stdout, &lines)).await {
            Some(Err(error)) if error.kind() == ErrorKind::BrokenPipe => break,
            Some(written) => written.context("cannot write to stdout")?,
            None => break,
        }
        resume = slice.into_iter().last().map_or(resume, |(_, resume)| resume);
    }
    report(&counters, &resume, log_format);
    Ok(())
}

async fn write(stdout: &mut Stdout, lines: &str) -> io::Result<()> {
    stdout.write_all(lines.as_bytes()).await?;
    stdout.flush().await
}

/// Writes the last lines to stderr, whatever RUST_LOG says.
fn report(counters: &Counters, resume: &Resume, log_format: Format) {
    let mut lines = vec![counters.to_string()];
    if resume.last_event_id.is_some() {
        lines.push(format!("go on with: --resume '{resume}'"));
    }
    for line in lines {
        let line = match log_format {
            Format::Text => line,
            Format::Json => json!({ "message": line }).to_string(),
        };
        // Nothing can be done about a closed stderr.
        _ = writeln!(io::stderr(), "{line}");
    }
}

/// A line: time, domain, user, `bot` or `human`, title, separated by tabs. A field that the event does not have is `-`.
fn line(event: &Event) -> String {
    let kind = if event.bot { "bot" } else { "human" };
    let [time, domain, user, title] = [&event.time, &event.domain, &event.user, &event.title]
        .map(|text| printable(text.as_deref().unwrap_or("-")));
    format!("{time}\t{domain}\t{user}\t{kind}\t{title}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_five_columns_whatever_the_event_holds() {
        assert_eq!(line(&Event::default()), "-\t-\t-\thuman\t-\n");
        let event = Event {
            time: Some("2023-12-07T20:30:00Z".to_owned()),
            domain: Some("es.wikipedia.org".to_owned()),
            user: Some("J0cj0cj0c".to_owned()),
            bot: true,
            title: Some("two\nlines\tand \u{1b}[31mred\u{202e}".to_owned()),
            ..Event::default()
        };
        let expected = "2023-12-07T20:30:00Z\tes.wikipedia.org\tJ0cj0cj0c\tbot\t";
        let title = r"two\u000alines\u0009and \u001b[31mred\u202e";
        assert_eq!(line(&event), format!("{expected}{title}\n"));
    }
}
