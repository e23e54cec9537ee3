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
