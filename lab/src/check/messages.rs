//! The messages of the topic: those that lab writes itself, and what must stand in those that it reads.

use std::collections::HashSet;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::broker::Record;
use crate::replay::Replay;

/// An event as the producer writes it: a bot's where the number is odd.
pub fn event(number: u64, user: &str) -> Record {
    let value = json!({
        "id": format!("00000000-0000-4000-8000-{number:012}"),
        "time": "2026-01-01T00:00:00Z",
        "domain": format!("{}.wikipedia.org", ["de", "en", "fr"][(number % 3) as usize]),
        "user": user,
        "bot": number % 2 == 1,
        "title": format!("Page {number}"),
    });
    Record { key: Some(user.into()), ..message(value.to_string()) }
}

/// Events of 97 users.
pub fn some_events(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(|number| event(number, &format!("User {}", number % 97))).collect()
}

/// A message of any content, without a key.
pub fn message(value: impl AsRef<[u8]>) -> Record {
    Record { value: Some(value.into()), ..Record::default() }
}

/// The content of a message; empty where it has none.
pub fn text(record: &Record) -> &[u8] {
    record.value.as_ref().map_or(&[], |value| &value.0)
}

/// What no consumer can take for an event.
pub fn bad_messages() -> Vec<Record> {
    let texts: [&[u8]; 6] = [b"", b"{", b"null", b"[]", b"no JSON", b"\x00\xff\xfe"];
    let mut bad: Vec<Record> = texts.into_iter().map(message).collect();
    // Without any content: a tombstone.
    bad.push(Record::default());
    bad
}

/// The ids of the events in `records`.
pub fn ids(records: &[Record]) -> Result<Vec<String>> {
    records.iter().map(id).collect()
}

fn id(record: &Record) -> Result<String> {
    let id = field(record, "id")?;
    let text = id.as_str();
    Ok(text.with_context(|| format!("a message with the id {id}"))?.to_owned())
}

/// A field of the event in `record`; null where it is missing.
pub fn field(record: &Record, name: &str) -> Result<Value> {
    let mut value: Value = serde_json::from_slice(text(record)).with_context(|| {
        let text = String::from_utf8_lossy(text(record));
        format!("a message that is no JSON: {text:?}")
    })?;
    Ok(value.get_mut(name).map(Value::take).unwrap_or_default())
}

/// Each event that was sent is in the topic; returns how many of its messages are doubles.
pub fn nothing_lost(records: &[Record], replay: &Replay) -> Result<u64> {
    let sent = replay.truth().messages;
    let ids = ids(records)?;
    let distinct = ids.iter().collect::<HashSet<_>>().len() as u64;
    ensure!(distinct == sent, "{distinct} different events in the topic and not {sent}");
    Ok(ids.len() as u64 - distinct)
}

/// Each event that was sent is in the topic, and none twice.
pub fn is_each_once(records: &[Record], replay: &Replay) -> Result<()> {
    let doubles = nothing_lost(records, replay)?;
    ensure!(doubles == 0, "{doubles} messages in the topic are doubles");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_what_has_none_is_shown() {
        let records = [event(1, "Alice"), event(2, "Bob")];
        let expected =
            ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];
        assert_eq!(ids(&records).unwrap(), expected);
        let bad = message("{\"id\":null}");
        let error = ids(&[bad]).unwrap_err().to_string();
        assert!(error.contains("null"), "{error}");
        assert!(ids(&[message("nonsense")]).is_err());
    }

    #[test]
    fn bad_messages_differ() {
        let bad = bad_messages();
        assert!((1..bad.len()).all(|n| !bad[..n].contains(&bad[n])));
    }
}
