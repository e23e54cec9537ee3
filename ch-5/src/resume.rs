//! The place up to which the stream has been read. A reconnect or a restart continues after it, and loses no event.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
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
type Time<'a> = (Cow<'a, str>, u64);

/// The timestamps in an `id:` of the stream. A topic that stands in it with an offset has none.
///
/// `None` if it does not look like those of the stream: a JSON array of objects that may stand in a header. The server
/// could refuse any other one at every reconnect.
fn times(event_id: &str) -> Option<Vec<Time<'_>>> {
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow, default)]
        topic: Cow<'a, str>,
        timestamp: Option<u64>,
    }
    let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'\'';
    if event_id.len() > EVENT_ID_LIMIT || !event_id.bytes().all(is_plain) {
        return None;
    }
    let entries: Vec<Entry> = serde_json::from_str(event_id).ok()?;
    let times = entries.into_iter().filter_map(|entry| Some((entry.topic, entry.timestamp?)));
    Some(times.collect())
}

/// The place while the stream is being read: what becomes a `Resume`, and also the ids of the last events.
#[derive(Default)]
pub struct Place {
    last_event_id: Option<Arc<str>>,
    /// The newest timestamps.
    newest: Vec<Time<'static>>,
    /// The topic whose event was the last with a newer timestamp.
    topic: Option<String>,
    /// What was read of it that the stream repeats, each with the newest timestamp at that time.
    seen: Vec<(u64, Arc<str>)>,
    /// The last events of the topic before, which the stream repeats for as long as that topic has no new event.
    seen_before: Vec<Arc<str>>,
    ids: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Place {
    pub fn new(resume: Resume) -> Self {
        let newest = resume.last_event_id.as_deref().and_then(times).unwrap_or_default();
        let topic = match &newest[..] {
            [(topic, _)] => Some(topic.to_string()),
            // All ids may be those of the topic before.
            _ => None,
        };
        let mut place = Self { newest: owned(newest), topic, ..Self::default() };
        for id in resume.seen {
            if place.remember(&id) {
                place.seen.push((place.newest_of_topic(), id));
            }
        }
        place.last_event_id = resume.last_event_id;
        place
    }

    /// The `Last-Event-ID` with which the stream goes on after the place.
    pub fn last_event_id(&self) -> Option<String> {
        let event_id = self.last_event_id.as_deref()?;
        let mut entries: Vec<Map<String, Value>> = serde_json::from_str(event_id).ok()?;
        for timestamp in entries.iter_mut().filter_map(|entry| entry.get_mut("timestamp")) {
            if let Some(time) = timestamp.as_u64() {
                *timestamp = time.saturating_sub(ADDED).into();
            }
        }
        Some(printable(&serde_json::to_string(&entries).ok()?).into_owned())
    }

    pub fn resume(&self) -> Resume {
        let seen = self.seen.iter().map(|(_, id)| id);
        let seen = self.seen_before.iter().chain(seen).cloned().collect();
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

    fn move_on(&mut self, event_id: &str, times: Vec<Time>, id: Option<Arc<str>>) {
        let mut changed: Option<&Time> = None;
        let mut went_back = false;
        for time in &times {
            let before =
                self.newest.iter().find(|(topic, _)| *topic == time.0).map(|before| before.1);
            went_back |= before > Some(time.1);
            if before != Some(time.1) && changed.is_none_or(|changed| changed.1 < time.1) {
                changed = Some(time);
            }
        }
        let other_topic = changed.is_some_and(|(topic, _)| self.topic.as_deref() != Some(topic));
        // A late event with an older timestamp does not move the place back, or the stream would repeat all events that
        // have been read since that time.
        let moves = times.is_empty() || changed.is_some() && !went_back;
        if moves {
            let now = changed.map_or(u64::MAX, |(_, time)| *time);
            if other_topic {
                self.seen_before = self.seen.drain(..).map(|(_, id)| id).collect();
                self.topic = changed.map(|(topic, _)| topic.to_string());
            }
            self.seen.retain(|(newest, _)| newest.saturating_add(ADDED) >= now);
            self.last_event_id = Some(event_id.into());
            self.newest = owned(times);
        }
        if other_topic && !moves {
            self.seen_before.extend(id);
        } else {
            let newest = self.newest_of_topic();
            self.seen.extend(id.map(|id| (newest, id)));
        }
        self.limit(event_id);
    }

    fn newest_of_topic(&self) -> u64 {
        let newest = self.newest.iter().find(|(topic, _)| self.topic.as_deref() == Some(topic));
        newest.map_or(0, |(_, time)| *time)
    }

    /// Forgets ids if there are too many, but not the first: it belongs to the event with the newest timestamp. The place
    /// is then the last event.
    fn limit(&mut self, event_id: &str) {
        loop {
            let seen = self.seen.iter().map(|(_, id)| id).chain(&self.seen_before);
            if seen.map(|id| id.len() + 3).sum::<usize>() <= SEEN_LIMIT {
                return;
            }
            self.last_event_id = Some(event_id.into());
            if self.seen.len() > 1 {
                self.seen.remove(1);
            } else if self.seen_before.len() > 1 {
                self.seen_before.remove(1);
            } else {
                return;
            }
        }
    }

    /// Returns `false` if the id is known already.
    fn remember(&mut self, id: &Arc<str>) -> bool {
        if !self.ids.insert(Arc::clone(id)) {
            return false;
        }
        self.order.push_back(Arc::clone(id));
        if self.order.len() > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            if self.seen_before.contains(&oldest) {
                // The stream repeats it at the next reconnect.
                self.order.push_back(oldest);
            } else {
                self.ids.remove(&oldest);
            }
        }
        true
    }
}

fn owned(times: Vec<Time>) -> Vec<Time<'static>> {
    times.into_iter().map(|(topic, time)| (topic.into_owned().into(), time)).collect()
}
