//! A correct consumer, as the chapters should be: the tests compare what it counts with the truth.

use std::collections::BTreeMap;
use std::collections::HashSet;

use crate::replay::Replay;
use crate::replay::Truth;
use crate::replay::recording::Counted;
use crate::replay::recording::Facts;
use crate::replay::recording::facts;
use crate::replay::tests::client::AGENT;
use crate::replay::tests::client::End;
use crate::replay::tests::client::Message;
use crate::replay::tests::client::STREAM;
use crate::replay::tests::client::events;
use crate::replay::tests::client::get;
use crate::replay::tests::client::offset;
use crate::replay::tests::client::read;

/// Reconnects with the last id less a millisecond, drops doubles by meta.id, skips what is too long.
#[derive(Default)]
pub struct Consumer {
    pub offsets: HashSet<u64>,
    pub seen: HashSet<String>,
    pub users: BTreeMap<String, u64>,
    pub domains: BTreeMap<String, u64>,
    pub bots: u64,
    pub messages: u64,
    pub doubles: u64,
    pub cuts: u64,
    pub cuts_in_mid_event: u64,
    pub errors: u64,
    pub long: HashSet<String>,
    pub bad_utf8: HashSet<String>,
    pub not_objects: u64,
}

impl Consumer {
    pub async fn read_to_the_end(replay: &Replay, eol: &str, mark: &str) -> Self {
        let mut consumer = Self::default();
        let mut last_id = String::new();
        loop {
            let mut response = get(replay, STREAM, &[AGENT, ("last-event-id", &last_id)]).await;
            assert_eq!(response.status(), 200);
            let (bytes, end) = read(response.body_mut(), |_| false).await;
            assert!(bytes.starts_with(format!("{mark}:ok{eol}{eol}").as_bytes()));
            let (messages, rest) = events(&bytes, eol);
            let error = messages.last().is_some_and(|message| message.name == "error");
            for message in messages.into_iter().filter(|message| message.name == "message") {
                last_id = message.resume();
                consumer.take(&message);
            }
            consumer.errors += u64::from(error);
            consumer.cuts += u64::from(end == End::Cut);
            consumer.cuts_in_mid_event += u64::from(!rest.is_empty());
            if end == End::Closed && !error {
                return consumer;
            }
        }
    }

    fn take(&mut self, message: &Message) {
        self.offsets.extend(offset(message));
        if message.data.len() > 1 << 20 {
            self.long.insert(message.id.clone());
            return;
        }
        if std::str::from_utf8(&message.data).is_err() {
            self.bad_utf8.insert(message.id.clone());
        }
        let Facts { id, counted } = facts(&message.data);
        self.not_objects += u64::from(!message.data.starts_with(b"{\""));
        if id.is_some_and(|id| !self.seen.insert(id)) {
            self.doubles += 1;
            return;
        }
        let Some(Counted { domain, user, bot }) = counted else {
            return;
        };
        self.messages += 1;
        self.bots += u64::from(bot);
        *self.domains.entry(domain).or_default() += 1;
        if let Some(user) = user {
            *self.users.entry(user).or_default() += 1;
        }
    }

    pub fn assert_is(self, truth: &Truth) {
        let mut by_user: Vec<(String, u64)> = self.users.into_iter().collect();
        by_user.sort_by(|(name_a, a), (name_b, b)| b.cmp(a).then(name_a.cmp(name_b)));
        assert_eq!((self.messages, self.bots), (truth.messages, truth.bots));
        assert_eq!(truth.messages, truth.bots + truth.non_bots);
        assert_eq!(by_user.len() as u64, truth.distinct_users);
        assert_eq!(self.domains, truth.by_domain);
        by_user.truncate(100);
        assert_eq!(by_user, truth.by_user);
    }
}
