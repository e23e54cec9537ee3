//! The connection of one reader: a body that is made chunk by chunk while it is read, at the rate that was asked for,
//! and with the faults that were asked for.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::replay::cursor::Start;
use crate::replay::state::Break;
use crate::replay::state::Permit;
use crate::replay::state::Shared;
use crate::replay::wire::Cut;

/// So large that a chunk costs little more than its events, and so small that it stays in the processor's cache.
const CHUNK: usize = 64 * 1024;
/// At high rates events are sent in groups, with this time between them.
const TICK: Duration = Duration::from_millis(10);

pub struct Connection {
    shared: Arc<Shared>,
    cut: Cut,
    /// Kept until the connection has ended.
    _permit: Permit,
    started: Instant,
    position: u64,
    /// The end of the stream when the connection began. Events before it come at full speed, later ones at the rate.
    live: u64,
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Open,
    More,
    Silence,
    Close,
    Cut,
}

impl Connection {
    pub fn new(shared: Arc<Shared>, start: &Start, cut: Cut, permit: Permit) -> Self {
        let live = shared.state().sent;
        let position = match *start {
            Start::Live => live,
            Start::At(ms) => {
                shared.source.position_at(ms, live).saturating_sub(shared.options.faults.back)
            }
        };
        Self {
            shared,
            cut,
            _permit: permit,
            started: Instant::now(),
            position,
            live,
            then: Then::Open,
        }
    }

    pub fn body(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let stopped = self.shared.shutdown.clone().cancelled_owned();
        let chunks = stream::unfold(self, async |mut connection| {
            let chunk = connection.chunk().await?;
            Some((Ok(chunk), connection))
        });
        chunks.take_until(stopped)
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        match self.then {
            Then::Open => {
                self.then = Then::More;
                let faults = &self.shared.options.faults;
                let mark = if faults.bom { "\u{FEFF}" } else { "" };
                let eol = faults.line_end();
                return Some(format!("{mark}:ok{eol}{eol}").into());
            }
            Then::More => {}
            Then::Close => return None,
            Then::Silence | Then::Cut => pending().await,
        }
        let limit = self.paced_limit().await;
        let mut out = Vec::with_capacity(CHUNK + CHUNK / 8);
        self.then = self.fill(limit, &mut out);
        if self.then == Then::Cut {
            self.cut.after_what_was_sent();
        }
        Some(out.into())
    }

    /// Waits until something may be sent, and says up to which position.
    async fn paced_limit(&self) -> u64 {
        let rate = self.shared.options.rate;
        if rate == 0 {
            return u64::MAX;
        }
        loop {
            let due = self.started.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
            let limit = self.live.saturating_add(u64::try_from(due).unwrap_or(u64::MAX));
            if limit > self.position || self.position == self.shared.end {
                return limit;
            }
            let next =
                Duration::from_secs_f64((self.position + 1 - self.live) as f64 / rate as f64);
            sleep_until((self.started + next).max(Instant::now() + TICK)).await;
        }
    }

    fn fill(&mut self, limit: u64, out: &mut Vec<u8>) -> Then {
        let Shared { options, source, end, .. } = &*self.shared;
        let eol = options.faults.line_end();
        let mut state = self.shared.state();
        if state.paused {
            return Then::Silence;
        }
        loop {
            if self.position >= *end {
                return if options.close_at_end { Then::Close } else { Then::Silence };
            }
            if out.len() >= CHUNK || self.position >= limit {
                return Then::More;
            }
            match state.break_at(self.position, &options.faults) {
                None => {}
                Some(Break::Stall) => return Then::Silence,
                Some(Break::Error) => {
                    let message = r#"{"origin":"KafkaSSE","name":"Error","message":"replay: an error on demand"}"#;
                    out.extend_from_slice(
                        format!("event: error{eol}data: {message}{eol}{eol}").as_bytes(),
                    );
                    return Then::Close;
                }
                Some(Break::Cut { in_mid_event }) => {
                    if in_mid_event {
                        let begin = out.len();
                        source.write_event(self.position, eol, out);
                        out.truncate(begin + (out.len() - begin) / 2);
                    }
                    return Then::Cut;
                }
            }
            let begin = out.len();
            let event = source.write_event(self.position, eol, out);
            if self.position >= state.sent {
                if let Some(count) = event.count {
                    state.tally.add(count);
                }
                state.sent = self.position + 1;
            } else if !event.has_id {
                out.truncate(begin);
            }
            self.position += 1;
        }
    }
}
