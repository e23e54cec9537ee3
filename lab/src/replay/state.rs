//! What all connections share: how far the stream has come, the counts so far, which faults have happened, and who is
//! connected.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::replay::options::Faults;
use crate::replay::options::Options;
use crate::replay::source::Source;
use crate::replay::truth::Tally;
use crate::replay::truth::Truth;

pub struct Shared {
    pub options: Options,
    pub source: Source,
    /// The position after the last event; `u64::MAX` when there is none.
    pub end: u64,
    pub shutdown: CancellationToken,
    state: Mutex<State>,
}

pub struct State {
    /// The live position: all positions below it were sent.
    pub sent: u64,
    pub tally: Tally,
    /// No event is sent any more, and connections stay open.
    pub paused: bool,
    next_cut: u64,
    cuts: u64,
    next_error: u64,
    stalled: bool,
    to_refuse: u64,
    open: HashMap<IpAddr, usize>,
    opened: u64,
    refused: BTreeMap<u16, u64>,
}

/// How far the stream has come, and who reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// How many positions were sent; /truth is about these.
    pub sent: u64,
    /// Whether all events that there are (`--events`, `--file`) were sent.
    pub finished: bool,
    pub connections_open: usize,
    pub connections_opened: u64,
    /// Requests refused, by status.
    pub refused: BTreeMap<u16, u64>,
}

#[derive(Debug, PartialEq)]
pub enum Break {
    Cut { in_mid_event: bool },
    Error,
    Stall,
}

impl Shared {
    pub fn open(options: Options) -> anyhow::Result<Self> {
        let source = Source::open(&options)?;
        let faults = &options.faults;
        let state = State {
            sent: 0,
            tally: Tally::of(&source),
            paused: false,
            next_cut: faults.cut_every.unwrap_or(0),
            cuts: 0,
            next_error: faults.error_every.unwrap_or(0),
            stalled: false,
            to_refuse: faults.refuse_first,
            open: HashMap::new(),
            opened: 0,
            refused: BTreeMap::new(),
        };
        let end = options.events.unwrap_or(u64::MAX).min(source.len());
        Ok(Self {
            options,
            source,
            end,
            shutdown: CancellationToken::new(),
            state: Mutex::new(state),
        })
    }

    /// Locked while one chunk is made, at most, and never across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn truth(&self, top: usize) -> Truth {
        let tally = self.state().tally.clone();
        tally.truth(&self.source, top)
    }

    pub fn progress(&self) -> Progress {
        let state = self.state();
        Progress {
            sent: state.sent,
            finished: state.sent >= self.end,
            connections_open: state.open.values().sum(),
            connections_opened: state.opened,
            refused: state.refused.clone(),
        }
    }

    /// True for the first K requests, with `--refuse-first K`.
    pub fn refuses_next(&self) -> bool {
        let mut state = self.state();
        let refuses = state.to_refuse > 0;
        state.to_refuse = state.to_refuse.saturating_sub(1);
        refuses
    }

    pub fn count_refused(&self, status: u16) {
        *self.state().refused.entry(status).or_default() += 1;
    }

    /// A place among the connections of one address, until it is dropped.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let mut state = self.state();
        let open = state.open.entry(address).or_default();
        if *open >= self.options.connections {
            return None;
        }
        *open += 1;
        state.opened += 1;
        drop(state);
        Some(Permit { shared: Arc::clone(self), address })
    }
}

pub struct Permit {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(open) = self.shared.state().open.get_mut(&self.address) {
            *open -= 1;
        }
    }
}

impl State {
    /// What happens to a connection that is about to send this position. Each fault happens once, to the connection
    /// that comes first; the next connection gets past it.
    pub fn break_at(&mut self, position: u64, faults: &Faults) -> Option<Break> {
        if !self.stalled && faults.stall_after.is_some_and(|after| position >= after) {
            self.stalled = true;
            return Some(Break::Stall);
        }
        if let Some(every) = faults.cut_every.filter(|_| position >= self.next_cut) {
            self.next_cut = (position / every + 1) * every;
            self.cuts += 1;
            return Some(Break::Cut { in_mid_event: self.cuts.is_multiple_of(2) });
        }
        if let Some(every) = faults.error_every.filter(|_| position >= self.next_error) {
            self.next_error = (position / every + 1) * every;
            return Some(Break::Error);
        }
        None
    }
}
