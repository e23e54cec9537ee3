//! The form of a message: what a program in any language, of this chapter or another, must be able to read.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::broker::Bytes;
use crate::broker::Record;
use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::stream::Reply;
use crate::check::stream::Stream;
use crate::check::stream::block;
use crate::check::stream::change;
use crate::check::subject::Subject;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[Check {
    name: "a message has the contract's fields, key and headers",
    expected: "a JSON object of id, time, domain, user, bot and title, null where the source has nothing; the user as \
               the key; headers id and content-type",
    hint: "six fields and no more; domain is server_name, or meta.domain without it; no user is null, and no bot is false",
    run: |subject| Box::pin(shape(subject)),
    ..PROCESS
}];

/// Event `number` with something changed, and the message that must come of it.
fn cases() -> Vec<(Value, Value)> {
    let mut cases = Vec::new();
    let mut case = |change_source: &dyn Fn(&mut Value), change_message: &dyn Fn(&mut Value)| {
        let number = cases.len() as u64;
        let mut source = change(number);
        let mut message = json!({
            "id": source["meta"]["id"],
            "time": source["meta"]["dt"],
            "domain": "en.wikipedia.org",
            "user": format!("User {number}"),
            "bot": number % 2 == 1,
            "title": format!("Page {number}"),
        });
        change_source(&mut source);
        change_message(&mut message);
        cases.push((source, message));
    };
    let remove = |name: &'static str| {
        move |source: &mut Value| {
            source.as_object_mut().map(|fields| fields.remove(name));
        }
    };
    let set =
        |name: &'static str, value: Value| move |event: &mut Value| event[name] = value.clone();
    let nothing = |_: &mut Value| {};
    case(&nothing, &nothing);
    case(&nothing, &nothing);
    case(&remove("user"), &set("user", json!(null)));
    case(&set("user", json!("")), &set("user", json!(null)));
    case(&remove("bot"), &set("bot", json!(false)));
    case(&set("bot", json!("yes")), &set("bot", json!(false)));
    case(&remove("title"), &set("title", json!(null)));
    // `meta.domain` is the same in all of these.
    case(&remove("server_name"), &nothing);
    let elsewhere = json!("commons.wikimedia.org");
    case(&set("server_name", elsewhere.clone()), &set("domain", elsewhere));
    let odd = json!("Zoë \"Z\" \\ 😀\u{7f}");
    case(&set("user", odd.clone()), &set("user", odd.clone()));
    case(&set("title", odd.clone()), &set("title", odd));
    cases
}

async fn shape(subject: &Subject) -> Result<()> {
    let topics = subject.topics().await?;
    let cases = cases();
    let blocks = (0..).zip(&cases);
    let body: String =
        blocks.map(|(number, (source, _))| block(number, &source.to_string())).collect();
    let stream = Stream::start(vec![Reply::hold(body)]).await?;
    let mut server = subject.start_producer(&topics, &stream.url()).await?;
    progress::at_least(subject, &topics, cases.len() as u64).await?;
    server.ends_on(Signal::TERM).await?;
    let records = subject.broker()?.consume(&topics.events).await?;
    let ids = messages::ids(&records)?;
    ensure!(records.len() == cases.len(), "{} messages of {} events", records.len(), cases.len());
    for (source, expected) in &cases {
        let place = ids.iter().position(|id| expected["id"] == id.as_str());
        let record = place.and_then(|place| records.get(place));
        let record = record.with_context(|| format!("no message of {source}"))?;
        is_message(record, expected).with_context(|| format!("of {source}"))?;
    }
    Ok(())
}

fn is_message(record: &Record, expected: &Value) -> Result<()> {
    let value: Value = serde_json::from_slice(messages::text(record))?;
    ensure!(value == *expected, "{value} and not {expected}");
    // Where there is no user, the key is the program's choice.
    if let Some(user) = expected["user"].as_str() {
        let key = record.key.as_ref().map(shown);
        ensure!(key.as_deref() == Some(user), "the key {key:?} and not {user:?}");
    }
    let id = expected["id"].as_str().unwrap_or_default();
    for (name, expected) in [("id", id), ("content-type", "application/json")] {
        let header = record.headers.get(name).map(shown);
        ensure!(
            header.as_deref() == Some(expected),
            "the header {name} {header:?} and not {expected:?}"
        );
    }
    Ok(())
}

fn shown(bytes: &Bytes) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_message_is_looked_at() {
        let (_, expected) = cases().swap_remove(0);
        let mut good = messages::message(expected.to_string());
        good.key = Some("User 0".into());
        let id = expected["id"].as_str().unwrap();
        good.headers.insert("id".to_owned(), id.into());
        let kind = "application/json".into();
        good.headers.insert("content-type".to_owned(), kind);
        is_message(&good, &expected).unwrap();
        let mut bad = good.clone();
        bad.key = None;
        assert!(is_message(&bad, &expected).is_err());
        for name in ["id", "content-type"] {
            let mut bad = good.clone();
            bad.headers.remove(name);
            assert!(is_message(&bad, &expected).is_err(), "{name}");
        }
        let mut more = expected.clone();
        more["more"] = json!(1);
        let bad = Record { value: Some(more.to_string().into()), ..good };
        assert!(is_message(&bad, &expected).is_err());
    }

    #[test]
    fn every_case_is_an_event_of_its_own() {
        let cases = cases();
        let ids: std::collections::HashSet<String> =
            cases.iter().map(|(_, message)| message["id"].to_string()).collect();
        assert_eq!(ids.len(), cases.len());
    }
}
