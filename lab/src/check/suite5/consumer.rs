//! The consumer: complete after a restart, and not stopped by what it can't read.

use anyhow::Result;
use anyhow::ensure;

use super::super::roles::CONSUMER;
use super::super::roles::PARTITIONS;
use super::super::runner::Check;
use super::super::runner::PROCESS;
use super::super::subject::Subject;
use super::messages;
use super::users;
use crate::broker::Record;
use crate::process;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the memory store is complete after a restart of the consumer",
        expected: "the same 5,000 messages after SIGTERM and after kill -9, and the 1,000 that came meanwhile",
        hint: "it forgets, so it must read all partitions from the beginning, in a group of its own that commits nothing",
        run: |subject| Box::pin(restarts(subject)),
        ..PROCESS
    },
    Check {
        name: "two consumers with the memory store each count everything",
        expected: "5,000 messages in /stats of both, although they have the same CONSUMER_GROUP",
        hint: "what each has to itself can't be put together: each reads all partitions",
        run: |subject| Box::pin(side_by_side(subject)),
        ..PROCESS
    },
    Check {
        name: "bad messages among the good are skipped, counted and logged with their place",
        expected: "every good message in /stats; topic, partition and offset of a bad one on stderr, and at the end how many",
        hint: "a loop that ends at the first message it can't decode is stopped by one for ever",
        run: |subject| Box::pin(bad(subject)),
        ..PROCESS
    },
];

const EVENTS: u64 = 5_000;

pub fn some_events(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers
        .map(|number| messages::event(number, &format!("User {}", number % 97)))
        .collect()
}

async fn restarts(subject: &Subject) -> Result<()> {
    let topics = messages::made(subject).await?;
    let broker = subject.broker()?;
    broker
        .produce(&topics.events, &some_events(0..EVENTS))
        .await?;
    let mut expected = EVENTS;
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let mut server = subject
            .start_role(CONSUMER, |program| topics.set(program))
            .await?;
        users::has_counted(&server.client, expected).await?;
        server.leaves_on(signal).await?;
        let more = some_events(expected..expected + 1_000);
        broker.produce(&topics.events, &more).await?;
        expected += 1_000;
    }
    Ok(())
}

async fn side_by_side(subject: &Subject) -> Result<()> {
    let topics = messages::made(subject).await?;
    let broker = subject.broker()?;
    broker
        .produce(&topics.events, &some_events(0..EVENTS))
        .await?;
    let start = || subject.start_role(CONSUMER, |program| topics.set(program));
    let (one, other) = tokio::try_join!(start(), start())?;
    tokio::try_join!(
        users::has_counted(&one.client, EVENTS),
        users::has_counted(&other.client, EVENTS)
    )?;
    Ok(())
}

/// What no consumer can take for an event.
pub fn bad_messages() -> Vec<Record> {
    let texts: [&[u8]; 6] = [b"", b"{", b"null", b"[]", b"no JSON", b"\x00\xff\xfe"];
    let mut bad: Vec<Record> = texts.into_iter().map(messages::message).collect();
    // Without any content: a tombstone.
    bad.push(Record::default());
    bad
}

async fn bad(subject: &Subject) -> Result<()> {
    const PARTITION: i32 = PARTITIONS - 1;
    const BEFORE: u64 = 1_234;
    let topics = messages::made(subject).await?;
    let put = |mut record: Record| {
        record.partition = Some(PARTITION);
        record
    };
    let bad = bad_messages();
    let mut records: Vec<Record> = some_events(0..BEFORE).into_iter().map(put).collect();
    records.extend(bad.iter().cloned().map(put));
    records.extend(some_events(BEFORE..EVENTS));
    subject.broker()?.produce(&topics.events, &records).await?;
    let mut server = subject
        .start_role(CONSUMER, |program| topics.set(program))
        .await?;
    users::has_counted(&server.client, EVENTS).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    let said = || process::tail(&stderr);
    let place = [u64::from(PARTITION.unsigned_abs()), BEFORE];
    ensure!(
        stderr
            .iter()
            .any(|line| names(line, &topics.events, &place)),
        "no line with topic {}, partition {PARTITION} and offset {BEFORE}; stderr:\n{}",
        topics.events,
        said()
    );
    let count = bad.len() as u64;
    let counted = stderr
        .iter()
        .rev()
        .take(10)
        .any(|line| says_skipped(line) && numbers(line).contains(&count));
    ensure!(
        counted,
        "no line at the end with {count} skipped; stderr:\n{}",
        said()
    );
    Ok(())
}

/// Whether `line` names the topic, and has all of `wanted` among its other numbers.
pub fn names(line: &str, topic: &str, wanted: &[u64]) -> bool {
    let rest = line.replace(topic, " ");
    let found = numbers(&rest);
    rest != line && wanted.iter().all(|number| found.contains(number))
}

/// Whether a line tells of messages that were passed over, in whichever word.
pub fn says_skipped(line: &str) -> bool {
    let words = [
        "skip",
        "reject",
        "bad",
        "invalid",
        "malformed",
        "decod",
        "undecodable",
        "poison",
    ];
    let line = line.to_lowercase();
    words.iter().any(|word| line.contains(word))
}

/// The whole numbers in a text; those of a clock, as `09`, are none.
pub fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| *digits == "0" || !digits.starts_with('0'))
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_any_form_of_log_and_only_whole() {
        let topic = "lab-check-5-1234";
        let lines = [
            r#"2026-01-01T09:00:05Z  WARN topic="lab-check-5-1234" partition=5 offset=1234 cannot decode"#,
            r#"{"msg":"skipped","topic":"lab-check-5-1234","partition":5,"offset":1234}"#,
            "skipping lab-check-5-1234 [5] at offset 1234",
            "bad message lab-check-5-1234/5@1234",
        ];
        for line in lines {
            assert!(names(line, topic, &[5, 1234]), "{line}");
        }
        let lines = [
            r#"topic="lab-check-5-1234" cannot decode"#,
            r#"topic="lab-check-5-1234" partition=5 offset=12345"#,
            "partition=5 offset=1234",
            "2026-01-01T09:00:05Z lab-check-5-1234 offset=1234",
        ];
        for line in lines {
            assert!(!names(line, topic, &[5, 1234]), "{line}");
        }
    }

    #[test]
    fn bad_messages_differ() {
        let bad = bad_messages();
        assert!((1..bad.len()).all(|n| !bad[..n].contains(&bad[n])));
    }
}
