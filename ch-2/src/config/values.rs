//! The parsers of values. config.rs names one for each field whose type alone does not say which values are allowed.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use reqwest::header::HeaderValue;

pub fn header_value(text: &str) -> Result<HeaderValue> {
    ensure!(!text.trim().is_empty(), "empty");
    let value = HeaderValue::from_str(text);
    value.context("contains characters that a header must not contain")
}
