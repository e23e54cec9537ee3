//! What a stream may contain besides good events. None of it may end the program, stop it, or change what it prints.

use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::stream::Reply;
use crate::check::stream::block;
use crate::check::stream::change;
use crate::check::stream::events;
use crate::check::subject::Subject;
use crate::check::suites::suite2::watched;

pub const CHECKS: &[Check] = &[
    Check {
        name: "canary events are not shown",
        expected: "events 0 to 4, and not the canary between them",
        hint: "an event with meta.domain `canary` is a sign of life from Wikimedia, no change to a wiki",
        run: |subject| Box::pin(canary(subject)),
        ..PROCESS
    },
    Check {
        name: "a byte order mark does no harm",
        expected: "events 0 to 4; the first of them stands right behind the mark",
        hint: "remove U+FEFF at the start of each connection, before the parser sees it; some parsers panic at it",
        run: |subject| Box::pin(byte_order_mark(subject)),
        ..PROCESS
    },
    Check {
        name: "lines that end in CR LF are lines",
        expected: "events 0 to 4",
        hint: "the event stream format allows LF, CR LF and CR",
        run: |subject| Box::pin(crlf(subject)),
        ..PROCESS
    },
    Check {
        name: "lines that end in CR alone are lines",
        expected: "events 0 to 4",
        hint: "the event stream format allows LF, CR LF and CR",
        run: |subject| Box::pin(cr(subject)),
        ..PROCESS
    },
    Check {
        name: "invalid UTF-8 is replaced, and the reading goes on",
        expected: "events 0 to 4; bytes that are no UTF-8 in the title of event 1 read as U+FFFD",
        hint: "decode with replacement; some parsers wait for ever for the rest of a character that never comes",
        run: |subject| Box::pin(invalid_utf8(subject)),
        ..PROCESS
    },
    Check {
        name: "a line of 4 MiB is passed over",
        expected: "events 0 and 2 to 4",
        hint: "limit the length of a line and of an event, for example to 1 MiB, and skip to the next blank line",
        run: |subject| Box::pin(long_line(subject)),
        ..PROCESS
    },
    Check {
        name: "an event of 4 MiB in many lines is passed over",
        expected: "events 0 and 2 to 4",
        hint: "an event may have many data lines: limit their total length too",
        run: |subject| Box::pin(long_event(subject)),
        ..PROCESS
    },
    Check {
        name: "data that is not a JSON object is passed over",
        expected: "events 0 and 21 to 24, and nothing of the 20 that are garbage, arrays, numbers, half an object and the like",
        hint: "count and log a bad event, and go on with the next one",
        run: |subject| Box::pin(garbage(subject)),
        ..PROCESS
    },
    Check {
        name: "an object with odd fields is an event like any other",
        expected: "a line for each event, although in each one field is missing, null or of another type",
        hint: "the schema requires almost no field, and a redacted event has no user: treat a field of a wrong type as missing",
        run: |subject| Box::pin(odd_fields(subject)),
        ..PROCESS
    },
    Check {
        name: "an `event: error` of the stream is no change",
        expected: "events 0 to 9; the error event is not shown, and the reading goes on after it",
        hint: "after its 200 the stream reports errors as an event of the type `error`, then it may close",
        run: |subject| Box::pin(error_event(subject)),
        ..PROCESS
    },
    Check {
        name: "comments, empty lines and unknown fields of the format are passed over",
        expected: "events 0 to 4",
        hint: "lines that begin with a colon are comments; retry: and unknown fields are no data",
        run: |subject| Box::pin(furniture(subject)),
        ..PROCESS
    },
    Check {
        name: "a stream that falls silent is left and resumed",
        expected: "events 0 to 9: after the idle timeout a second connection brings what the first one withheld",
        hint: "an idle timeout for each read (20 s or so) and never one for the whole connection",
        slow: true,
        run: |subject| Box::pin(stall(subject)),
        ..PROCESS
    },
];

const FIVE: [u64; 5] = [0, 1, 2, 3, 4];
const WITHOUT_1: [u64; 4] = [0, 2, 3, 4];

async fn holds(subject: &Subject, body: impl AsRef<[u8]>, expected: &[u64]) -> Result<()> {
    watched::shows(subject, vec![Reply::hold(body)], expected).await?;
    Ok(())
}

async fn canary(subject: &Subject) -> Result<()> {
    let canary = json!({
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": {"id": "canary-1", "dt": "2026-01-01T00:00:02Z", "domain": "canary", "stream": "mediawiki.recentchange"},
        "title": "Page 99",
        "user": "canary",
    });
    let bare = json!({"$schema": "/x", "meta": {"stream": "x", "dt": "2026-01-01T00:00:02Z", "domain": "canary"}});
    let body =
        [events(0..2), block(2, &canary.to_string()), block(2, &bare.to_string()), events(2..20)]
            .concat();
    holds(subject, body, &FIVE).await
}

async fn byte_order_mark(subject: &Subject) -> Result<()> {
    let replies = vec![
        Reply::bare(format!("\u{feff}{}", events(0..3))),
        Reply::bare(format!("\u{feff}:ok\n\n{}", events(2..20))),
    ];
    watched::shows(subject, replies, &FIVE).await?;
    Ok(())
}

async fn crlf(subject: &Subject) -> Result<()> {
    holds(subject, events(0..20).replace('\n', "\r\n"), &FIVE).await
}

async fn cr(subject: &Subject) -> Result<()> {
    holds(subject, events(0..20).replace('\n', "\r"), &FIVE).await
}

async fn invalid_utf8(subject: &Subject) -> Result<()> {
    let bad = change(1).to_string();
    let (before, after) = bad.split_once("Page 1").unwrap_or((&bad, ""));
    let body = [
        events(0..1).as_bytes(),
        b"id: 1\ndata: ",
        before.as_bytes(),
        b"\xff\xe2\x82 Page 1",
        after.as_bytes(),
        b"\n\n",
        events(2..20).as_bytes(),
    ]
    .concat();
    let watched = watched::shows(subject, vec![Reply::hold(body)], &FIVE).await?;
    let line = &watched.lines[1];
    ensure!(line.contains('\u{fffd}'), "no U+FFFD in {line:?}");
    Ok(())
}

fn long_change() -> Value {
    let mut event = change(1);
    event["comment"] = json!("x".repeat(4 * 1024 * 1024));
    event
}

async fn long_line(subject: &Subject) -> Result<()> {
    let body = [events(0..1), block(1, &long_change().to_string()), events(2..20)].concat();
    holds(subject, body, &WITHOUT_1).await
}

async fn long_event(subject: &Subject) -> Result<()> {
    // Line ends stand where JSON allows blanks, so that the joined lines are an object as long as the sum.
    let lines = format!("data: {}\n", " ".repeat(1000)).repeat(4 * 1024);
    let event = change(1).to_string();
    let body = [events(0..1), format!("id: 1\n{lines}data: {event}\n\n"), events(2..20)].concat();
    holds(subject, body, &WITHOUT_1).await
}

async fn garbage(subject: &Subject) -> Result<()> {
    let data = [
        "null",
        "true",
        "42",
        "-0.5e3",
        "\"text\"",
        "[]",
        "[{}]",
        "{",
        "}",
        "{\"title\":",
        "{\"title\" \"Page 7\"}",
        "{'title': 'Page 7'}",
        "{\"title\": \"Page 7\"",
        "{} {}",
        "{}x",
        "<html>",
        "NaN",
        "\u{0}",
        "\\",
        " ",
    ];
    let between: String = (1..).zip(data).map(|(number, data)| block(number, data)).collect();
    let body = [events(0..1), between, events(21..40)].concat();
    holds(subject, body, &[0, 21, 22, 23, 24]).await
}

async fn odd_fields(subject: &Subject) -> Result<()> {
    let others = [
        json!(null),
        json!(1),
        json!(-0.5),
        json!("text"),
        json!([1]),
        json!({"a": 1}),
        json!(true),
    ];
    let fields = [
        "/user",
        "/bot",
        "/server_name",
        "/meta/dt",
        "/meta/id",
        "/meta/domain",
        "/meta",
        "/id",
        "/type",
    ];
    let mut odd = Vec::new();
    for field in fields {
        for other in &others {
            let mut event = change(odd.len() as u64);
            if let Some(value) = event.pointer_mut(field) {
                *value = other.clone();
            }
            odd.push(event);
        }
        let mut event = change(odd.len() as u64);
        let (parent, name) = field.rsplit_once('/').unwrap_or_default();
        if let Some(parent) = event.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(name);
        }
        odd.push(event);
    }
    let body: String =
        (0..).zip(&odd).map(|(number, event)| block(number, &event.to_string())).collect();
    let limit = odd.len().to_string();
    let watched = watched::run(subject, vec![Reply::hold(body)], &["--limit", &limit]).await?;
    let came: Vec<u64> =
        watched.lines.iter().map(|line| watched::number(line)).collect::<Result<_>>()?;
    let expected: Vec<u64> = (0..odd.len() as u64).collect();
    ensure!(came == expected, "the events {came:?}");
    Ok(())
}

async fn error_event(subject: &Subject) -> Result<()> {
    let error = "event: error\ndata: {\"origin_uri\":\"/v2/stream/recentchange\",\"name\":\"Error\",\"message\":\"x\"}\n\n";
    let replies = vec![
        Reply::cut([events(0..3).as_str(), error].concat()),
        Reply::hold([events(2..5).as_str(), error, &events(5..20)].concat()),
        // Leaving the connection at the error is as good as reading on.
        Reply::hold(events(4..20)),
    ];
    watched::shows(subject, replies, &(0..10).collect::<Vec<u64>>()).await?;
    Ok(())
}

async fn furniture(subject: &Subject) -> Result<()> {
    let furniture =
        ":comment\n\n\n\nretry: 50\n\n: another\nunknown: field\n\nretry\n\nevent: message\n\n";
    let parts = (0..20).map(|number| format!("{furniture}{}", events(number..number + 1)));
    holds(subject, parts.collect::<String>(), &FIVE).await
}

async fn stall(subject: &Subject) -> Result<()> {
    let replies = vec![Reply::hold(events(0..5)), Reply::hold(events(4..20))];
    watched::shows(subject, replies, &(0..10).collect::<Vec<u64>>()).await?;
    Ok(())
}
