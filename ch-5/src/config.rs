//! Configuration: one struct a role. A value comes from the command line, else from the environment, else from the
//! file that CONFIG_FILE names (`.env` without it), else from its default. main.rs parses it before all else.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use clap::Arg;
use clap::Args;
use clap::Command;
use clap::Parser;
use clap::ValueEnum;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::resume::Resume;

/// What checking a password may take: memory in KiB, and passes over it.
const MEMORY_LIMIT: u32 = 256 * 1024;
const PASSES_LIMIT: u32 = 16;

#[derive(Args)]
pub struct Producer {
    /// Address that HTTP is served on; the consumer's default has port 8080. Example: 127.0.0.1:2112
    #[arg(long, env, default_value = "0.0.0.0:2112")]
    pub http_addr: SocketAddr,

    #[command(flatten)]
    pub stream: Stream,

    #[command(flatten)]
    pub broker: Broker,

    /// Topic that keeps the place in the stream; the topic's own name with `.cursor` where it is not set. Example: wikipedia.changes.cursor
    #[arg(long, env, value_parser = topic)]
    pub cursor_topic: Option<String>,
}

impl Producer {
    pub fn cursor_topic(&self) -> String {
        let default = || format!("{}.cursor", self.broker.wikipedia_topic);
        self.cursor_topic.clone().unwrap_or_else(default)
    }
}

#[derive(Args)]
pub struct Consumer {
    /// Address that HTTP is served on. Example: 127.0.0.1:8080
    #[arg(long, env, default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,

    #[command(flatten)]
    pub broker: Broker,

    /// Group whose members share the topic's partitions. Example: wikipedia-consumer-group
    #[arg(long, env, default_value = "wikipedia-consumer-group", value_parser = not_empty)]
    pub consumer_group: String,

    #[command(flatten)]
    pub store: Store,

    #[command(flatten)]
    pub auth: Auth,
}

#[derive(Args)]
pub struct Watch {
    #[command(flatten)]
    pub stream: Stream,

    /// End after this many events. Example: 10
    #[arg(long)]
    pub limit: Option<usize>,

    /// Go on where an earlier run stopped: what it printed at its end, or a bare `id:` of the stream.
    #[arg(long)]
    pub resume: Option<Resume>,
}

#[derive(Args)]
pub struct Healthcheck {
    /// Address whose `/status` is asked; an unspecified one is asked on loopback. Example: 127.0.0.1:8080
    #[arg(long, env, default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,
}

#[derive(Args)]
pub struct Stream {
    /// RecentChange stream to read. Example: https://stream.wikimedia.org/v2/stream/recentchange
    #[arg(
        long,
        env,
        default_value = "https://stream.wikimedia.org/v2/stream/recentchange",
        value_parser = http_url
    )]
    pub wikipedia_stream_url: Url,

    /// Who asks: name, version and a contact; Wikimedia refuses others. Example: my-course/1.0 (me@example.org)
    #[arg(
        long,
        env,
        default_value = concat!("recentchange-course/", env!("CARGO_PKG_VERSION"), " (", env!("CARGO_PKG_REPOSITORY"), ")"),
        value_parser = header_value
    )]
    pub user_agent: HeaderValue,
}

#[derive(Args, Clone)]
pub struct Broker {
    /// Kafka or Redpanda brokers to ask first, separated by commas. Example: 127.0.0.1:9092
    #[arg(long, env, default_value = "127.0.0.1:9092", value_delimiter = ',', value_parser = node)]
    pub redpanda_broker: Vec<String>,

    /// Further properties of librdkafka, separated by commas. Example: socket.timeout.ms=30000,client.rack=a
    #[arg(long, env, default_value = "", hide_env_values = true, value_parser = properties)]
    pub redpanda_properties: Properties,

    /// Topic of the events. Example: wikipedia.changes
    #[arg(long, env, default_value = "wikipedia.changes", value_parser = topic)]
    pub wikipedia_topic: String,

    /// Partitions that a new topic gets. Example: 6
    #[arg(long, env, default_value = "6", value_parser = clap::value_parser!(i32).range(1..))]
    pub wikipedia_topic_partitions: i32,

    /// Copies that a new topic keeps of each event. Example: 3
    #[arg(long, env, default_value = "1", value_parser = clap::value_parser!(i32).range(1..))]
    pub wikipedia_topic_replication: i32,
}

#[cfg(test)]
impl Broker {
    pub fn for_test(servers: &[String]) -> Self {
        Self {
            redpanda_broker: servers.to_vec(),
            redpanda_properties: Properties::default(),
            wikipedia_topic: "wikipedia.changes".to_owned(),
            wikipedia_topic_partitions: 6,
            wikipedia_topic_replication: 1,
        }
    }
}

/// Names and values, in their order.
#[derive(Clone, Default)]
pub struct Properties(pub Vec<(String, String)>);

#[derive(Args)]
pub struct Store {
    /// Where statistics and users are kept: memory or cassandra. Example: cassandra
    #[arg(long, env, default_value = "memory")]
    pub storage: Storage,

    /// Cassandra nodes to ask first, separated by commas. Example: 127.0.0.1:9042
    #[arg(long, env, default_value = "127.0.0.1:9042", value_delimiter = ',', value_parser = node)]
    pub cassandra_nodes: Vec<String>,

    /// Cassandra keyspace, created where it is missing. Example: analytics
    #[arg(long, env, default_value = "analytics", value_parser = identifier)]
    pub cassandra_keyspace: String,

    /// Copies that a new keyspace keeps of each row. Example: 3
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
    /// Key that signs tokens, at least 32 bytes. Example: $(openssl rand -hex 32)
    #[arg(long, env, hide_env_values = true, value_parser = secret)]
    pub jwt_secret: String,

    /// Name of the first user. Example: admin
    #[arg(long, env, value_parser = not_empty)]
    pub admin_username: String,

    /// Argon2id hash of the first user's password; `$` needs single quotes in .env. Example: '$argon2id$v=19$m=19456,t=2,p=1$…'
    #[arg(long, env, hide_env_values = true, value_parser = password_hash)]
    pub admin_password_hash: String,
}

/// RFC 7518, section 3.2: a key for HS256 has at least as many bits as the hash.
fn secret(text: &str) -> Result<String, String> {
    match text.len() {
        0..32 => Err(format!("{} bytes, at least 32 are needed", text.len())),
        _ => Ok(text.to_owned()),
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn password_hash(text: &str) -> Result<String, String> {
    let hash = PasswordHash::new(text).map_err(|_| {
        "not a hash in PHC form ($argon2id$…); without single quotes $ is expanded".to_owned()
    })?;
    if hash.algorithm.as_str() != "argon2id" || hash.version != Some(19) || hash.hash.is_none() {
        return Err("not a whole argon2id hash of version 19".to_owned());
    }
    match Params::try_from(&hash) {
        Ok(params) if params.m_cost() <= MEMORY_LIMIT && params.t_cost() <= PASSES_LIMIT => {
            Ok(text.to_owned())
        }
        _ => Err("not a hash that can be checked here, its m, t or p is out of bounds".to_owned()),
    }
}

fn node(text: &str) -> Result<String, String> {
    match text.trim().rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.trim().to_owned())
        }
        _ => Err("not host:port".to_owned()),
    }
}

/// What may be wrong with a value is not told: it can be a password.
fn properties(text: &str) -> Result<Properties, String> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pairs = pairs.map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("not name=value, or several of them with commas between".to_owned()),
    });
    pairs.collect::<Result<_, _>>().map(Properties)
}

fn topic(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.len() {
        1..=249 if text.chars().all(legal) && text != "." && text != ".." => Ok(text.to_owned()),
        _ => Err("not 1 to 249 letters, digits, dots, _ or -".to_owned()),
    }
}

/// It becomes part of a statement, which takes no parameters there.
fn identifier(text: &str) -> Result<String, String> {
    let letters = text.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match letters && rest && text.len() <= 48 {
        true => Ok(text.to_owned()),
        false => Err("not a lower-case letter and up to 47 letters, digits or _".to_owned()),
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("not a URL that begins with http:// or https://".to_owned()),
    }
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    if text.trim().is_empty() {
        return Err("empty".to_owned());
    }
    HeaderValue::from_str(text).map_err(|_| "holds characters that a header can't".to_owned())
}

/// Reads the configuration, or ends the process with one line that says what to mend.
pub fn parse<C: Parser>() -> C {
    if let Err(message) = load_file() {
        fail(&message);
    }
    let command = C::command();
    if let Some(name) = not_unicode(&command) {
        fail(&format!("{name}: not valid UTF-8"));
    }
    let variables = variables(&command);
    let mut command = command.after_help(variables);
    let arguments: Vec<OsString> = env::args_os().collect();
    match try_parse(&mut command, arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => match explain(&command, &arguments, &error) {
            Some(message) => fail(&message),
            None => error.exit(),
        },
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    process::exit(2)
}

fn try_parse<C: Parser>(command: &mut Command, arguments: Vec<OsString>) -> Result<C, clap::Error> {
    let matches = command.try_get_matches_from_mut(&arguments);
    C::from_arg_matches(&matches?)
}

/// Puts the file's variables into the environment, where they don't stand yet.
fn load_file() -> Result<(), String> {
    let named = env::var_os("CONFIG_FILE").filter(|name| !name.is_empty());
    let path = Path::new(named.as_deref().unwrap_or(".env".as_ref()));
    match check_file(path).and_then(|()| dotenvy::from_path(path)) {
        Ok(()) => Ok(()),
        Err(error) if error.not_found() && named.is_none() => Ok(()),
        Err(error) if error.not_found() => Err(format!(
            "CONFIG_FILE: there is no file {path:?}; example: CONFIG_FILE=.env"
        )),
        // The line is not shown, it may hold a secret.
        Err(dotenvy::Error::LineParse(line, _)) => Err(format!(
            "{}: line {} is not NAME=value; example: HTTP_ADDR=127.0.0.1:7000, or with spaces or $: NAME='a $ b'",
            path.display(),
            line_number(path, &line)
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The environment takes no NUL, and would panic.
fn check_file(path: &Path) -> dotenvy::Result<()> {
    for variable in dotenvy::from_path_iter(path)? {
        let (name, value) = variable?;
        if name.contains('\0') || value.contains('\0') {
            let reason = format!("the value of {name:?} holds a NUL");
            return Err(dotenvy::Error::Io(io::Error::other(reason)));
        }
    }
    Ok(())
}

fn line_number(path: &Path, line: &str) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.find(line)
        .map_or(1, |at| text[..at].lines().count() + 1)
}

/// Every variable with its meaning, for `--help`.
fn variables(command: &Command) -> String {
    let mut text =
        "Variables, from the environment or from .env (CONFIG_FILE names another file):\n"
            .to_owned();
    let mut known: Vec<String> = Vec::new();
    for argument in all_arguments(command) {
        let Some(name) = argument
            .get_env()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            continue;
        };
        let meaning = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        if !known.contains(&name) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {name:<27} {meaning}{}", default(argument));
            known.push(name);
        }
    }
    text
}

/// clap would not say which.
fn not_unicode(command: &Command) -> Option<&str> {
    let names = all_arguments(command)
        .into_iter()
        .filter_map(|argument| argument.get_env()?.to_str());
    names
        .into_iter()
        .find(|name| env::var_os(name).is_some_and(|value| value.to_str().is_none()))
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values();
    values
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| format!(" [default: {}]", value.to_string_lossy()))
        .collect()
}

fn all_arguments(command: &Command) -> Vec<&Arg> {
    let mut arguments: Vec<&Arg> = command.get_arguments().collect();
    arguments.extend(command.get_subcommands().flat_map(all_arguments));
    arguments
}

/// One line about a variable: its name, what was wrong, an example; `None` where clap's own text serves better.
/// A secret's value is not shown.
fn explain(command: &Command, arguments: &[OsString], error: &clap::Error) -> Option<String> {
    let named = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(named) => named.clone(),
        ContextValue::Strings(named) => named.first()?.clone(),
        _ => return None,
    };
    let variable = named.split(['<', '>']).nth(1)?;
    // A variable that several roles have is that of the role asked for.
    let mut roles = arguments
        .iter()
        .filter_map(|name| command.find_subcommand(name));
    let argument = roles
        .next()
        .map_or_else(Vec::new, all_arguments)
        .into_iter()
        .chain(all_arguments(command))
        .find(|argument| argument.get_env().is_some_and(|name| name == variable))?;
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let example = help.split("Example: ").nth(1).unwrap_or_default();
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !argument.is_hide_env_values_set() => {
            format!(" {value:?}")
        }
        _ => String::new(),
    };
    let wrong = match (error.kind(), error.source()) {
        (ErrorKind::MissingRequiredArgument, _) => "not set".to_owned(),
        (ErrorKind::ValueValidation, Some(reason)) => reason.to_string(),
        (ErrorKind::InvalidValue, _) => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("not one of {}", valid.join(", ")),
            _ => "not a value".to_owned(),
        },
        _ => return None,
    };
    Some(format!(
        "{variable}{value}: {wrong}; example: {variable}={example}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    fn message(role: &str, argument: &str) -> String {
        let mut command = Cli::command();
        let arguments = ["program", role, argument].map(OsString::from).to_vec();
        let error = try_parse::<Cli>(&mut command, arguments.clone())
            .err()
            .unwrap();
        explain(&command, &arguments, &error).unwrap()
    }

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_value_is_one_line_with_the_variable_the_reason_and_an_example() {
        for (role, port) in [("consumer", 8080), ("producer", 2112)] {
            assert_eq!(
                message(role, "--http-addr=localhost"),
                format!(
                    r#"HTTP_ADDR "localhost": invalid socket address syntax; example: HTTP_ADDR=127.0.0.1:{port}"#
                )
            );
        }
        let message = message("watch", "--wikipedia-stream-url=ftp://example.org");
        assert!(message.starts_with(r#"WIKIPEDIA_STREAM_URL "ftp://example.org": not a URL that"#));
        assert!(!message.contains('\n'));
    }

    #[test]
    fn user_agent_is_a_header_and_not_empty() {
        assert!(message("watch", "--user-agent= ").starts_with(r#"USER_AGENT " ": empty; ex"#));
        let message = message("watch", "--user-agent=a\nb");
        assert!(message.starts_with(r#"USER_AGENT "a\nb": holds characters"#));
    }

    #[test]
    fn every_variable_has_an_example() {
        for argument in all_arguments(&Cli::command()) {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                argument.get_env().is_none() || help.contains("Example: "),
                "{argument}"
            );
        }
    }

    #[test]
    fn secret_is_checked_and_never_shown() {
        assert_eq!(
            message("consumer", "--jwt-secret=hunter2"),
            "JWT_SECRET: 7 bytes, at least 32 are needed; example: JWT_SECRET=$(openssl rand -hex 32)"
        );
        let dear = "$argon2id$v=19$m=19456,t=4000000,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        for hash in [
            dear,
            "hunter2",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$argon2id$v=19$",
        ] {
            let message = message("consumer", &format!("--admin-password-hash={hash}"));
            assert!(
                message.starts_with("ADMIN_PASSWORD_HASH: not a "),
                "{message}"
            );
            assert!(
                !message.contains("hunter2") && !message.contains("aGFzaG"),
                "{message}"
            );
        }
    }

    #[test]
    fn store_takes_nodes_and_a_keyspace_that_are_some() {
        let nodes = message("consumer", "--cassandra-nodes=a:1,b");
        assert!(
            nodes.starts_with(r#"CASSANDRA_NODES "b": not host:port; example: "#),
            "{nodes}"
        );
        let keyspace = message("consumer", "--cassandra-keyspace=a; DROP KEYSPACE b");
        assert!(keyspace.starts_with("CASSANDRA_KEYSPACE"), "{keyspace}");
        assert!(
            message("consumer", "--cassandra-replication=0").starts_with("CASSANDRA_REPLICATION")
        );
        assert!(message("consumer", "--storage=disk").contains("not one of memory, cassandra"));
    }

    #[test]
    fn broker_takes_servers_topics_and_properties_that_are_some() {
        let servers = message("producer", "--redpanda-broker=a:1,b");
        assert!(
            servers.starts_with(r#"REDPANDA_BROKER "b": not host:port"#),
            "{servers}"
        );
        let topic = message("consumer", "--wikipedia-topic=a b");
        assert!(
            topic.starts_with(r#"WIKIPEDIA_TOPIC "a b": not 1 to 249"#),
            "{topic}"
        );
        assert!(message("producer", "--wikipedia-topic-partitions=0").contains("PARTITIONS"));
        let properties = message("producer", "--redpanda-properties=sasl.password:hunter2");
        assert!(
            properties.starts_with("REDPANDA_PROPERTIES: not name=value"),
            "{properties}"
        );
        assert!(!properties.contains("hunter2"), "{properties}");
        let two = super::properties(" a=1, b = x=y ,").unwrap().0;
        assert_eq!(
            two,
            [("a", "1"), ("b", "x=y")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert!(super::properties("").unwrap().0.is_empty());
    }

    #[test]
    fn example_file_is_a_configuration() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
        let variables = dotenvy::from_path_iter(path).unwrap().map(Result::unwrap);
        let variables: Vec<(String, String)> = variables.collect();
        let command = Cli::command();
        let of_role = |role: &str| {
            let known = all_arguments(command.find_subcommand(role).unwrap());
            let is_known = |name: &str| {
                let mut names = known.iter().filter_map(|argument| argument.get_env());
                names.any(|known| known == name)
            };
            let options = variables.iter().filter(|(name, _)| is_known(name));
            let options = options.map(|(name, value)| {
                format!("--{}={value}", name.to_lowercase().replace('_', "-")).into()
            });
            let arguments = ["program".into(), role.into()]
                .into_iter()
                .chain(options)
                .collect();
            try_parse::<Cli>(&mut Cli::command(), arguments)
                .unwrap()
                .role
        };
        let crate::Role::Consumer(consumer) = of_role("consumer") else {
            panic!("another role")
        };
        assert_eq!(consumer.auth.jwt_secret, crate::auth::EXAMPLE_SECRET);
        let crate::Role::Producer(producer) = of_role("producer") else {
            panic!("another role")
        };
        assert_eq!(producer.broker.redpanda_broker, ["redpanda:9092"]);
    }
}
