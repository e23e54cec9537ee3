//! The form that the answers of a server must have; it is the same in every suite.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::client::Response;

pub fn is_json(response: &Response) -> Result<()> {
    let kind = response.header("content-type").context("no content-type")?;
    ensure!(kind.split(';').next() == Some("application/json"), "content-type {kind}");
    Ok(())
}

/// The one shape of every error: `{"error": "…"}`, with something in it.
pub fn is_error(response: &Response) -> Result<()> {
    is_json(response)?;
    let body = response.json()?;
    let only_field = body.as_object().is_some_and(|fields| fields.len() == 1);
    let text = body.get("error").and_then(Value::as_str).unwrap_or_default();
    ensure!(only_field && !text.is_empty(), "the body {body}");
    Ok(())
}
