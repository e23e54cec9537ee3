//! Compares what a program has counted with what the replay has sent.

use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::check::progress;
use crate::check::ranking;
use crate::check::session;
use crate::check::subject::Subject;
use crate::check::token;
use crate::check::topics::Topics;
use crate::check::wait;
use crate::check::wait::PATIENCE;
use crate::client::Client;
use crate::replay::Replay;
use crate::totals;

/// Waits until `/stats` has as many messages as the finished replay's truth, and expects the same in every field.
pub async fn equals_truth(client: &Client, replay: &Replay, patience: Duration) -> Result<()> {
    let number = |stats: &Value| stats["messages"].as_u64().unwrap_or_default();
    wait::until_quiet(patience, async || {
        let finished = replay.progress().finished;
        let truth = serde_json::to_value(replay.truth())?;
        let stats = session::stats(client).await?;
        let (came, sent) = (number(&stats), number(&truth));
        if finished && came >= sent {
            return totals::compare(&stats, &truth).map(Break);
        }
        let read = if finished { "all events sent" } else { "the replay not read to its end" };
        Ok(Continue(format!("{came} of {sent} messages, {read}")))
    })
    .await
}

/// The topic and `/stats` of `client` have what the truth has, and not a message more.
pub async fn is_all(
    subject: &Subject,
    topics: &Topics,
    client: &Client,
    replay: &Replay,
) -> Result<()> {
    let sent = progress::all_sent(subject, topics, replay).await?;
    let truth = replay.truth();
    ensure!(sent == truth.messages, "{sent} messages in the topic and not {}", truth.messages);
    equals_truth(client, replay, PATIENCE).await?;
    let response = client.get_with_token("/stats", &token::good()?).await?;
    ranking::same(&ranking::of(&response)?, &truth.by_user)
}
