//! The part of lab that speaks Kafka: a small broker in this process, and what is asked of any broker. In a crate of
//! its own, so that librdkafka is compiled only where a command needs it. Each subcommand answers with lines of JSON on
//! stdout; an error is one line on stderr, and exit status 1.
#![expect(clippy::print_stdout, reason = "lines of JSON on stdout are the answer")]

mod client;
mod produce;
mod read;
mod record;
mod serve;
mod topics;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::Subcommand;

/// Speaks Kafka for lab: `cargo lab` starts it.
#[derive(Parser)]
#[command(name = "lab-broker", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be a broker, in memory, until stdin is closed. Prints `{"bootstrap":"127.0.0.1:N"}` first.
    ///
    /// It has no admin API: a line `{"create":"NAME","partitions":6}` on stdin creates a topic, answered by
    /// `{"created":"NAME"}` or `{"refused":"NAME","reason":"…"}`. It keeps 5 MiB a partition; when it drops the first of a
    /// partition, it prints `{"evicted":{"topic":"…","partition":0,"low":7,"high":9}}`, but not of a topic whose line said
    /// `"compacted":true`.
    Serve,
    /// Show a topic's partitions, with the group's committed offsets where a group is named.
    Topic {
        #[command(flatten)]
        topic: Named,
        /// A consumer group. Example: wikipedia-consumer-group
        #[arg(long)]
        group: Option<String>,
    },
    /// Create a topic.
    Create {
        #[command(flatten)]
        topic: Named,
        /// Example: 6
        #[arg(long)]
        partitions: i32,
        /// A setting of the topic, as often as needed. Example: cleanup.policy=compact
        #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
        config: Vec<(String, String)>,
    },
    /// Delete a topic; it is no error where there is none.
    Delete {
        #[command(flatten)]
        topic: Named,
    },
    /// Write the records on stdin, a JSON object a line, and wait until all are acknowledged.
    ///
    /// `{"key":"a","value":"text"}`; also `"value":{"base64":"AAE="}`, `"partition":0`, `"headers":{"id":"7"}`.
    Produce {
        #[command(flatten)]
        topic: Named,
        /// How the batches are compressed: none, gzip, snappy, lz4 or zstd.
        #[arg(long, default_value = "none")]
        codec: String,
    },
    /// Delete the records of each partition whose offsets are below a number.
    DeleteRecords {
        #[command(flatten)]
        topic: Named,
        /// Example: 100
        #[arg(long)]
        before: i64,
    },
    /// Print every record from the beginning to where the partitions end now, as `produce` takes them.
    Consume {
        #[command(flatten)]
        topic: Named,
        /// At most so many records.
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
    },
    /// Read as `consume` does, but look at nothing: what librdkafka itself can do.
    Count {
        #[command(flatten)]
        topic: Named,
    },
}

#[derive(clap::Args)]
struct Named {
    /// Where the broker is. Example: 127.0.0.1:9092
    #[arg(long, value_name = "HOST:PORT")]
    broker: String,
    name: String,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve => serve::run(),
        Command::Topic { topic, group } => {
            topics::show(&topic.broker, &topic.name, group.as_deref())
        }
        Command::Create { topic, partitions, config } => {
            topics::create(&topic.broker, &topic.name, partitions, &config)
        }
        Command::Delete { topic } => topics::delete(&topic.broker, &topic.name),
        Command::Produce { topic, codec } => produce::run(&topic.broker, &topic.name, &codec),
        Command::DeleteRecords { topic, before } => {
            topics::delete_records(&topic.broker, &topic.name, before)
        }
        Command::Consume { topic, limit } => read::print(&topic.broker, &topic.name, limit),
        Command::Count { topic } => read::count(&topic.broker, &topic.name),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn setting_needs_a_name() {
        let parsed = setting("cleanup.policy=a=b").unwrap();
        assert_eq!(parsed, ("cleanup.policy".to_owned(), "a=b".to_owned()));
        assert!(setting("=x").is_err() && setting("x").is_err());
    }
}
