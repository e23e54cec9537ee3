//! What stands in the topic, as lab sees it beside the program: events of the contract's shape, how many there are, and
//! what the group has committed.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::super::roles::PARTITIONS;
use super::super::roles::Topics;
use super::super::subject::SOON;
use super::super::subject::Subject;
use crate::broker::Partition;
use crate::broker::Record;
use crate::replay::Replay;

pub const PATIENCE: Duration = Duration::from_secs(90);

const POLL: Duration = Duration::from_millis(100);

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
    Record {
        key: Some(user.into()),
        ..message(value.to_string())
    }
}

/// A message of any content, without a key.
pub fn message(value: impl AsRef<[u8]>) -> Record {
    Record {
        value: Some(value.into()),
        ..Record::default()
    }
}

/// The content of a message; empty where it has none.
pub fn text(record: &Record) -> &[u8] {
    record.value.as_ref().map_or(&[], |value| &value.0)
}

/// Topics of a check's own that are there, with the usual number of partitions: for lab to write to.
pub async fn made(subject: &Subject) -> Result<Topics> {
    let topics = subject.topics().await?;
    let broker = subject.broker()?;
    if !broker.is_embedded() {
        broker.create(&topics.events, PARTITIONS, &[]).await?;
    }
    Ok(topics)
}

/// The partitions of a topic, as soon as the broker tells them: one that has just been made has no leaders yet.
pub async fn partitions(
    subject: &Subject,
    topic: &str,
    group: Option<&str>,
) -> Result<Vec<Partition>> {
    let start = Instant::now();
    loop {
        match subject.broker()?.topic(topic, group).await {
            Err(_) if start.elapsed() < SOON => tokio::time::sleep(POLL).await,
            asked => return asked,
        }
    }
}

/// How many messages are in a topic.
async fn count(subject: &Subject, topic: &str) -> Result<u64> {
    let partitions = partitions(subject, topic, None).await?;
    let messages = |low: i64, high: i64| u64::try_from(high - low).unwrap_or_default();
    Ok(partitions.iter().map(|p| messages(p.low, p.high)).sum())
}

/// How many messages of the topic the group has not committed.
pub async fn lag(subject: &Subject, topics: &Topics) -> Result<u64> {
    let partitions = partitions(subject, &topics.events, Some(&topics.group)).await?;
    Ok(partitions.iter().map(Partition::lag).sum())
}

/// Waits until the group has committed the whole topic.
pub async fn all_committed(subject: &Subject, topics: &Topics) -> Result<()> {
    let start = Instant::now();
    loop {
        let lag = lag(subject, topics).await?;
        if lag == 0 {
            return Ok(());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "{lag} messages that the group has not committed within {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until there are at least `messages` in the topic.
pub async fn at_least(subject: &Subject, topics: &Topics, messages: u64) -> Result<u64> {
    let start = Instant::now();
    loop {
        let came = count(subject, &topics.events).await?;
        if came >= messages {
            return Ok(came);
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "{came} of {messages} messages in the topic after {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until there are 2,000 events more than `before`, and a newer cursor; returns how many there are of both.
pub async fn moves_on(
    subject: &Subject,
    topics: &Topics,
    before: (u64, u64),
) -> Result<(u64, u64)> {
    let start = Instant::now();
    loop {
        let events = at_least(subject, topics, before.0 + 2_000).await?;
        let cursors = count(subject, &topics.cursor).await?;
        if cursors > before.1 {
            return Ok((events, cursors));
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "no new message in {} after {events} events and {} s",
            topics.cursor,
            PATIENCE.as_secs()
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the replay was read to its end, and as many messages as it has events are in the topic.
pub async fn all_sent(subject: &Subject, topics: &Topics, replay: &Replay) -> Result<u64> {
    let start = Instant::now();
    while !replay.progress().finished {
        ensure!(
            start.elapsed() < PATIENCE,
            "the producer has read {} events after {} s, and not all",
            replay.progress().sent,
            PATIENCE.as_secs()
        );
        tokio::time::sleep(POLL).await;
    }
    at_least(subject, topics, replay.truth().messages).await
}

/// The ids of the events in `records`.
pub fn ids(records: &[Record]) -> Result<Vec<String>> {
    records.iter().map(id).collect()
}

fn id(record: &Record) -> Result<String> {
    let id = field(record, "id")?;
    let text = id.as_str();
    Ok(text
        .with_context(|| format!("a message with the id {id}"))?
        .to_owned())
}

/// A field of the event in `record`; null where it is missing.
pub fn field(record: &Record, name: &str) -> Result<Value> {
    let mut value: Value = serde_json::from_slice(text(record)).with_context(|| {
        let text = String::from_utf8_lossy(text(record));
        format!("a message that is no JSON: {text:?}")
    })?;
    Ok(value.get_mut(name).map(Value::take).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_what_has_none_is_shown() {
        let records = [event(1, "Alice"), event(2, "Bob")];
        let expected = [
            "00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-000000000002",
        ];
        assert_eq!(ids(&records).unwrap(), expected);
        let bad = message("{\"id\":null}");
        let error = ids(&[bad]).unwrap_err().to_string();
        assert!(error.contains("null"), "{error}");
        assert!(ids(&[message("nonsense")]).is_err());
    }
}
