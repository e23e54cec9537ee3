//! The store in memory. It needs no service, and forgets everything when the process ends.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::event::Event;
use crate::stats::Delta;
use crate::stats::Snapshot;
use crate::stats::Totals;

#[derive(Default)]
pub struct MemoryStats {
    /// One lock for all partitions, so every snapshot shows the totals of one moment.
    totals: Mutex<HashMap<i32, Totals>>,
    password_hashes: Mutex<HashMap<String, String>>,
}

impl MemoryStats {
    pub fn record(&self, partition: i32, events: &[Event]) {
        let mut totals = lock(&self.totals);
        let totals = totals.entry(partition).or_default();
        let delta = Delta::of(events, totals);
        totals.add(&delta);
    }

    /// Begins a partition with nothing, because its events come again from the first one.
    pub fn load(&self, partition: i32) -> Option<i64> {
        lock(&self.totals).remove(&partition);
        None
    }

    pub fn snapshot(&self, top: usize) -> Snapshot {
        let totals = lock(&self.totals);
        let partitions: Vec<Snapshot> = totals.values().map(Totals::snapshot).collect();
        drop(totals);
        Snapshot::sum(partitions, top)
    }

    pub fn put_only_user(&self, username: &str, password_hash: &str) -> Vec<String> {
        let only = HashMap::from([(username.to_owned(), password_hash.to_owned())]);
        let before = std::mem::replace(&mut *lock(&self.password_hashes), only);
        before.into_keys().filter(|name| name != username).collect()
    }

    pub fn password_hash(&self, username: &str) -> Option<String> {
        lock(&self.password_hashes).get(username).cloned()
    }
}

/// No code panics while it holds one of these locks, so a poisoned lock can be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const WRITERS: usize = 4;
    const SLICES: usize = 2_000;

    fn slice(writer: usize) -> [Event; 3] {
        [0, 1, 2].map(|number| Event {
            domain: Some(format!("{number}.wikipedia.org")),
            user: Some(format!("user {writer}")),
            bot: number == 0,
            ..Event::default()
        })
    }

    #[test]
    fn every_snapshot_among_many_writers_and_readers_is_of_one_moment() {
        let store = MemoryStats::default();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..SLICES {
                        store.record(writer as i32, &slice(writer));
                    }
                });
            }
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < (3 * WRITERS * SLICES) as u64 {
                        let snapshot = store.snapshot(10);
                        assert_eq!(snapshot.messages, snapshot.bots + snapshot.non_bots);
                        assert_eq!(snapshot.messages, snapshot.by_domain.values().sum::<u64>());
                        assert_eq!(snapshot.messages, 3 * snapshot.bots);
                        assert!(snapshot.messages >= last);
                        last = snapshot.messages;
                    }
                });
            }
        });
        assert_eq!(store.snapshot(10).distinct_users, WRITERS as u64);
    }
}
