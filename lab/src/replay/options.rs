//! The options of `cargo lab replay`: those of the stream, and those of its faults. `check`, `up` and `bench`, which
//! start the server inside their own process, fill the same struct, beginning with `Options::of` or
//! `Options::on_a_free_port`.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// A server that behaves like Wikimedia's RecentChange stream, and knows the right counts
///
/// It answers on http://127.0.0.1:7100/v2/stream/recentchange with events made from a seed: the same seed gives the
/// same events, byte for byte. `GET /truth` has the fields of /stats, with what a correct program has counted when it
/// has read everything that was sent so far. `GET /progress` says how many events these are.
///
/// The stream goes on only while somebody reads it. A connection without Last-Event-ID and `?since=` begins at the live
/// position, the end of what was sent so far. One with either begins at the first event whose millisecond is not
/// before the given one. As Wikimedia's server does, this one adds a millisecond to the time of an event in its id. A
/// client that sends the id back as it came misses other events of the same millisecond, if it has not read them yet;
/// one that takes the millisecond away again gets the last event, and often a few more, a second time.
///
/// The position of an event in the stream (0, 1, 2, ...) decides whether it has a fault, so the same options give the
/// same run. An event without a meta.id is never sent twice, because no program could tell it from a new one.
///
/// Examples:
///   cargo lab replay                                     like the real one, 40 events a second
///   cargo lab replay --rate 0 --events 1000000           a million events as fast as they are read
///   cargo lab replay --cut-every 500 --back 20           a bad day of the network
///   cargo lab replay --file fixtures/recentchange-real.sse
///   curl -sN -A me http://127.0.0.1:7100/v2/stream/recentchange
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7100")]
    pub address: SocketAddr,

    /// Events a second on each connection; 0 means as fast as they are read. Events that a resumed connection has
    /// missed come at full speed
    #[arg(long, default_value_t = 40)]
    pub rate: u64,

    /// End after this many events; the connection then stays open and silent, like a quiet stream
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// Close the connection after the last event
    #[arg(long)]
    pub close_at_end: bool,

    /// What the events are made from. An even seed names the data centre eqiad in the ids, an odd one codfw
    #[arg(long, default_value_t = 0, conflicts_with = "file")]
    pub seed: u64,

    /// Users to draw from, Zipf-distributed: a few do most of the edits, and many are never drawn
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..), conflicts_with = "file")]
    pub users: u32,

    /// Canary events in a thousand: they are not counted, but have an id like the others
    #[arg(long, value_name = "PER_THOUSAND", default_value_t = 3, conflicts_with = "file",
        value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub canaries: u32,

    /// Replay a captured stream from this file, with its ids and data as they are
    #[arg(long)]
    pub file: Option<PathBuf>,

    /// How many connections one address may have; a further one is refused with 429
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub connections: usize,

    /// Write the stream to stdout and serve nothing. Needs --events or --file
    #[arg(long)]
    pub stdout: bool,

    #[command(flatten)]
    pub faults: Faults,
}

/// All are off unless they are asked for. `every K` means at the positions K, 2K, 3K, ... where it is about a
/// connection, and once in each K positions where it is about an event.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Faults")]
pub struct Faults {
    /// Cut the connection every K events, abruptly; every second time in the middle of an event
    #[arg(long, value_name = "K", value_parser = at_least_one())]
    pub cut_every: Option<u64>,

    /// After a reconnect go back K more events than asked for
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub back: u64,

    /// Send nothing more after K events and leave the connection open; the next connection goes on
    #[arg(long, value_name = "K")]
    pub stall_after: Option<u64>,

    /// Send `event: error` every K events, and close, as the real service does
    #[arg(long, value_name = "K", value_parser = at_least_one())]
    pub error_every: Option<u64>,

    /// Begin each connection with a byte order mark
    #[arg(long)]
    pub bom: bool,

    /// End lines with CR LF
    #[arg(long, conflicts_with = "cr")]
    pub crlf: bool,

    /// End lines with CR alone
    #[arg(long)]
    pub cr: bool,

    /// One event in K has invalid UTF-8 in its title. By the WHATWG rule it is read as U+FFFD: the event still counts
    #[arg(long, value_name = "K", value_parser = at_least_one(), conflicts_with = "file")]
    pub invalid_utf8_every: Option<u64>,

    /// One event in K has a line longer than --long-bytes: a program must skip it, and it is not counted
    #[arg(long, value_name = "K", value_parser = at_least_one(), conflicts_with = "file")]
    pub long_every: Option<u64>,

    /// How long that line is
    #[arg(long, value_name = "BYTES", default_value_t = 2 * 1024 * 1024)]
    pub long_bytes: usize,

    /// One event in K is not a JSON object: it is not counted
    #[arg(long, value_name = "K", value_parser = at_least_one(), conflicts_with = "file")]
    pub garbage_every: Option<u64>,

    /// One event in K has one known field missing, null or of another type, one field after the other. It counts
    /// as if that field were absent
    #[arg(long, value_name = "K", value_parser = at_least_one(), conflicts_with = "file")]
    pub odd_every: Option<u64>,

    /// Refuse the first K connections
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub refuse_first: u64,

    /// The status to refuse them with
    #[arg(long, value_name = "STATUS", default_value_t = 503, value_parser = clap::value_parser!(u16).range(400..600))]
    pub refuse_status: u16,

    /// What Retry-After says on refused connections and on 429
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub retry_after: u64,
}

impl Faults {
    pub fn line_end(&self) -> &'static str {
        match (self.crlf, self.cr) {
            (true, _) => "\r\n",
            (false, true) => "\r",
            (false, false) => "\n",
        }
    }
}

fn at_least_one() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..)
}

impl Options {
    /// On a free port, and with so many events, which come as fast as they are read.
    pub fn of(events: u64) -> Self {
        Self { rate: 0, events: Some(events), ..Self::on_a_free_port() }
    }

    pub fn on_a_free_port() -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, 0).into(), ..Self::default() }
    }
}

impl Default for Options {
    /// The command line's defaults, so that they are written down once.
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            options: Options,
        }
        Alone::parse_from(["replay"]).options
    }
}
