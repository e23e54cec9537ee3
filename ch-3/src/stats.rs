//! What is counted: a slice of events folded into a `Delta`, deltas added up to `Totals`, totals shown as a
//! `Snapshot`. The stores keep totals; `GET /stats` answers a snapshot.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Serialize;

use crate::event::Event;

/// The longest name that is kept whole, in bytes. MediaWiki's user names end at 255, Cassandra's keys at 65,535.
const NAME_LIMIT: usize = 512;

/// Stands where an event names no domain.
const UNKNOWN_DOMAIN: &str = "unknown";

/// What `/stats` shows. `messages = bots + non_bots = sum(by_domain)`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    pub messages: u64,
    pub distinct_users: u64,
    pub bots: u64,
    pub non_bots: u64,
    pub by_domain: BTreeMap<String, u64>,
}

/// What a slice of events adds.
#[derive(Debug, Default)]
pub struct Delta<'a> {
    pub messages: u64,
    pub bots: u64,
    pub by_domain: HashMap<Cow<'a, str>, u64>,
    pub by_user: HashMap<Cow<'a, str>, u64>,
}

impl<'a> Delta<'a> {
    pub fn of(events: &'a [Event]) -> Self {
        let mut delta = Self::default();
        for event in events {
            delta.messages += 1;
            delta.bots += u64::from(event.bot);
            let domain = event.domain.as_deref().unwrap_or(UNKNOWN_DOMAIN);
            *delta.by_domain.entry(bounded(domain)).or_default() += 1;
            if let Some(user) = &event.user {
                *delta.by_user.entry(bounded(user)).or_default() += 1;
            }
        }
        delta
    }
}

/// Everything counted so far.
#[derive(Debug, Default)]
pub struct Totals {
    pub messages: u64,
    pub bots: u64,
    pub by_domain: BTreeMap<String, u64>,
    pub by_user: HashMap<Box<str>, u64>,
}

impl Totals {
    pub fn add(&mut self, delta: &Delta) {
        self.messages += delta.messages;
        self.bots += delta.bots;
        for (domain, count) in &delta.by_domain {
            match self.by_domain.get_mut(domain.as_ref()) {
                Some(total) => *total += count,
                None => _ = self.by_domain.insert(domain.to_string(), *count),
            }
        }
        for (user, count) in &delta.by_user {
            match self.by_user.get_mut(user.as_ref()) {
                Some(total) => *total += count,
                None => _ = self.by_user.insert(user.as_ref().into(), *count),
            }
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            messages: self.messages,
            distinct_users: self.by_user.len() as u64,
            bots: self.bots,
            non_bots: self.messages - self.bots,
            by_domain: self.by_domain.clone(),
        }
    }
}

/// A longer name is cut, and told from others with the same beginning by a hash of the whole.
fn bounded(name: &str) -> Cow<'_, str> {
    if name.len() <= NAME_LIMIT {
        return name.into();
    }
    // FNV-1a: the same in every version of this program, which the standard library's hash is not.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let head = &name[..name.floor_char_boundary(NAME_LIMIT - 20)];
    format!("{head}…{hash:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(domain: Option<&str>, user: Option<&str>, bot: bool) -> Event {
        Event {
            domain: domain.map(str::to_owned),
            user: user.map(str::to_owned),
            bot,
            ..Event::default()
        }
    }

    #[test]
    fn slices_add_up_whatever_their_sizes() {
        let events = [
            event(Some("en.wikipedia.org"), Some("Alice"), false),
            event(Some("en.wikipedia.org"), Some("Alice"), true),
            event(None, None, true),
            event(Some("www.wikidata.org"), Some("Bob"), false),
            event(None, Some("Bob"), false),
        ];
        for size in 1..=events.len() {
            let mut totals = Totals::default();
            for slice in events.chunks(size) {
                totals.add(&Delta::of(slice));
            }
            let expected = Snapshot {
                messages: 5,
                distinct_users: 2,
                bots: 2,
                non_bots: 3,
                by_domain: [
                    ("en.wikipedia.org", 2),
                    ("unknown", 2),
                    ("www.wikidata.org", 1),
                ]
                .map(|(domain, count)| (domain.to_owned(), count))
                .into(),
            };
            assert_eq!(totals.snapshot(), expected, "slices of {size}");
            assert_eq!(totals.by_user["Alice"], 2);
            assert_eq!(totals.by_user["Bob"], 2);
        }
    }

    #[test]
    fn names_over_the_limit_are_short_and_stay_distinct() {
        let long = "é".repeat(NAME_LIMIT);
        let events = [
            long.clone(),
            long.clone() + "a",
            long.clone() + "b",
            long + "a",
        ];
        let events = events.map(|user| event(None, Some(&user), false));
        let delta = Delta::of(&events);
        assert_eq!(delta.by_user.len(), 3);
        assert!(delta.by_user.keys().all(|user| user.len() <= NAME_LIMIT));
    }
}
