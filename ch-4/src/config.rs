//! The configuration, one struct for each role. A value is looked for on the command line, then in the environment,
//! then in a file. If it is nowhere, the default is used. main.rs calls `parse` before anything else.

mod file;
mod read;
#[cfg(test)]
mod tests;
mod url;
mod values;

use std::net::SocketAddr;

use clap::Args;
use clap::ValueEnum;
use reqwest::header::HeaderValue;

pub use crate::config::read::parse;
pub use crate::config::url::PrivateUrl;
use crate::resume::Resume;

#[derive(Args)]
pub struct Serve {
    /// Address on which the program serves HTTP. Example: 127.0.0.1:7000
    #[arg(long, env, default_value = "0.0.0.0:7000")]
    pub http_addr: SocketAddr,

    #[command(flatten)]
    pub stream: Stream,

    #[command(flatten)]
    pub store: Store,

    #[command(flatten)]
    pub auth: Auth,
}

#[derive(Args)]
pub struct Watch {
    #[command(flatten)]
    pub stream: Stream,

    /// Stop after this many events. Example: 10
    #[arg(long)]
    pub limit: Option<usize>,

    /// Continue where an earlier run stopped. The value is what that run printed at its end, or an `id:` of the stream.
    #[arg(long)]
    pub resume: Option<Resume>,
}

#[derive(Args)]
pub struct Healthcheck {
    /// Address of the server whose `/status` is asked. For 0.0.0.0 or [::], the loopback address is asked. Example: 127.0.0.1:7000
    #[arg(long, env, default_value = "0.0.0.0:7000")]
    pub http_addr: SocketAddr,
}

#[derive(Args)]
pub struct Stream {
    /// URL of the RecentChange stream. Example: https://stream.wikimedia.org/v2/stream/recentchange
    #[arg(
        long,
        env,
        hide_env_values = true,
        default_value = "https://stream.wikimedia.org/v2/stream/recentchange"
    )]
    pub wikipedia_stream_url: PrivateUrl,

    /// Name, version and contact of this client; Wikimedia refuses a client that does not give them. Example: my-course/1.0 (me@example.org)
    #[arg(
        long,
        env,
        default_value = concat!("recentchange-course/", env!("CARGO_PKG_VERSION"), " (", env!("CARGO_PKG_REPOSITORY"), ")"),
        value_parser = values::header_value
    )]
    pub user_agent: HeaderValue,
}

#[derive(Args)]
pub struct Store {
    /// Where statistics and users are kept. Example: cassandra
    #[arg(long, env, default_value = "memory")]
    pub storage: Storage,

    /// Cassandra nodes to connect to first, separated by commas. Example: 127.0.0.1:9042
    #[arg(long, env, default_value = "127.0.0.1:9042", value_delimiter = ',', value_parser = values::node)]
    pub cassandra_nodes: Vec<String>,

    /// Cassandra keyspace; it is created if it does not exist. Example: analytics
    #[arg(long, env, default_value = "analytics", value_parser = values::keyspace)]
    pub cassandra_keyspace: String,

    /// Number of copies of each row in a new keyspace. Example: 3
    #[arg(long, env, default_value = "1", value_parser = clap::value_parser!(u8).range(1..))]
    pub cassandra_replication: u8,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Storage {
    #[value(alias = "in-memory")]
    Memory,
    Cassandra,
}

#[derive(Args)]
pub struct Auth {
    /// Secret key that signs the tokens, at least 32 bytes long. Example: $(openssl rand -hex 32)
    #[arg(long, env, hide_env_values = true, value_parser = values::secret)]
    pub jwt_secret: String,

    /// Name of the user who may log in. Example: admin
    #[arg(long, env, value_parser = values::not_empty)]
    pub admin_username: String,

    /// Argon2id hash of this user's password; in .env it must be in single quotes, because of the `$`. Example: '$argon2id$v=19$m=19456,t=2,p=1$…'
    #[arg(long, env, hide_env_values = true, value_parser = values::password_hash)]
    pub admin_password_hash: String,
}

/// The defaults, except for some options of the command line.
#[cfg(test)]
pub fn for_test<T: Args>(options: &[&str]) -> T {
    let command = T::augment_args(clap::Command::new("test").no_binary_name(true));
    T::from_arg_matches(&command.get_matches_from(options)).unwrap()
}
