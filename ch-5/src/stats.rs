//! What is counted. A `Delta` is what a slice of events adds, `Totals` are the sum of all deltas of a partition, and a
//! `Snapshot` is the part of them that `GET /stats` shows, added up over the partitions. The stores keep the totals.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use serde::Serialize;
use serde::Serializer;

use crate::event::Event;

/// The domain of an event that names none.
const UNKNOWN_DOMAIN: &str = "unknown";

/// The most names of domains in `Totals`. Wikimedia has about a thousand. Without a limit, a stream of made-up names
/// could fill the memory, and make `/stats` as large as it likes.
const DOMAINS: usize = 3000;

/// The domain under which all others are counted when there are `DOMAINS`.
const OTHER_DOMAIN: &str = "other";

/// The most users that a snapshot shows. For each partition, so many users are kept in order.
pub const TOP_LIMIT: usize = 1000;

/// What `/stats` shows. `messages = bots + non_bots = sum(by_domain)`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    pub messages: u64,
    pub distinct_users: u64,
    pub bots: u64,
    pub non_bots: u64,
    pub by_domain: BTreeMap<String, u64>,
    /// The users with the most events: the highest count first, the same count in the order of the names.
    #[serde(serialize_with = "in_order")]
    pub by_user: Vec<(String, u64)>,
}

impl Snapshot {
    /// Adds up all partitions, and keeps the first `top` users. All events of a user are in one partition, so distinct
    /// users can be added, and a user who is among the first of all is also among the first of one partition.
    pub fn sum(partitions: impl IntoIterator<Item = Self>, top: usize) -> Self {
        let mut sum = Self::default();
        let mut by_user: HashMap<String, u64> = HashMap::new();
        for partition in partitions {
            sum.messages += partition.messages;
            sum.distinct_users += partition.distinct_users;
            sum.bots += partition.bots;
            sum.non_bots += partition.non_bots;
            for (mut domain, count) in partition.by_domain {
                if sum.by_domain.len() >= DOMAINS && !sum.by_domain.contains_key(&domain) {
                    domain = OTHER_DOMAIN.to_owned();
                }
                *sum.by_domain.entry(domain).or_default() += count;
            }
            // If the topic got more partitions later, a user may be in two of them.
            for (user, count) in partition.by_user {
                *by_user.entry(user).or_default() += count;
            }
        }
        sum.by_user = by_user.into_iter().collect();
        sum.by_user.sort_unstable_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        sum.by_user.truncate(top);
        sum
    }
}

/// Writes the list as a JSON object, and keeps its order.
fn in_order<S: Serializer>(by_user: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(by_user.iter().map(|(user, count)| (user, count)))
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
    pub top: Top,
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
            let total = self.by_user[*user];
            self.top.raise(user, total - count, total);
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            messages: self.messages,
            distinct_users: self.by_user.len() as u64,
            bots: self.bots,
            non_bots: self.messages - self.bots,
            by_domain: self.by_domain.clone(),
            by_user: self.top.0.iter().map(|(count, user)| (user.to_string(), count.0)).collect(),
        }
    }
}

/// The users with the most events. Counts only grow, so another user can only get into this list when its count grows.
#[derive(Debug, Default)]
pub struct Top(BTreeSet<(Reverse<u64>, Box<str>)>);

impl Top {
    /// Whether a user with this count belongs in the list.
    pub fn takes(&self, user: &str, count: u64) -> bool {
        let entry = (Reverse(count), user);
        let is_after = |(least, last): &(Reverse<u64>, Box<str>)| entry > (*least, &**last);
        self.0.len() < TOP_LIMIT || !self.0.last().is_some_and(is_after)
    }

    /// Must be called when the count of a user has grown.
    pub fn raise(&mut self, user: &str, before: u64, after: u64) {
        if !self.takes(user, after) {
            return;
        }
        let mut entry = (Reverse(before), user.into());
        self.0.remove(&entry);
        entry.0 = Reverse(after);
        self.0.insert(entry);
        if self.0.len() > TOP_LIMIT {
            self.0.pop_last();
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
                by_user: vec![("Alice".to_owned(), 2), ("Bob".to_owned(), 2)],
            };
            assert_eq!(totals.snapshot(), expected, "slices of {size}");
            assert_eq!(totals.by_user["Alice"], 2);
            assert_eq!(totals.by_user["Bob"], 2);
        }
    }

    /// Many users have counts near the limit, so the order changes all the time.
    #[test]
    fn top_users_are_those_that_sorting_all_would_give() {
        let mut totals = Totals::default();
        for round in 0..40 {
            let users = (0..500).map(|_| format!("user {}", fastrand::usize(..3000)));
            let events: Vec<Event> = users.map(|user| event(None, Some(&user), false)).collect();
            totals.add(&Delta::of(&events, &totals));
            let all = totals.by_user.iter().map(|(user, count)| (Reverse(*count), user.clone()));
            let sorted: BTreeSet<_> = all.collect();
            let expected = sorted.into_iter().take(TOP_LIMIT).collect();
            assert_eq!(totals.top.0, expected, "round {round}");
        }
    }

    /// Alice and Bob are in two partitions, as after the topic got more of them, so each is counted as two users.
    #[test]
    fn sum_of_partitions_is_what_one_would_have_counted() {
        let events = ["Dave", "Bob", "Alice", "Alice", "Carol", "Bob"]
            .map(|user| event(Some("a"), Some(user), user < "C"));
        let counted = |events: &[Event]| {
            let mut totals = Totals::default();
            totals.add(&Delta::of(events, &totals));
            totals.snapshot()
        };
        let sum = Snapshot::sum(events.chunks(3).map(counted), 3);
        let mut expected = counted(&events);
        expected.distinct_users += 2;
        expected.by_user.pop();
        assert_eq!(sum, expected);
        let json = serde_json::to_string(&sum).unwrap();
        let by_user = r#""by_user":{"Alice":2,"Bob":2,"Carol":1}}"#;
        assert!(json.ends_with(by_user), "{json}");
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
        // Another partition has other names.
        let mut partition = Snapshot { messages: 5, ..Snapshot::default() };
        partition.by_domain.insert("invalid".to_owned(), 5);
        let sum = Snapshot::sum([totals.snapshot(), partition], 0);
        assert_eq!(sum.by_domain.len(), DOMAINS + 1);
        assert_eq!(sum.by_domain.values().sum::<u64>(), sum.messages);
    }
}
