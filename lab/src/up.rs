//! `cargo lab up`: the main job of a chapter on this machine alone, and what it does, shown as it happens.
//! The chapter runs as it is, a process of its own; only its stream and its secrets come from lab.

mod options;
mod parts;
mod ports;
mod secret;
mod table;
mod topic;
mod view;

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use crate::chapters;
use crate::screen;
use crate::stop;
pub use crate::up::options::Options;
use crate::up::parts::Parts;
use crate::up::view::View;

/// How often the screen is drawn, and how often a line is printed where there is no screen.
const REDRAW: Duration = Duration::from_millis(500);
const PLAIN_LINE: Duration = Duration::from_secs(5);

pub async fn run(options: Options) -> Result<ExitCode> {
    let stop = stop::signals()?;
    let chapter = chapters::pick(options.chapter)?;
    let mut parts = Parts::of(chapter);
    let shown = tokio::select! {
        shown = start_and_show(&mut parts, &options) => shown,
        _ = stop => Ok(()),
    };
    // Also after a start that was broken off: a topic of ours on somebody's broker must go.
    let ended = parts.stop().await;
    shown.and(ended)?;
    Ok(ExitCode::SUCCESS)
}

async fn start_and_show(parts: &mut Parts, options: &Options) -> Result<()> {
    parts.start(options).await?;
    show(parts, options.seconds).await
}

/// Shows what the parts do, until the time is over or one of them has ended.
async fn show(parts: &mut Parts, seconds: Option<u64>) -> Result<()> {
    let start = Instant::now();
    let limit = seconds.map(Duration::from_secs);
    let pause = if screen::is_interactive() { REDRAW } else { PLAIN_LINE };
    let mut view = View::new(parts)?;
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let rest = limit.map_or(pause, |limit| limit.saturating_sub(start.elapsed()));
        tokio::select! {
            _ = ticks.tick() => (),
            () = tokio::time::sleep(rest), if limit.is_some() => return Ok(()),
        }
        parts.check()?;
        if !view.update(parts).await? {
            return Ok(());
        }
    }
}
