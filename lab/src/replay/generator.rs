//! Makes the event at a position of the stream from the seed and the position alone, so that any event can be sent
//! again without being stored. It writes the JSON, and says how a correct program counts it: from the values that it
//! has drawn, and not from the JSON.

use crate::replay::clock::Clock;
use crate::replay::event::Count;
use crate::replay::event::Event;
use crate::replay::event::Kind;
use crate::replay::fields;
use crate::replay::fields::put;
use crate::replay::fields::put_number;
use crate::replay::options::Faults;
use crate::replay::options::Options;
use crate::replay::text;
use crate::replay::text::Random;
use crate::replay::wikis;
use crate::replay::wikis::Wiki;
use crate::replay::words;
use crate::replay::words::Title;

pub struct Generator {
    pub clock: Clock,
    seed: u64,
    users: u32,
    /// The first of the users; bots are few and busy.
    bots: u32,
    canaries: u64,
    pub faults: Faults,
    /// The data centre that is active, and so has the timestamp in the ids.
    centre: &'static str,
    wikis: Vec<Wiki>,
    slots: Vec<u16>,
    titles: Vec<Title>,
    sizes: Vec<u16>,
}

impl Generator {
    pub fn from(options: &Options) -> Self {
        let (wikis, slots) = wikis::wikis();
        Self {
            clock: Clock { seed: options.seed },
            seed: options.seed,
            users: options.users,
            bots: (options.users / 100).max(1),
            canaries: u64::from(options.canaries) * 10,
            faults: options.faults.clone(),
            centre: if options.seed.is_multiple_of(2) { "eqiad" } else { "codfw" },
            wikis,
            slots,
            titles: words::titles(),
            sizes: words::sizes(),
        }
    }

    pub fn unknown_domain(&self) -> u32 {
        self.wikis.len() as u32
    }

    pub fn domains(&self) -> usize {
        self.wikis.len() + 1
    }

    pub fn users(&self) -> usize {
        self.users as usize
    }

    /// One more than there are wikis: where an event without a domain is counted.
    pub fn domain(&self, index: usize) -> &str {
        self.wikis.get(index).map_or("unknown", |wiki| &wiki.domain)
    }

    pub fn user(&self, index: usize) -> String {
        let mut json = b"\"".to_vec();
        words::user(&mut json, index as u32, self.bots);
        json.push(b'"');
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// The `id:` line's value.
    pub fn write_id(&self, position: u64, out: &mut Vec<u8>) {
        for (opening, centre) in [("[{\"topic\":\"", "eqiad"), (",{\"topic\":\"", "codfw")] {
            put(out, opening);
            put(out, centre);
            put(out, ".mediawiki.recentchange\",\"partition\":0,\"");
            if centre == self.centre {
                put(out, "timestamp\":");
                // Wikimedia's server (KafkaSSE) adds one too, so that the event itself does not come again.
                text::number(out, self.clock.timestamp(position) + 1);
            } else {
                put(out, "offset\":-1");
            }
            put(out, "}");
        }
        put(out, "]");
    }

    /// The event that stands at this position when nothing is wrong with it.
    pub fn write_ordinary(&self, position: u64, out: &mut Vec<u8>) -> Event {
        let mut random = Random::at(self.seed, position, 0);
        if random.chance(self.canaries) {
            self.write_canary(position, &mut random, out);
            return Event { count: None, has_id: true };
        }
        self.write_change(position, &mut random, out)
    }

    fn write_canary(&self, position: u64, random: &mut Random, out: &mut Vec<u8>) {
        put(
            out,
            r#"{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"stream":"mediawiki.recentchange","dt":""#,
        );
        text::time(out, self.clock.timestamp(position));
        put(out, r#"","domain":"canary","id":""#);
        text::uuid(out, random.bits(), random.bits());
        put(out, r#""}}"#);
    }

    /// Always one whose meta, user and domain are all there, for the faults to take something away from.
    pub fn write_complete(&self, position: u64, out: &mut Vec<u8>) -> Event {
        let begin = out.len();
        for lane in 2.. {
            let event =
                self.write_change(position, &mut Random::at(self.seed, position, lane), out);
            if event.count.is_some_and(|count| count.user.is_some()) {
                return event;
            }
            out.truncate(begin);
        }
        unreachable!("a thousandth of all events has no user")
    }

    fn write_change(&self, position: u64, random: &mut Random, out: &mut Vec<u8>) -> Event {
        let begin = out.len();
        let size = usize::from(*random.pick(&self.sizes));
        let wiki_index = usize::from(*random.pick(&self.slots));
        let wiki = &self.wikis[wiki_index];
        let kind = match random.below(1000) {
            0..556 => Kind::Edit,
            556..933 => Kind::Categorize,
            933..983 => Kind::Log,
            _ => Kind::New,
        };
        let bot = random.chance(4100);
        let user = (!random.chance(10)).then(|| self.draw_user(bot, random));
        let title = random.pick(&self.titles);
        let title_number = random.below(1_000_000);
        let timestamp = self.clock.timestamp(position);
        // 2.2 % of all events are log events without id: the abuse filter's, which have no title_url either.
        let has_change_id = kind != Kind::Log || !random.chance(4400);

        put(out, r#"{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":""#);
        fields::url(out, wiki, wiki_index, kind, title, title_number);
        put(out, r#"","request_id":""#);
        text::uuid(out, random.bits(), random.bits());
        put(out, r#"","id":""#);
        text::uuid(out, random.bits(), random.bits());
        put(out, r#"","dt":""#);
        text::time(out, timestamp);
        put(out, r#"","domain":""#);
        put(out, &wiki.domain);
        put(out, r#"","stream":"mediawiki.recentchange","topic":""#);
        put(out, self.centre);
        put(out, r#".mediawiki.recentchange","partition":0,"offset":"#);
        text::number(out, 5_100_000_000 + position);
        if has_change_id {
            if kind == Kind::Log && random.chance(200) {
                put(out, r#"},"id":null"#)
            } else {
                put_number(out, r#"},"id":"#, 1_900_000_000 + position)
            }
        } else {
            put(out, "}");
        }
        put(
            out,
            match kind {
                Kind::Edit => r#","type":"edit","namespace":"#,
                Kind::New => r#","type":"new","namespace":"#,
                Kind::Log => r#","type":"log","namespace":"#,
                Kind::Categorize => r#","type":"categorize","namespace":"#,
            },
        );
        put(out, fields::namespace(wiki_index, kind).0);
        put(out, r#","title":""#);
        fields::title(out, wiki_index, kind, title, title_number);
        if has_change_id {
            put(out, r#"","title_url":""#);
            fields::url(out, wiki, wiki_index, kind, title, title_number);
        }
        put(out, r#"","comment":""#);
        let comment = if random.chance(2000) { 0 } else { size.saturating_sub(900) / 3 };
        words::prose(out, random, comment);
        // Log events may be of a change that is years old: up to 19.3 of them.
        let age =
            if kind == Kind::Log && random.chance(500) { random.below(609_000_000) } else { 0 };
        put_number(out, r#"","timestamp":"#, timestamp / 1000 - age);
        if let Some(user) = user {
            put(out, r#","user":""#);
            words::user(out, user, self.bots);
            put(out, "\"");
        }
        put(out, if bot { r#","bot":true"# } else { r#","bot":false"# });
        match kind {
            Kind::Log => fields::log(out, random, has_change_id),
            _ => fields::revision(out, random, wiki, kind, position),
        }
        out.extend_from_slice(&wiki.tail);
        let parsed = (begin + size).saturating_sub(out.len() + 2);
        words::prose(out, random, parsed);
        put(out, "\"}");
        Event { count: Some(Count { domain: wiki_index as u32, user, bot }), has_id: true }
    }

    /// Zipf with exponent 1: the rank is n to the power of a random number between 0 and 1.
    fn draw_user(&self, bot: bool, random: &mut Random) -> u32 {
        let (first, n) = if bot { (0, self.bots) } else { (self.bots, self.users - self.bots) };
        let rank = f64::from(n + 1).powf(random.unit()) as u32;
        first + rank.clamp(1, n) - 1
    }
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
