//! The place up to which the stream has been read. A reconnect or a restart continues after it, and loses no event.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::printable::printable;

/// A process remembers the ids of this many events. In the real stream, they are those of some minutes.
const WINDOW: usize = 10_000;

/// The most ids in a `Resume`, in bytes. That is more than 2,000 ids, those of about a minute. Usually there are a few:
/// only an event whose timestamp is ahead of those that follow makes many of them necessary.
const SEEN_LIMIT: usize = 96 * 1024;

/// The longest `id:` that is accepted, in bytes. Those of the real stream have about 150.
const EVENT_ID_LIMIT: usize = 4 * 1024;

/// The stream continues with the first event of each topic that is not older than the timestamp of this topic. Wikimedia's
/// server adds one millisecond to the timestamp of an event when it makes the `id:` (KafkaSSE, `_updateLatestOffsetsMap`).
/// Other events of the same millisecond, and older ones that come late, would be lost. So the client takes as much away.
const ADDED: u64 = 1;

/// A place in the stream. After it, the stream repeats the last event, and maybe others. `seen` contains the ids of those
/// that have been read already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The newest `id:`, a JSON array of topics and timestamps.
    pub last_event_id: Option<Arc<str>>,
    /// The `meta.id`s of the event that `last_event_id` names, of those of the millisecond before, and of all events that
    /// were read after them, also of older ones that came late. Also those of the last events of the other topic.
    seen: Vec<Arc<str>>,
}

impl fmt::Display for Resume {
    /// JSON that may stand in single quotes on a command line, whatever the ids contain.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&printable(&json).replace('\'', "\\u0027"))
    }
}

impl FromStr for Resume {
    type Err = String;

    /// Accepts what `Display` writes, or an `id:` of the stream.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if times(text).is_some() {
            return Ok(Self { last_event_id: Some(text.into()), seen: Vec::new() });
        }
        let resume = serde_json::from_str(text).ok().filter(|resume: &Self| {
            resume.last_event_id.as_deref().is_none_or(|event_id| times(event_id).is_some())
        });
        resume.ok_or_else(|| {
            "neither an id of the stream ([{\"topic\": …}]) nor what an earlier run printed"
                .to_owned()
        })
    }
}

/// A topic and the timestamp of its last event, in milliseconds since 1970. Each data centre of Wikimedia has a topic.
type Time = (String, u64);

/// The timestamps in an `id:` of the stream. A topic that stands in it with an offset has none.
///
/// `None` if it does not look like those of the stream: a JSON array of objects that may stand in a header, without escapes.
/// The server could refuse any other one at every reconnect.
fn times(event_id: &str) -> Option<Vec<Time>> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        topic: String,
        timestamp: Option<u64>,
    }
    let is_plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\');
    if event_id.len() > EVENT_ID_LIMIT || !event_id.bytes().all(is_plain) {
        return None;
    }
    let entries: Vec<Entry> = serde_json::from_str(event_id).ok()?;
    let times = entries.into_iter().filter_map(|entry| Some((entry.topic, entry.timestamp?)));
    Some(times.collect())
}

/// The `id:` with other timestamps.
fn with_times(event_id: &str, time: impl Fn(&str, u64) -> u64) -> Option<String> {
    let mut entries: Vec<Map<String, Value>> = serde_json::from_str(event_id).ok()?;
    for entry in &mut entries {
        let topic = entry.get("topic").and_then(Value::as_str).unwrap_or_default();
        let changed = entry.get("timestamp").and_then(Value::as_u64).map(|old| time(topic, old));
        if let Some(changed) = changed {
            entry.insert("timestamp".to_owned(), changed.into());
        }
    }
    serde_json::to_string(&entries).ok()
}

/// The place while the stream is being read: what becomes a `Resume`, and also the ids of the last events.
#[derive(Default)]
pub struct Place {
    last_event_id: Option<Arc<str>>,
    /// The newest timestamp of each topic.
    newest: Vec<Time>,
    /// The ids of what the stream repeats. Each stands with the topic of its event, and with the newest timestamp of this
    /// topic when the event was read. An id from an earlier run, whose topic is not known, stands with all topics.
    seen: Vec<(Vec<Time>, Arc<str>)>,
    ids: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Place {
    pub fn new(resume: Resume) -> Self {
        let newest = resume.last_event_id.as_deref().and_then(times).unwrap_or_default();
        let mut place = Self { newest: newest.clone(), ..Self::default() };
        for id in resume.seen {
            if place.remember(&id) {
                place.seen.push((newest.clone(), id));
            }
        }
        place.last_event_id = resume.last_event_id;
        place
    }

    /// The `Last-Event-ID` with which the stream goes on after the place.
    pub fn last_event_id(&self) -> Option<String> {
        with_times(self.last_event_id.as_deref()?, |_, time| time.saturating_sub(ADDED))
    }

    pub fn resume(&self) -> Resume {
        let seen = self.seen.iter().map(|(_, id)| Arc::clone(id)).collect();
        Resume { last_event_id: self.last_event_id.clone(), seen }
    }

    /// Moves the place to the end of an event. Returns `false` if an event with this `meta.id` has been read before.
    pub fn advance(&mut self, event_id: &str, id: Option<&str>) -> bool {
        let id: Option<Arc<str>> = id.map(Into::into);
        if id.as_ref().is_some_and(|id| !self.remember(id)) {
            return false;
        }
        if let Some(times) = times(event_id) {
            self.move_on(event_id, times, id);
        }
        true
    }

    fn move_on(&mut self, event_id: &str, mut times: Vec<Time>, id: Option<Arc<str>>) {
        // A late event with an older timestamp does not move its topic back, or the stream would repeat all events that have
        // been read since that time.
        let mut late = Vec::new();
        for time in &mut times {
            if let Some(newest) = newest(&self.newest, &time.0).filter(|newest| *newest > time.1) {
                time.1 = newest;
                late.push(time.clone());
            }
        }
        let is_ahead = |time: &&Time| !self.newest.contains(time);
        let mut own: Vec<Time> = times.iter().filter(is_ahead).cloned().collect();
        if !own.is_empty() || times.is_empty() {
            let newest_time = |topic: &str, time| newest(&times, topic).unwrap_or(time);
            let put_right = (!late.is_empty()).then(|| with_times(event_id, newest_time)).flatten();
            self.last_event_id = Some(put_right.as_deref().unwrap_or(event_id).into());
            self.newest = times;
            self.seen.retain(|(times, _)| {
                times.iter().any(|(topic, time)| {
                    newest(&self.newest, topic)
                        .is_some_and(|newest| newest <= time.saturating_add(ADDED))
                })
            });
        } else {
            // The event is of a topic that stands back, or of the same millisecond as the event before.
            let before = self.seen.last().map_or(&times, |(times, _)| times);
            own = before.iter().filter(|time| !late.contains(time)).cloned().collect();
            own.append(&mut late);
        }
        self.seen.extend(id.map(|id| (own, id)));
        self.limit(event_id);
    }

    /// Forgets ids if there are too many, but not the first: it belongs to the event with the newest timestamp. The place
    /// is then the last event.
    fn limit(&mut self, event_id: &str) {
        let mut bytes: usize = self.seen.iter().map(|(_, id)| size(id)).sum();
        while bytes > SEEN_LIMIT && self.seen.len() > 1 {
            self.last_event_id = Some(event_id.into());
            bytes -= size(&self.seen.remove(1).1);
        }
    }

    /// Returns `false` if the id is known already.
    fn remember(&mut self, id: &Arc<str>) -> bool {
        if !self.ids.insert(Arc::clone(id)) {
            return false;
        }
        self.order.push_back(Arc::clone(id));
        if self.order.len() > WINDOW {
            // What the stream repeats at the next reconnect stays.
            let is_repeated = |id| self.seen.iter().any(|(_, seen)| seen == id);
            let oldest = self.order.iter().position(|id| !is_repeated(id));
            if let Some(oldest) = oldest.and_then(|oldest| self.order.remove(oldest)) {
                self.ids.remove(&oldest);
            }
        }
        true
    }
}

fn newest(times: &[Time], topic: &str) -> Option<u64> {
    times.iter().find(|(known, _)| known == topic).map(|(_, time)| *time)
}

/// The bytes of an id in a `Resume`. A very short one counts as a usual one, so that there are not too many of them.
fn size(id: &str) -> usize {
    id.len().max(36) + 3
}
