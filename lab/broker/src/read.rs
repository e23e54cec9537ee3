//! `consume` and `count`: read every partition from its beginning to where it ended when the command began.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::Headers;
use serde_json::json;

use crate::client::reader;
use crate::client::watermarks;
use crate::record::Bytes;
use crate::record::Record;

/// Without a message for so long the broker is taken to be away.
const SILENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

pub fn print(broker: &str, topic: &str, limit: u64) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut printed = 0;
    read(broker, topic, |message| {
        if printed < limit {
            serde_json::to_writer(&mut out, &record(message))?;
            out.write_all(b"\n")?;
            printed += 1;
        }
        Ok(printed < limit)
    })?;
    out.flush()?;
    Ok(())
}

pub fn count(broker: &str, topic: &str) -> Result<()> {
    let mut messages: u64 = 0;
    let mut first = None;
    read(broker, topic, |_| {
        first.get_or_insert_with(Instant::now);
        messages += 1;
        Ok(true)
    })?;
    let seconds = first.map_or(0.0, |first: Instant| first.elapsed().as_secs_f64());
    println!("{}", json!({ "messages": messages, "seconds": seconds }));
    Ok(())
}

/// Gives every message to `take`, until it says that it has enough.
fn read(
    broker: &str,
    topic: &str,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<bool>,
) -> Result<()> {
    let reader = reader(broker, None)?;
    let mut ends = BTreeMap::new();
    let mut assigned = TopicPartitionList::new();
    for marks in watermarks(&reader, broker, topic)? {
        if marks.low < marks.high {
            ends.insert(marks.partition, marks.high);
            assigned.add_partition_offset(topic, marks.partition, Offset::Beginning)?;
        }
    }
    reader.assign(&assigned)?;
    let mut heard = Instant::now();
    while !ends.is_empty() {
        match reader.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let Some(&end) = ends.get(&message.partition()) else {
                    continue;
                };
                heard = Instant::now();
                // Written while this reads: not asked for.
                if message.offset() < end && !take(&message)? {
                    return Ok(());
                }
                if message.offset() + 1 >= end {
                    ends.remove(&message.partition());
                }
            }
            // The last offsets of a partition may hold no message: marks of transactions, or what compaction took.
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ends.remove(&partition),
            // Others pass, or the silence will be noticed.
            Some(Err(error)) if heard.elapsed() > SILENCE => {
                return Err(anyhow!("topic {topic}: {error}"));
            }
            Some(Err(_)) => {}
        }
        ensure!(
            heard.elapsed() < SILENCE,
            "topic {topic}: nothing came from {broker} for {} s",
            SILENCE.as_secs()
        );
    }
    Ok(())
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        key: message.key().map(Bytes::from),
        value: message.payload().map(Bytes::from),
        partition: Some(message.partition()),
        offset: Some(message.offset()),
        headers: headers
            .map(|header| (header.key.to_owned(), Bytes::from(header.value.unwrap_or_default())))
            .collect(),
    }
}
