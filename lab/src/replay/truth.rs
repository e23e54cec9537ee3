//! What a correct program must have counted: each position once, when it is sent for the first time, from the values
//! that the generator has drawn. Counting is two additions; names are looked up when somebody asks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::Serializer;

use crate::replay::event::Count;
use crate::replay::source::Source;

/// The fields of /stats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truth {
    pub messages: u64,
    pub distinct_users: u64,
    pub bots: u64,
    pub non_bots: u64,
    pub by_domain: BTreeMap<String, u64>,
    /// Highest first, ties by name; an object in JSON.
    #[serde(serialize_with = "in_order")]
    pub by_user: Vec<(String, u64)>,
}

fn in_order<S: Serializer>(users: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(users.iter().map(|(user, count)| (user, count)))
}

#[derive(Clone)]
pub struct Tally {
    bots: u64,
    non_bots: u64,
    by_domain: Vec<u64>,
    by_user: Vec<u64>,
}

impl Tally {
    pub fn of(source: &Source) -> Self {
        Self {
            bots: 0,
            non_bots: 0,
            by_domain: vec![0; source.domains()],
            by_user: vec![0; source.users()],
        }
    }

    pub fn add(&mut self, count: Count) {
        if count.bot {
            self.bots += 1;
        } else {
            self.non_bots += 1;
        }
        self.by_domain[count.domain as usize] += 1;
        if let Some(user) = count.user {
            self.by_user[user as usize] += 1;
        }
    }

    pub fn truth(&self, source: &Source, top: usize) -> Truth {
        let mut users: Vec<(u64, usize)> = self
            .by_user
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
            .map(|(index, &count)| (count, index))
            .collect();
        let distinct_users = users.len() as u64;
        users.sort_unstable_by(|a, b| b.cmp(a));
        // Names decide among equals, so all who are equal to the last one are looked up.
        let least = users.get(top.saturating_sub(1)).map_or(0, |&(count, _)| count);
        let mut by_user: Vec<(String, u64)> = users
            .iter()
            .take_while(|&&(count, _)| count >= least)
            .map(|&(count, index)| (source.user(index), count))
            .collect();
        by_user
            .sort_unstable_by(|(name_a, a), (name_b, b)| b.cmp(a).then_with(|| name_a.cmp(name_b)));
        by_user.truncate(top);

        let by_domain = self.by_domain.iter().enumerate().filter(|&(_, &count)| count > 0);
        Truth {
            messages: self.bots + self.non_bots,
            distinct_users,
            bots: self.bots,
            non_bots: self.non_bots,
            by_domain: by_domain
                .map(|(index, &count)| (source.domain(index).to_owned(), count))
                .collect(),
            by_user,
        }
    }
}
