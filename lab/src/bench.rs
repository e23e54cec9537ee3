//! `cargo lab bench`: measures how fast the chapters are, and how fast they could be at most. It is not a test: nothing
//! fails because it is slow, for a machine that does something else meanwhile is slow too.

mod load;
mod machine;
mod pipeline;
mod producer;
mod reader;
mod replay;
mod role;
mod rounds;
mod row;
mod server;
mod stream;
mod table;
mod usage;

use std::process::ExitCode;

use anyhow::Result;
use anyhow::bail;

use crate::stop;

/// Measures how fast a chapter is, and compares it with what the same work costs at least
///
///   cargo lab bench stream            reads, parses and counts events; answers /stats meanwhile; memory
///   cargo lab bench pipeline          the same through a broker: producer and consumer, from chapter 5 on
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    Stream(stream::Options),
    Pipeline(pipeline::Options),
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let stop = stop::signals()?;
    let measured = async {
        match options.bench {
            Bench::Stream(options) => stream::run(options).await,
            Bench::Pipeline(options) => pipeline::run(options).await,
        }
    };
    // What runs is dropped with the future, and thereby killed.
    tokio::select! {
        ended = measured => ended,
        signal = stop => bail!("ended by {signal}"),
    }
}
