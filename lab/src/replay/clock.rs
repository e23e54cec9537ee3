//! The time of each position of the stream; and the other way round, for a millisecond, the first position that is not
//! before it. So Kafka, and with it the real stream, finds the place from which it goes on.

use crate::replay::text::Random;

/// 2026-08-17T00:00:00Z: the day on which the shares and rates that the generator keeps to were measured.
pub const BEGIN_MS: u64 = 1_786_924_800_000;

/// 37 events a second.
const STEP_MS: u64 = 27;

/// How far an event may be behind its time, in milliseconds; more than two steps, so that it is out of order.
const LATE_MS: std::ops::Range<u64> = 54..990;

pub struct Clock {
    pub seed: u64,
}

impl Clock {
    /// Mostly one or more milliseconds after the predecessor's. As measured, 1.28 % of all events are up to 0.99 s
    /// late, and 12 in 1,615 share their predecessor's millisecond.
    pub fn timestamp(&self, position: u64) -> u64 {
        let mut random = Random::at(self.seed, position, 1);
        let on_time = BEGIN_MS + STEP_MS * position + random.below(STEP_MS);
        match random.below(10_000) {
            0..128 if position > 0 => {
                on_time - LATE_MS.start - random.below(LATE_MS.end - LATE_MS.start)
            }
            128..202 if position > 0 => self.timestamp(position - 1),
            _ => on_time,
        }
    }

    /// The first position whose timestamp is not before `ms`, or `end` if there is none below it. No event is ahead
    /// of its time, so the scan begins at the first position that could be it, and is over within a second's events.
    pub fn position_at(&self, ms: u64, end: u64) -> u64 {
        let earliest = ms.saturating_sub(BEGIN_MS + STEP_MS - 1) / STEP_MS;
        (earliest..end).find(|&position| self.timestamp(position) >= ms).unwrap_or(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_finds_the_first_position_that_is_not_before() {
        let clock = Clock { seed: 3 };
        let times: Vec<u64> = (0..3000).map(|position| clock.timestamp(position)).collect();
        for ms in (BEGIN_MS - 100..BEGIN_MS + 2500 * STEP_MS).chain([0, u64::MAX]) {
            let expected = times.iter().position(|&time| time >= ms).unwrap_or(times.len());
            assert_eq!(clock.position_at(ms, times.len() as u64), expected as u64, "{ms}");
        }
    }

    #[test]
    fn disorder_and_shared_milliseconds_are_as_measured() {
        let clock = Clock { seed: 1 };
        let times: Vec<u64> = (0..200_000).map(|position| clock.timestamp(position)).collect();
        let share = |test: fn(&[u64]) -> bool| {
            times.windows(2).filter(|pair| test(pair)).count() as f64 / 200_000.0
        };
        let late = share(|pair| pair[1] < pair[0]);
        let shared = share(|pair| pair[1] == pair[0]);
        assert!((0.0118..0.0138).contains(&late), "{late}");
        assert!((0.0064..0.0084).contains(&shared), "{shared}");
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1] + 990));
    }
}
