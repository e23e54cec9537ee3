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
use serde::de::IgnoredAny;

/// A process remembers the ids of this many events. In the real stream, they are those of some minutes.
const WINDOW: usize = 10_000;

/// The most ids in a `Resume`. It is far more than needed: even three events in the same millisecond are rare.
const SEEN_LIMIT: usize = 200;

/// The longest `id:` that is accepted, in bytes. Those of the real stream have about 150.
const EVENT_ID_LIMIT: usize = 4 * 1024;

/// A place in the stream; it is cheap to clone. The stream continues with the first event that is not older than the
/// timestamp in `last_event_id`. So it repeats the last event, and maybe others of the same millisecond. `seen`
/// contains the ids of those that have been read already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The newest `id:`, a JSON array of topics and timestamps. It is sent as `Last-Event-ID`.
    pub last_event_id: Option<Arc<str>>,
    /// The `meta.id`s of the event that `last_event_id` names, and of all events that were read after it: others of the
    /// same millisecond, and older ones that came late.
    seen: Vec<Arc<str>>,
}

impl Resume {
    fn timestamp(&self) -> Option<u64> {
        timestamp(self.last_event_id.as_deref()?)
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Resume {
    type Err = String;

    /// Accepts what `Display` writes, or an `id:` of the stream.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if usable(text) {
            return Ok(Self { last_event_id: Some(text.into()), seen: Vec::new() });
        }
        serde_json::from_str(text).map_err(|_| {
            "neither an id of the stream ([{\"topic\": …}]) nor what an earlier run printed"
                .to_owned()
        })
    }
}

/// Whether an `id:` looks like those of the stream: a JSON array that may stand in a header, and in single quotes on a
/// command line. The server could refuse any other one at every reconnect.
fn usable(event_id: &str) -> bool {
    let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'\'';
    event_id.len() <= EVENT_ID_LIMIT
        && event_id.bytes().all(plain)
        && serde_json::from_str::<Vec<IgnoredAny>>(event_id).is_ok()
}

/// The newest timestamp in an `id:` of the stream, in milliseconds since 1970.
fn timestamp(event_id: &str) -> Option<u64> {
    let parts = event_id.split("\"timestamp\":").skip(1);
    let digits = parts.map(|part| part.split(|c: char| !c.is_ascii_digit()).next());
    digits.filter_map(|digits| digits?.parse().ok()).max()
}

/// The place while the stream is being read: a `Resume`, and also the ids of the last events.
pub struct Place {
    resume: Resume,
    /// The timestamp in the `last_event_id` of `resume`.
    newest: Option<u64>,
    ids: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Place {
    pub fn new(resume: Resume) -> Self {
        let mut place = Self {
            newest: resume.timestamp(),
            resume,
            ids: HashSet::new(),
            order: VecDeque::new(),
        };
        for id in place.resume.seen.clone() {
            place.remember(id);
        }
        place
    }

    pub fn resume(&self) -> &Resume {
        &self.resume
    }

    /// Moves the place to the end of an event. Returns `false` if an event with this `meta.id` has been read before.
    pub fn advance(&mut self, event_id: &str, id: Option<&str>) -> bool {
        let id: Option<Arc<str>> = id.map(Into::into);
        if id.clone().is_some_and(|id| !self.remember(id)) {
            return false;
        }
        if usable(event_id) {
            self.move_on(event_id, id);
        }
        true
    }

    fn move_on(&mut self, event_id: &str, id: Option<Arc<str>>) {
        let time = timestamp(event_id);
        let Resume { last_event_id, seen } = &mut self.resume;
        // A late event with an older timestamp does not move the place back, or the stream would repeat all events that
        // have been read since that time.
        if time > self.newest || time.is_none() || seen.len() >= SEEN_LIMIT {
            *last_event_id = Some(event_id.into());
            self.newest = time;
            seen.clear();
        }
        seen.extend(id);
    }

    /// Returns `false` if the id is known already.
    fn remember(&mut self, id: Arc<str>) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
