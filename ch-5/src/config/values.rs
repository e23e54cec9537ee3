//! The parsers of values. config.rs names one for each field whose type alone does not say which values are allowed.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use reqwest::header::HeaderValue;

/// The most that checking a password may cost: memory in KiB, and the number of passes over it.
const MEMORY_LIMIT: u32 = 256 * 1024;
const PASSES_LIMIT: u32 = 16;

pub fn header_value(text: &str) -> Result<HeaderValue> {
    ensure!(!text.trim().is_empty(), "empty");
    let value = HeaderValue::from_str(text);
    value.context("contains characters that a header must not contain")
}

/// RFC 7518, section 3.2: a key for HS256 must be at least as long as the hash.
pub fn secret(text: &str) -> Result<String> {
    let length = text.len();
    ensure!(length >= 32, "{length} bytes, at least 32 are needed");
    Ok(text.to_owned())
}

pub fn not_empty(text: &str) -> Result<String> {
    ensure!(!text.is_empty(), "empty");
    Ok(text.to_owned())
}

/// The error does not show the text, because it may be a password.
pub fn password_hash(text: &str) -> Result<String> {
    let Ok(hash) = PasswordHash::new(text) else {
        bail!("not a hash in PHC form ($argon2id$…); without single quotes $ is expanded");
    };
    let whole = hash.version == Some(19) && hash.hash.is_some();
    ensure!(
        hash.algorithm.as_str() == "argon2id" && whole,
        "not a whole argon2id hash of version 19"
    );
    let affordable = Params::try_from(&hash)
        .is_ok_and(|cost| cost.m_cost() <= MEMORY_LIMIT && cost.t_cost() <= PASSES_LIMIT);
    ensure!(affordable, "not a hash that can be checked here, its m, t or p is out of bounds");
    Ok(text.to_owned())
}

pub fn node(text: &str) -> Result<String> {
    let text = text.trim();
    let is_node = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && !host.contains('/'))
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    ensure!(is_node, "not host:port");
    Ok(text.to_owned())
}

/// The keyspace becomes part of a statement, at a place where CQL allows no parameter. So its characters are limited.
pub fn keyspace(text: &str) -> Result<String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ensure!(
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(legal)
            && text.len() <= 48,
        "must begin with a lower-case letter, and have at most 48 lower-case letters, digits and _"
    );
    Ok(text.to_owned())
}

/// Properties of librdkafka on which a promise of the program depends, with their other names. They are refused. The last
/// ones would stop a role, or fill its memory.
const FIXED: [&str; 24] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "allow.auto.create.topics",
    "group.id",
    "group.protocol",
    "partition.assignment.strategy",
    "auto.offset.reset",
    "enable.auto.commit",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "debug",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "partitioner",
    "batch.num.messages",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "delivery.report.only.error",
    "transactional.id",
    "statistics.interval.ms",
    "internal.termination.signal",
];

/// librdkafka also takes the properties of a topic with `topic.` before their names.
fn is_fixed(property: &str) -> bool {
    FIXED.contains(&property.strip_prefix("topic.").unwrap_or(property))
}

/// Names and values, in the order in which they were given.
#[derive(Clone, Default)]
pub struct Properties(pub Vec<(String, String)>);

/// In a value, `\,` is a comma. The error does not show a value, because it may be a password.
pub fn properties(text: &str) -> Result<Properties> {
    let mut properties = Properties::default();
    // No variable contains a NUL character.
    let pairs = text.replace("\\,", "\0");
    for pair in pairs.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or_default();
        let (name, value) = (name.trim(), value.trim().replace('\0', ","));
        ensure!(
            !name.is_empty(),
            "not name=value, or several of them with commas between (write \\, for a comma in a value)"
        );
        ensure!(
            !is_fixed(name),
            "{name} can't be set here, because the program depends on its own"
        );
        properties.0.push((name.to_owned(), value));
    }
    Ok(properties)
}

pub fn topic(text: &str) -> Result<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ensure!(
        (1..=249).contains(&text.len()) && text.chars().all(legal) && text != "." && text != "..",
        "not 1 to 249 letters, digits, dots, _ or -"
    );
    Ok(text.to_owned())
}
