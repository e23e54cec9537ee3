//! Where to go on in the stream after a dropped connection or a restart, without losing an event or taking one twice.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde::de::IgnoredAny;

/// Ids of this many events are remembered within a process: some minutes of the real stream.
const WINDOW: usize = 10_000;

/// At most this many ids go into a `Resume`. Three events in a millisecond are rare.
const SEEN_LIMIT: usize = 200;

/// The longest `id:` that is taken, in bytes. The stream's own have about 150.
const EVENT_ID_LIMIT: usize = 4 * 1024;

/// A place in the stream, cheap to clone. The stream goes on with the first event that is not older than the timestamp
/// in `last_event_id`, in milliseconds, so that one comes again; `seen` tells what of the rest has been read already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The newest `id:`, to be sent as `Last-Event-ID`: a JSON array of topics and timestamps.
    pub last_event_id: Option<Arc<str>>,
    /// The `meta.id`s read from that event on: those of its millisecond, and stragglers that are older.
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

    /// Takes what `Display` gives, or a bare `id:` of the stream.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if usable(text) {
            return Ok(Self {
                last_event_id: Some(text.into()),
                seen: Vec::new(),
            });
        }
        serde_json::from_str(text).map_err(|_| {
            "neither an id of the stream ([{\"topic\": …}]) nor what an earlier run printed"
                .to_owned()
        })
    }
}

/// Whether it is like the stream's own: a JSON array that fits in a header, and on a command line in quotes. Others
/// would be refused when they are sent back, for ever.
fn usable(event_id: &str) -> bool {
    let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'\'';
    event_id.len() <= EVENT_ID_LIMIT
        && event_id.bytes().all(plain)
        && serde_json::from_str::<Vec<IgnoredAny>>(event_id).is_ok()
}

/// Milliseconds since 1970: the newest timestamp in an `id:` of the stream.
fn timestamp(event_id: &str) -> Option<u64> {
    let parts = event_id.split("\"timestamp\":").skip(1);
    let digits = parts.map(|part| part.split(|c: char| !c.is_ascii_digit()).next());
    digits.filter_map(|digits| digits?.parse().ok()).max()
}

/// The reader's place while it reads: a `Resume`, and the ids of the last events beside it.
pub struct Place {
    resume: Resume,
    /// The timestamp in its `last_event_id`.
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

    /// Moves past an event; `false` where its `meta.id` has been read before.
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
        let Resume {
            last_event_id,
            seen,
        } = &mut self.resume;
        // Going back to a straggler's time would bring back all that has been read since then.
        if time > self.newest || time.is_none() || seen.len() >= SEEN_LIMIT {
            *last_event_id = Some(event_id.into());
            self.newest = time;
            seen.clear();
        }
        seen.extend(id);
    }

    /// `false` where it is known already.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> String {
        format!(
            r#"[{{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":{milliseconds}}},{{"topic":"codfw.mediawiki.recentchange","partition":0,"offset":-1}}]"#
        )
    }

    /// What the stream gives after a reconnect: all from the first event on that is not older than the timestamp.
    fn unread<'a>(stream: &[(u64, &'a str)], resume: &Resume) -> Vec<&'a str> {
        let from = resume.timestamp().unwrap();
        let first = stream.iter().position(|(time, _)| *time >= from).unwrap();
        let mut place = Place::new(resume.clone());
        let rest = stream[first..].iter();
        rest.filter(|(time, id)| place.advance(&at(*time), Some(id)))
            .map(|(_, id)| *id)
            .collect()
    }

    #[test]
    fn resume_after_any_event_gives_the_rest_once_also_where_time_goes_back() {
        let stream = [
            (5, "a"),
            (7, "b"),
            (7, "c"),
            (6, "d"),
            (6, "e"),
            (9, "f"),
            (5, "g"),
            (8, "h"),
            (8, "i"),
            (10, "j"),
        ];
        let mut place = Place::new(Resume::default());
        for (read, (time, id)) in stream.iter().enumerate() {
            assert!(place.advance(&at(*time), Some(id)));
            let resume: Resume = place.resume().to_string().parse().unwrap();
            let rest: Vec<&str> = stream[read + 1..].iter().map(|(_, id)| *id).collect();
            assert_eq!(unread(&stream, &resume), rest, "after {id}");
        }
    }

    #[test]
    fn what_came_before_is_a_double_and_does_not_lead_back() {
        let mut place = Place::new(Resume::default());
        assert!(place.advance(&at(1), Some("a")));
        assert!(place.advance(&at(2), Some("b")));
        let before = place.resume().clone();
        assert!(!place.advance(&at(1), Some("a")));
        assert!(place.advance(&at(1), None));
        assert_eq!(*place.resume(), before);
    }

    #[test]
    fn event_without_an_id_line_leaves_the_place() {
        let mut place = Place::new(at(3).parse().unwrap());
        assert!(place.advance("", Some("a")));
        assert_eq!(place.resume().last_event_id, Some(at(3).into()));
    }

    #[test]
    fn window_and_resume_are_bounded() {
        let mut place = Place::new(Resume::default());
        for number in 0..3 * WINDOW {
            place.advance(&at(1), Some(&number.to_string()));
        }
        assert_eq!((place.ids.len(), place.order.len()), (WINDOW, WINDOW));
        assert!(place.resume().seen.len() <= SEEN_LIMIT);
    }

    #[test]
    fn timestamp_is_the_newest_of_the_topics() {
        assert_eq!(timestamp(&at(1_532_031_066_001)), Some(1_532_031_066_001));
        assert_eq!(
            timestamp(r#"[{"timestamp":7},{"timestamp":9},{"offset":-1}]"#),
            Some(9)
        );
        assert_eq!(timestamp("no id of theirs"), None);
    }

    #[test]
    fn hostile_id_does_not_become_the_place() {
        let mut place = Place::new(at(3).parse().unwrap());
        let long = format!("[\"{}\"]", "x".repeat(EVENT_ID_LIMIT));
        for id in [
            "bogus",
            "[4]'; echo",
            "[\"\u{9b}\"]",
            "{\"timestamp\":9}",
            &long,
        ] {
            place.advance(id, None);
            assert_eq!(place.resume().last_event_id, Some(at(3).into()), "{id}");
        }
    }

    #[test]
    fn resume_that_is_none_is_refused() {
        assert!("yesterday".parse::<Resume>().is_err());
        assert!("{}".parse::<Resume>().is_err());
    }
}
