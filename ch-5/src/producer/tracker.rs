//! Which events are acknowledged, so that the cursor moves only past those behind which no other is open. Deliveries
//! come in any order, for each partition has its own.

use std::collections::VecDeque;

use crate::resume::Resume;

/// Slices of events in the order of the stream, from the first one that is not done.
#[derive(Default)]
pub struct Tracker {
    slices: VecDeque<Slice>,
    /// The number of the first of them.
    first: usize,
    in_flight: usize,
    place: Option<Resume>,
}

struct Slice {
    open: usize,
    /// The place after its last event.
    place: Resume,
}

impl Tracker {
    /// The number of a new slice, of which all events are open.
    pub fn begin(&mut self, events: usize, place: Resume) -> usize {
        self.slices.push_back(Slice {
            open: events,
            place,
        });
        self.in_flight += events;
        self.first + self.slices.len() - 1
    }

    /// An event of the slice is acknowledged, or passed over.
    pub fn done(&mut self, slice: usize) {
        self.in_flight -= 1;
        self.slices[slice - self.first].open -= 1;
        while let Some(done) = self.slices.pop_front_if(|slice| slice.open == 0) {
            self.first += 1;
            // Before the stream's first `id:` there is no place to go on from.
            if done.place.last_event_id.is_some() {
                self.place = Some(done.place);
            }
        }
    }

    /// Events that are open.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Where to go on after a restart, if that has moved since it was last asked for.
    pub fn take_place(&mut self) -> Option<Resume> {
        self.place.take()
    }

    /// It is still to be written: the next one that is taken is this one, or one after it.
    pub fn put_back(&mut self, place: Resume) {
        self.place.get_or_insert(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: usize) -> Resume {
        format!(r#"[{{"timestamp":{number}}}]"#).parse().unwrap()
    }

    #[test]
    fn place_moves_past_a_slice_when_all_before_it_are_done() {
        let mut tracker = Tracker::default();
        let slices = [2, 1, 1].map(|events| tracker.begin(events, place(events)));
        assert_eq!((slices, tracker.in_flight()), ([0, 1, 2], 4));
        tracker.done(1);
        tracker.done(0);
        assert_eq!((tracker.take_place(), tracker.in_flight()), (None, 2));
        tracker.done(0);
        assert_eq!(tracker.take_place(), Some(place(1)));
        assert_eq!(tracker.take_place(), None);
        let fourth = tracker.begin(1, place(4));
        tracker.done(fourth);
        assert_eq!((fourth, tracker.take_place()), (3, None));
        tracker.done(2);
        assert_eq!(
            (tracker.take_place(), tracker.in_flight()),
            (Some(place(4)), 0)
        );
    }

    #[test]
    fn slice_without_an_id_line_leaves_the_place() {
        let mut tracker = Tracker::default();
        let first = tracker.begin(1, Resume::default());
        tracker.put_back(place(1));
        tracker.done(first);
        assert_eq!(tracker.take_place(), Some(place(1)));
    }

    /// Whatever the order of deliveries: the place is that of the last slice before the first with an open event.
    #[test]
    fn place_is_never_after_an_event_that_is_open() {
        let mut tracker = Tracker::default();
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut number = 0;
        let mut reached = 0;
        for _ in 0..10_000 {
            if open.is_empty() || fastrand::usize(..4) == 0 {
                number += 1;
                let events = fastrand::usize(1..5);
                let slice = tracker.begin(events, place(number));
                open.extend((0..events).map(|_| (slice, number)));
            } else {
                let (slice, _) = open.swap_remove(fastrand::usize(..open.len()));
                tracker.done(slice);
            }
            let oldest = open.iter().map(|(_, number)| *number).min();
            let expected = oldest.map_or(number, |oldest| oldest - 1);
            let moved = (expected > reached).then(|| place(expected));
            reached = expected;
            assert_eq!(
                (tracker.take_place(), tracker.in_flight()),
                (moved, open.len())
            );
        }
    }
}
