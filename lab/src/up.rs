//! `cargo lab up`: runs a chapter on this machine with all that it needs, and shows what it does while it does it.
//! The chapter's programs are not changed for this. They run as processes of their own, and lab gives them a stream to
//! read, a broker where they need one, and secrets.

mod options;
mod parts;
mod ports;
mod secret;
mod table;
mod topic;
mod view;

use std::cmp::Ordering;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use crate::chapters;
use crate::screen;
use crate::screen::grouped;
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
    let mut shown = tokio::select! {
        shown = start_and_show(&mut parts, &options) => shown,
        _ = stop => Ok(()),
    };
    if shown.is_ok() && parts.has_started() {
        shown = last_words(&mut parts).await;
    } else if shown.is_ok() {
        eprintln!("ended before {} was up", chapters::name(chapter));
    }
    // Also after a start that was broken off: a topic of ours on somebody's broker must go.
    let ended = parts.stop().await;
    shown.and(ended)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints whether all that was sent is counted, and what to read next.
async fn last_words(parts: &mut Parts) -> Result<()> {
    let name = chapters::name(parts.chapter);
    let counted = match parts.settle().await? {
        Some((counted, sent)) if sent > 0 => format!("{}\n", verdict(counted, sent)),
        _ => parts.silence().await?.unwrap_or_default(),
    };
    let next = chapters::pick(Some(parts.chapter + 1)).map_or(String::new(), |next| {
        format!(", and `cargo lab diff {} {next}` what comes next", parts.chapter)
    });
    let _ = screen::print(&format!("\n{counted}{name}/README.md explains what you saw{next}.\n"));
    Ok(())
}

fn verdict(counted: u64, sent: u64) -> String {
    let numbers =
        format!("counted {} of {} events that were sent", grouped(counted), grouped(sent));
    match counted.cmp(&sent) {
        Ordering::Equal => format!("{numbers}: each once."),
        Ordering::Less => {
            format!("{numbers}: {} were not counted in time.", grouped(sent - counted))
        }
        Ordering::Greater => format!("{numbers}: {} too many.", grouped(counted - sent)),
    }
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
        parts.check().await?;
        let updated = view.update(parts).await;
        if updated.is_err() {
            // A program that has just ended is the reason why it did not answer.
            parts.check().await?;
        }
        if !updated? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_says_whether_all_is_counted() {
        assert_eq!(
            verdict(1_234, 1_234),
            "counted 1,234 of 1,234 events that were sent: each once."
        );
        assert!(verdict(1, 3).ends_with(": 2 were not counted in time."));
        assert!(verdict(3, 1).ends_with(": 2 too many."));
    }
}
