//! Limits what is logged again and again: a few lines in ten seconds are written, and the others are only counted.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

const WHILE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct LogLimit<const LINES: u32 = 5>(Mutex<State>);

#[derive(Default)]
struct State {
    began: Option<Instant>,
    lines: u32,
    withheld: u64,
}

impl<const LINES: u32> LogLimit<LINES> {
    /// Whether a line may be written now. If it may, this returns how many lines have been left out since the last one.
    pub fn allows(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| began.elapsed() >= WHILE) {
            state.began = Some(Instant::now());
            state.lines = 0;
        }
        if state.lines == LINES {
            state.withheld += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn flood_becomes_a_few_lines_that_tell_how_many_were_withheld() {
        let limit: LogLimit<7> = LogLimit::default();
        let lines: Vec<u64> = (0..100).filter_map(|_| limit.allows()).collect();
        assert_eq!(lines, [0; 7]);
        tokio::time::advance(WHILE).await;
        assert_eq!(limit.allows(), Some(93));
        assert_eq!(limit.allows(), Some(0));
    }
}
