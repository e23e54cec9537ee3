//! Asks the broker how far the roles are: what is in the topic, and what the group has committed.

use std::ops::ControlFlow;
use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;

use anyhow::Result;

use crate::broker::Partition;
use crate::check::subject::Subject;
use crate::check::topics::PARTITIONS;
use crate::check::topics::Topics;
use crate::check::wait;
use crate::check::wait::PATIENCE;
use crate::check::wait::SOON;
use crate::replay::Replay;

/// Topics of a check's own that are there, with the usual number of partitions: for lab to write to.
pub async fn topics_to_write_to(subject: &Subject) -> Result<Topics> {
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
    let broker = subject.broker()?;
    wait::until(SOON, async || {
        let asked = broker.topic(topic, group).await;
        Ok(asked.map_or_else(|error| Continue(format!("{error:#}")), Break))
    })
    .await
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
    wait::until(PATIENCE, async || {
        let lag = lag(subject, topics).await?;
        if lag == 0 {
            return Ok(Break(()));
        }
        Ok(Continue(format!("{lag} messages that the group has not committed")))
    })
    .await
}

/// Waits until there are at least `wanted` messages in the topic; returns how many there are.
pub async fn at_least(subject: &Subject, topics: &Topics, wanted: u64) -> Result<u64> {
    wait::until(PATIENCE, async || are_there(subject, topics, wanted).await).await
}

async fn are_there(
    subject: &Subject,
    topics: &Topics,
    wanted: u64,
) -> Result<ControlFlow<u64, String>> {
    let came = count(subject, &topics.events).await?;
    if came >= wanted {
        return Ok(Break(came));
    }
    Ok(Continue(format!("{came} of {wanted} messages in the topic")))
}

/// Waits until there are 2,000 events more than `before`, and a newer cursor; returns how many there are of both.
pub async fn moves_on(
    subject: &Subject,
    topics: &Topics,
    before: (u64, u64),
) -> Result<(u64, u64)> {
    wait::until(PATIENCE, async || {
        let events = at_least(subject, topics, before.0 + 2_000).await?;
        let cursors = count(subject, &topics.cursor).await?;
        if cursors > before.1 {
            return Ok(Break((events, cursors)));
        }
        Ok(Continue(format!("no new message in {} after {events} events", topics.cursor)))
    })
    .await
}

/// Waits until the replay was read to its end, and as many messages as it has events are in the topic; returns how many
/// there are a moment later.
pub async fn all_sent(subject: &Subject, topics: &Topics, replay: &Replay) -> Result<u64> {
    wait::until(PATIENCE, async || {
        let progress = replay.progress();
        if progress.finished {
            return Ok(Break(()));
        }
        Ok(Continue(format!("the producer has read {} events, and not all", progress.sent)))
    })
    .await?;
    let wanted = replay.truth().messages;
    wait::until_quiet(PATIENCE, async || are_there(subject, topics, wanted).await).await
}
