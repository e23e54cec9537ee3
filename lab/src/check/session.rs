//! What a user does: a login, and `/stats`, with what must hold in every answer.

use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::check::token;
use crate::check::wait;
use crate::check::wait::PATIENCE;
use crate::check::wait::SOON;
use crate::client::Client;
use crate::client::Response;
use crate::credentials::PASSWORD;
use crate::credentials::USERNAME;

pub async fn login(client: &Client, username: &str, password: &str) -> Result<Response> {
    let credentials = json!({"username": username, "password": password});
    client.post_json("/login", &credentials).await
}

/// The token of a login, tried again while the limit says so.
pub async fn log_in(client: &Client, password: &str) -> Result<String> {
    let answer = wait::until(SOON, async || {
        let response = login(client, USERNAME, password).await?;
        if response.status == 429 {
            return Ok(Continue("429 to every login".to_owned()));
        }
        response.has_status(200).context("POST /login")?;
        Ok(Break(response.json()?))
    });
    let token = answer.await?["token"].as_str().map(str::to_owned);
    token.context("no token in the answer")
}

/// The right password.
pub async fn first_log_in(client: &Client) -> Result<String> {
    log_in(client, PASSWORD).await
}

/// `/stats` for a token of lab's own, with its sums checked.
pub async fn stats(client: &Client) -> Result<Value> {
    stats_with(client, &token::good()?).await
}

pub async fn stats_with(client: &Client, token: &str) -> Result<Value> {
    let response = client.get_with_token("/stats", token).await?;
    response.has_status(200).context("GET /stats")?;
    let stats = response.json()?;
    let number = |field: &str| {
        stats[field].as_u64().with_context(|| format!("no number {field} in {stats}"))
    };
    let (messages, bots, non_bots) = (number("messages")?, number("bots")?, number("non_bots")?);
    number("distinct_users")?;
    let by_domain = stats["by_domain"].as_object().context("by_domain is no object")?;
    let by_domain: u64 = by_domain.values().filter_map(Value::as_u64).sum();
    ensure!(
        messages == bots + non_bots && messages == by_domain,
        "messages {messages}, bots {bots} + non_bots {non_bots}, sum of by_domain {by_domain}"
    );
    Ok(stats)
}

/// Waits until `/ready` says so. A consumer is ready when its group has assigned partitions to it.
pub async fn is_ready(client: &Client) -> Result<()> {
    wait::until(SOON, async || {
        let response = client.get("/ready").await?;
        if response.status == 200 && response.json()? == json!({"ready": true}) {
            return Ok(Break(()));
        }
        Ok(Continue(format!("GET /ready: {}, {}", response.status, response.text())))
    })
    .await
}

/// How many messages `/stats` has.
pub async fn messages(client: &Client) -> Result<u64> {
    Ok(stats(client).await?["messages"].as_u64().unwrap_or_default())
}

/// Waits until `/stats` has at least so many messages.
pub async fn is_counting(client: &Client, wanted: u64, patience: Duration) -> Result<()> {
    wait::until(patience, async || {
        let came = messages(client).await?;
        if came >= wanted {
            return Ok(Break(()));
        }
        Ok(Continue(format!("{came} of {wanted} messages in /stats")))
    })
    .await
}

/// Waits until `/stats` has so many messages, and expects no more.
pub async fn has_counted(client: &Client, wanted: u64) -> Result<()> {
    wait::until_quiet(PATIENCE, async || {
        let came = messages(client).await?;
        if came == wanted {
            return Ok(Break(()));
        }
        let so_far = format!("{came} messages in /stats and not {wanted}");
        if came > wanted {
            bail!(so_far);
        }
        Ok(Continue(so_far))
    })
    .await
}
