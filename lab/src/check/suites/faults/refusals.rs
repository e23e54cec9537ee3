//! Messages that one side can't accept: those that are no events, for a consumer, and those that are too long, for a
//! broker.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use crate::check::log;
use crate::check::messages;
use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::KAFKA;
use crate::check::session;
use crate::check::stream::Reply;
use crate::check::stream::Stream;
use crate::check::stream::block;
use crate::check::stream::change;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::check::topics::PARTITIONS;
use crate::check::topics::Topics;
use crate::process;
use crate::process::Signal;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the topic has bad messages among the good",
        expected: "20,000 good messages are counted; 1,400 bad ones are skipped, and their number is logged at the end",
        hint: "a message that can't be decoded will not be decoded the next time either",
        run: |subject| Box::pin(bad_messages_among_good(subject)),
        ..KAFKA
    },
    Check {
        name: "the broker refuses messages over its size",
        expected: "1,990 of 2,000 events in the topic; each of the 10 that are too long is named by its id on stderr; the program neither ends nor tries for ever",
        hint: "a batch that is refused may hold good messages: send each by itself, and pass over those still refused",
        run: |subject| Box::pin(too_long(subject)),
        ..KAFKA
    },
    Check {
        name: "the broker refuses messages without a key",
        expected: "of batches of 100 events, 1, 2, 3 and 50 have no user: those are named by their ids on stderr, and all others are in the topic once; the program does not end",
        hint: "with more than one bad message in a batch, librdkafka calls the good ones InvalidDifferentRecord: send each by itself",
        run: |subject| Box::pin(without_key(subject)),
        ..KAFKA
    },
];

async fn bad_messages_among_good(subject: &Subject) -> Result<()> {
    const GOOD: u64 = 20_000;
    let topics = progress::topics_to_write_to(subject).await?;
    let bad = messages::bad_messages();
    let mut records = Vec::new();
    for events in messages::some_events(0..GOOD).chunks(100) {
        records.extend_from_slice(events);
        records.extend_from_slice(&bad);
    }
    let count = records.len() as u64 - GOOD;
    subject.broker()?.produce(&topics.events, &records).await?;
    let mut server = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
    session::has_counted(&server.client, GOOD).await?;
    // The last ones may be bad, and not looked at yet: good ones behind them in each partition.
    let last = (0..PARTITIONS).map(|partition| {
        let mut event = messages::event(GOOD, "last");
        event.partition = Some(partition);
        event
    });
    let last: Vec<_> = last.collect();
    subject.broker()?.produce(&topics.events, &last).await?;
    session::has_counted(&server.client, GOOD + last.len() as u64).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    let told = stderr.iter().any(|line| log::tells_skipped(line, count));
    ensure!(told, "no line with {count} skipped; stderr:\n{}", process::tail(&stderr));
    Ok(())
}

async fn too_long(subject: &Subject) -> Result<()> {
    const EVENTS: u64 = 2_000;
    let topics = subject.topics().await?;
    let limit = [("max.message.bytes", "1000")];
    subject.broker()?.create(&topics.events, PARTITIONS, &limit).await?;
    // MediaWiki's own limit is 255 bytes; a program may cut what is longer, but not that short.
    let is_long = |number: u64| number % 200 == 100;
    let body: String = (0..EVENTS)
        .map(|number| {
            let mut event = change(number);
            if is_long(number) {
                event["title"] = json!("T".repeat(500));
                event["user"] = json!(format!("{}{number}", "U".repeat(400)));
            }
            block(number, &event.to_string())
        })
        .collect();
    let stream = Stream::start(vec![Reply::hold(body)]).await?;
    let mut server = subject.start_producer(&topics, &stream.url()).await?;
    let expected: Vec<u64> = (0..EVENTS).filter(|number| !is_long(*number)).collect();
    progress::at_least(subject, &topics, expected.len() as u64).await?;
    let (_, stderr) = server.ends_on(Signal::TERM).await?;
    came_and_named(subject, &topics, &expected, &stderr, EVENTS).await
}

/// The `expected` events are in the topic, each once, and the other ones of `events` are named on stderr.
async fn came_and_named(
    subject: &Subject,
    topics: &Topics,
    expected: &[u64],
    stderr: &[String],
    events: u64,
) -> Result<()> {
    let records = subject.broker()?.consume(&topics.events).await?;
    let mut came = messages::ids(&records)?;
    came.sort();
    let id = |number: u64| change(number)["meta"]["id"].as_str().map(str::to_owned);
    let wanted: Vec<String> = expected.iter().copied().filter_map(id).collect();
    ensure!(came == wanted, "{} messages and not the {} that fit", came.len(), wanted.len());
    for id in (0..events).filter(|number| !expected.contains(number)).filter_map(id) {
        stderr.iter().find(|line| line.contains(&id)).with_context(|| {
            let said = process::tail(stderr);
            format!("stderr:\n{said}\nwithout {id}")
        })?;
    }
    Ok(())
}

/// Of a compacted topic, each message needs a key. The events of redacted pages have no user.
async fn without_key(subject: &Subject) -> Result<()> {
    const EVENTS: u64 = 100;
    for bad in [1, 2, 3, 50] {
        let topics = subject.topics().await?;
        let compacted = [("cleanup.policy", "compact")];
        subject.broker()?.create(&topics.events, 1, &compacted).await?;
        let is_bad = |number: u64| (number + 1) * bad / EVENTS > number * bad / EVENTS;
        let body: String = (0..EVENTS)
            .map(|number| {
                let mut event = change(number);
                event["user"] = json!(format!("User {}", number % 7));
                if is_bad(number) {
                    event["user"] = json!(null);
                }
                block(number, &event.to_string())
            })
            .collect();
        let stream = Stream::start(vec![Reply::hold(body)]).await?;
        let mut server = subject.start_producer(&topics, &stream.url()).await?;
        let expected: Vec<u64> = (0..EVENTS).filter(|number| !is_bad(*number)).collect();
        progress::at_least(subject, &topics, expected.len() as u64).await?;
        let (_, stderr) = server.ends_on(Signal::TERM).await?;
        came_and_named(subject, &topics, &expected, &stderr, EVENTS)
            .await
            .with_context(|| format!("with {bad} without a user"))?;
    }
    Ok(())
}
