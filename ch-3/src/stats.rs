//! What is counted. A `Delta` is what a slice of events adds, `Totals` are the sum of all deltas, and a `Snapshot` is
//! the part of the totals that `GET /stats` shows. The stores keep the totals.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Serialize;

use crate::event::Event;

/// The domain of an event that names none.
const UNKNOWN_DOMAIN: &str = "unknown";

/// The most names of domains in `Totals`. Wikimedia has about a thousand. Without a limit, a stream of made-up names
/// could fill the memory, and make `/stats` as large as it likes.
const DOMAINS: usize = 3000;

/// The domain under which all others are counted when there are `DOMAINS`.
const OTHER_DOMAIN: &str = "other";

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
    pub by_domain: HashMap<&'a str, u64>,
    pub by_user: HashMap<&'a str, u64>,
}

impl<'a> Delta<'a> {
    /// What `events` add to `totals`. For the same events and totals it is the same, so a write can be tried again.
    pub fn of(events: &'a [Event], totals: &Totals) -> Self {
        let mut delta = Self::default();
        let mut domains = totals.by_domain.len();
        for event in events {
            delta.messages += 1;
            delta.bots += u64::from(event.bot);
            let mut domain = event.domain.as_deref().unwrap_or(UNKNOWN_DOMAIN);
            if !delta.by_domain.contains_key(domain) && !totals.by_domain.contains_key(domain) {
                if domains < DOMAINS {
                    domains += 1;
                } else {
                    domain = OTHER_DOMAIN;
                }
            }
            *delta.by_domain.entry(domain).or_default() += 1;
            if let Some(user) = &event.user {
                *delta.by_user.entry(user).or_default() += 1;
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
    /// Where a store keeps timestamps: that of the last write, in microseconds since 1970.
    pub written_at: i64,
}

impl Totals {
    pub fn add(&mut self, delta: &Delta) {
        self.messages += delta.messages;
        self.bots += delta.bots;
        for (domain, count) in &delta.by_domain {
            match self.by_domain.get_mut(*domain) {
                Some(total) => *total += count,
                None => _ = self.by_domain.insert((*domain).to_owned(), *count),
            }
        }
        for (user, count) in &delta.by_user {
            match self.by_user.get_mut(*user) {
                Some(total) => *total += count,
                None => _ = self.by_user.insert((*user).into(), *count),
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
                totals.add(&Delta::of(slice, &totals));
            }
            let expected = Snapshot {
                messages: 5,
                distinct_users: 2,
                bots: 2,
                non_bots: 3,
                by_domain: [("en.wikipedia.org", 2), ("unknown", 2), ("www.wikidata.org", 1)]
                    .map(|(domain, count)| (domain.to_owned(), count))
                    .into(),
            };
            assert_eq!(totals.snapshot(), expected, "slices of {size}");
            assert_eq!(totals.by_user["Alice"], 2);
            assert_eq!(totals.by_user["Bob"], 2);
        }
    }

    #[test]
    fn names_of_domains_are_bounded_and_their_counts_still_add_up() {
        let names = (0..3 * DOMAINS).map(|number| format!("{}.invalid", number % (2 * DOMAINS)));
        let events: Vec<Event> = names.map(|name| event(Some(&name), None, false)).collect();
        let mut totals = Totals::default();
        for slice in events.chunks(777) {
            totals.add(&Delta::of(slice, &totals));
        }
        assert_eq!(totals.by_domain.len(), DOMAINS + 1);
        assert_eq!(totals.by_domain.values().sum::<u64>(), totals.messages);
        assert_eq!(totals.by_domain[OTHER_DOMAIN], DOMAINS as u64);
        assert_eq!(totals.by_domain["0.invalid"], 2);
    }
}
