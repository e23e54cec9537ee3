//! What the checks of suite 3 share: tokens made by lab itself, a login, and `/stats` with what must hold in it.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::Value;
use serde_json::json;
use sha2::Sha256;
use sha2::Sha384;
use sha2::Sha512;

use super::super::subject::JWT_SECRET;
use super::super::subject::PASSWORD;
use super::super::subject::SOON;
use super::super::subject::USERNAME;
use crate::client::Client;
use crate::client::Response;
use crate::replay::Replay;

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The claims of a good token.
pub fn claims() -> Value {
    json!({"sub": USERNAME, "iat": now(), "exp": now() + 3600})
}

/// A token signed as `algorithm` says, with any header and claims.
pub fn token(algorithm: &str, claims: &Value, secret: &str) -> Result<String> {
    let header = json!({"alg": algorithm, "typ": "JWT"});
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = match algorithm {
        "HS256" => sign::<Hmac<Sha256>>(&signed, secret)?,
        "HS384" => sign::<Hmac<Sha384>>(&signed, secret)?,
        "HS512" => sign::<Hmac<Sha512>>(&signed, secret)?,
        _ => Vec::new(),
    };
    Ok(format!("{signed}.{}", encode(signature)))
}

pub fn good_token() -> Result<String> {
    token("HS256", &claims(), JWT_SECRET)
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims of a token.
pub fn decode(token: &str) -> Result<(Value, Value)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else {
        bail!("a token of {} parts", parts.len())
    };
    let json = |part: &str| -> Result<Value> {
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
    };
    Ok((
        json(header).context("the token's header")?,
        json(claims).context("the token's claims")?,
    ))
}

pub fn signature(text: &str, secret: &str) -> Result<String> {
    Ok(encode(sign::<Hmac<Sha256>>(text, secret)?))
}

fn sign<M: Mac + KeyInit>(text: &str, secret: &str) -> Result<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).context("not a key")?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

pub async fn login(client: &Client, username: &str, password: &str) -> Result<Response> {
    client
        .post_json(
            "/login",
            &json!({"username": username, "password": password}),
        )
        .await
}

/// The token of a login, tried again while the limit says so.
pub async fn log_in(client: &Client, password: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        let response = login(client, USERNAME, password).await?;
        if response.status == 200 {
            return Ok(response.json()?["token"]
                .as_str()
                .context("no token in the answer")?
                .to_owned());
        }
        let text = response.text();
        ensure!(
            response.status == 429,
            "POST /login: {}, {text}",
            response.status
        );
        ensure!(
            start.elapsed() < SOON,
            "429 to every login for {} s",
            SOON.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The right password.
pub async fn first_log_in(client: &Client) -> Result<String> {
    log_in(client, PASSWORD).await
}

/// `/stats`, with its sums checked.
pub async fn stats(client: &Client, token: &str) -> Result<Value> {
    let response = client.get_with_token("/stats", token).await?;
    ensure!(
        response.status == 200,
        "GET /stats: {}, {}",
        response.status,
        response.text()
    );
    let stats = response.json()?;
    let number = |field: &str| {
        stats[field]
            .as_u64()
            .with_context(|| format!("no number {field} in {stats}"))
    };
    let (messages, bots, non_bots) = (number("messages")?, number("bots")?, number("non_bots")?);
    number("distinct_users")?;
    let by_domain = stats["by_domain"]
        .as_object()
        .context("by_domain is no object")?;
    let by_domain: u64 = by_domain.values().filter_map(Value::as_u64).sum();
    ensure!(
        messages == bots + non_bots && messages == by_domain,
        "messages {messages}, bots {bots} + non_bots {non_bots}, sum of by_domain {by_domain}"
    );
    Ok(stats)
}

pub fn messages(stats: &Value) -> u64 {
    stats["messages"].as_u64().unwrap_or_default()
}

/// Waits until `/stats` has as many messages as the finished replay's truth, and expects the same in every field.
pub async fn equals_truth(
    client: &Client,
    token: &str,
    replay: &Replay,
    patience: Duration,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let finished = replay.progress().finished;
        let truth = serde_json::to_value(replay.truth())?;
        let stats = stats(client, token).await?;
        if finished && messages(&stats) >= messages(&truth) {
            return same(&stats, &truth);
        }
        if start.elapsed() > patience {
            let sent = if finished {
                "all events sent"
            } else {
                "the replay not read to its end"
            };
            bail!(
                "{} of {} messages, {sent}, after {} s",
                messages(&stats),
                messages(&truth),
                patience.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn same(stats: &Value, truth: &Value) -> Result<()> {
    for field in ["messages", "distinct_users", "bots", "non_bots"] {
        ensure!(
            stats[field] == truth[field],
            "{field} {} and not {}",
            stats[field],
            truth[field]
        );
    }
    let empty = serde_json::Map::new();
    let domains = |value: &Value| value["by_domain"].as_object().unwrap_or(&empty).clone();
    let (came, sent) = (domains(stats), domains(truth));
    for domain in came.keys().chain(sent.keys()) {
        let (came, sent) = (came.get(domain), sent.get(domain));
        ensure!(
            came == sent,
            "by_domain of {domain:?}: {came:?} and not {sent:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7515, appendix A.1, has a key of its own; this one is from jwt.io's debugger.
    #[test]
    fn a_token_is_signed_as_others_sign_it() {
        let header_and_claims = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        let signature = sign::<Hmac<Sha256>>(header_and_claims, "your-256-bit-secret").unwrap();
        assert_eq!(
            encode(signature),
            "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
        );
    }

    #[test]
    fn claims_come_back() {
        let claims = claims();
        let (header, decoded) = decode(&token("HS256", &claims, "x").unwrap()).unwrap();
        assert_eq!(header["alg"], "HS256");
        assert_eq!(decoded, claims);
    }

    #[test]
    fn a_difference_is_named() {
        let truth = json!({"messages": 2, "distinct_users": 1, "bots": 1, "non_bots": 1, "by_domain": {"a": 1, "b": 1}});
        assert!(same(&truth, &truth).is_ok());
        let mut stats = truth.clone();
        stats["by_domain"] = json!({"a": 1, "c": 1});
        assert!(
            same(&stats, &truth)
                .unwrap_err()
                .to_string()
                .contains("by_domain of \"c\"")
        );
    }
}
