//! `cargo lab up`: the main job of a chapter on this machine alone, and what it does, shown as it happens.
//! The chapter runs as it is, a process of its own; only its stream and its secrets come from lab.

mod parts;
mod ports;
mod table;
mod topic;
mod view;

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use self::parts::Parts;
use self::view::View;
use crate::chapters;
use crate::screen;
use crate::stop;

/// Runs a chapter with all that it needs, and shows what it does
///
/// The stream is lab's own replay, or Wikimedia with --live; the store is memory; the secrets are made up for this
/// run. From ch-5 on both roles run, around a broker in memory that lab brings. It keeps 5 MiB a partition and drops
/// what is older, which is told when it happens; --broker takes a real one. Nothing is installed and nothing stays
/// behind. Ctrl-C ends all of it.
///
///   cargo lab up                      the newest chapter
///   cargo lab up 3 --rate 5000        chapter 3, and a busier world
///   cargo lab up --live               the real stream; needs the network
///   cargo lab up 3 --port 7001        if another program has port 7000
///   cargo lab services up kafka && cargo lab up 5 --broker 127.0.0.1:9092
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter; the newest where none is given
    chapter: Option<u8>,

    /// Read Wikimedia's stream instead of the replay
    #[arg(long, conflicts_with = "rate")]
    live: bool,

    /// Events a second of the replay; 0 is as fast as they are read [default: 40, as on an ordinary day; from ch-5 on 200]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,

    /// The port of the chapter's HTTP server, from ch-5 on the consumer's, on 127.0.0.1 [default: 7000; from ch-5 on 8080]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// The port of the producer's HTTP server, from ch-5 on
    #[arg(long, value_name = "PORT", default_value_t = 2112, value_parser = clap::value_parser!(u16).range(1..))]
    producer_port: u16,

    /// A Kafka or Redpanda that runs already, from ch-5 on; a topic is made there for this run, and deleted at its end
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,

    /// End by itself after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

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
    let pause = if screen::is_interactive() {
        REDRAW
    } else {
        PLAIN_LINE
    };
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
        // A closed pipe: nobody looks any more.
        if view.update(parts).await?.is_err() {
            return Ok(());
        }
    }
}
