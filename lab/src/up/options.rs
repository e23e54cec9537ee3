//! The options of `cargo lab up`, and which of them have no effect in a chapter.

use anyhow::Result;
use anyhow::ensure;

use crate::chapters;
use crate::services;

/// Runs a chapter with all that it needs, and shows what it does
///
/// The stream comes from lab's own replay, or from Wikimedia with --live. The counts are kept in memory, and the
/// secrets are made up for this run. From ch-5 on there are two programs with a broker between them. This is a small
/// one in memory, which keeps 5 MiB of each partition and says when it drops older messages, or the one that --broker
/// names. Nothing is installed, and nothing is left behind. Ctrl-C ends all of it.
///
///   cargo lab up                      the newest chapter
///   cargo lab up 3 --rate 5000        chapter 3, with more events a second
///   cargo lab up --live               the real stream; needs the network
///   cargo lab up 3 --port 7001        if another program has port 7000
///   cargo lab services up kafka && cargo lab up 5 --broker 127.0.0.1:9092
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter, as in 3 or ch-3 [default: the newest]
    #[arg(value_parser = chapters::number)]
    pub chapter: Option<u8>,

    /// Read Wikimedia's stream instead of the replay
    #[arg(long, conflicts_with = "rate")]
    pub live: bool,

    /// Events a second of the replay; 0 means as fast as they are read [default: 40, as on an ordinary day; from ch-5
    /// on 200]
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,

    /// The port of the chapter's HTTP server, from ch-5 on that of the consumer [default: 7000; from ch-5 on 8080]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// The port of the producer's HTTP server, from ch-5 on [default: 2112]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub producer_port: Option<u16>,

    /// A Kafka or Redpanda that runs already, from ch-5 on. A topic is created there for this run, and deleted at its
    /// end
    #[arg(long, value_name = "HOST:PORT", value_parser = |text: &str| services::addresses(text, 9092))]
    pub broker: Option<String>,

    /// End by itself after so many seconds
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
}

impl Options {
    /// # Errors
    /// An option is given that would change nothing in `chapter`.
    pub fn have_an_effect(&self, chapter: u8) -> Result<()> {
        for (option, is_given, first) in [
            ("--live", self.live, 2),
            ("--rate", self.rate.is_some(), 2),
            ("--producer-port", self.producer_port.is_some(), 5),
            ("--broker", self.broker.is_some(), 5),
        ] {
            ensure!(
                !is_given || chapter >= first,
                "{option} is for chapter {first} and later: it would change nothing in chapter {chapter}"
            );
        }
        Ok(())
    }
}
