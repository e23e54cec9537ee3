//! Who may see `/stats`, and what it looks like.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;

use crate::check::answer::is_error;
use crate::check::runner::Check;
use crate::check::runner::HTTP;
use crate::check::runner::PROCESS;
use crate::check::session;
use crate::check::subject::Subject;
use crate::check::token;
use crate::check::wait::SOON;
use crate::client::Response;
use crate::credentials::JWT_SECRET;
use crate::credentials::USERNAME;

pub const CHECKS: &[Check] = &[
    Check {
        name: "/stats without a token is 401",
        expected: "401 with `WWW-Authenticate: Bearer` and a JSON error",
        hint: "HTTP demands WWW-Authenticate with every 401 (RFC 9110, 15.5.2)",
        run: |subject| Box::pin(without_token(subject)),
        ..HTTP
    },
    Check {
        name: "/stats with a bad token is 401, and the answer does not tell what is wrong with it",
        expected: "401 with `WWW-Authenticate: Bearer` and one body for malformed, expired, wrongly signed, unsigned \
                   tokens and other algorithms",
        hint: "accept HS256 alone, with a leeway of 0 s; never take the algorithm from the token",
        run: |subject| Box::pin(bad_tokens(subject)),
        ..PROCESS
    },
    Check {
        name: "/stats with a good token has the shape of the contract",
        expected: "200 and messages, distinct_users, bots, non_bots as numbers, by_domain as an object",
        hint: "accept any token that is valid and signed with HS256 and JWT_SECRET, also if another program has signed it",
        run: |subject| Box::pin(shape(subject)),
        ..PROCESS
    },
    Check {
        name: "GET /ready says that the server is ready",
        expected: "200 and {\"ready\":true}",
        hint: "/ready means that the store answers; /status means only that the process runs",
        run: |subject| Box::pin(ready(subject)),
        ..HTTP
    },
    Check {
        name: "X-Request-ID is echoed or made",
        expected: "the request's own X-Request-ID in the answer; without one, a new one in each answer",
        hint: "use a middleware in front of all routes, so that error answers have it too",
        run: |subject| Box::pin(request_id(subject)),
        ..HTTP
    },
    Check {
        name: "X-Request-ID stands in the log",
        expected: "the id of a failed login in a line on stderr, and no password or token anywhere in it",
        hint: "a span around the request that carries the id; bodies and headers stay out of the log",
        run: |subject| Box::pin(request_id_in_log(subject)),
        ..PROCESS
    },
];

async fn without_token(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    is_unauthorized(&server.client.get("/stats").await?)
}

fn is_unauthorized(response: &Response) -> Result<()> {
    response.has_status(401)?;
    let challenge = response.header("www-authenticate").context("no WWW-Authenticate")?;
    ensure!(challenge.starts_with("Bearer"), "WWW-Authenticate: {challenge}");
    is_error(response)
}

async fn bad_tokens(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let good = token::good()?;
    session::stats_with(&server.client, &good).await.context("with a good token")?;
    let (signed, signature) = good.rsplit_once('.').context("no signature")?;
    let (header, _) = signed.split_once('.').context("no header")?;
    let now = token::now();
    let claims = token::claims();
    let signed_with = |algorithm: &str| token::signed(algorithm, &claims, JWT_SECRET);
    let expired = |seconds: u64| json!({"sub": USERNAME, "iat": now - 3600, "exp": now - seconds});
    let unsigned = signed_with("none")?;
    let headers = [
        ("no scheme", good.clone()),
        ("another scheme", "Basic bGFiOmxhYg==".to_owned()),
        ("the scheme alone", "Bearer".to_owned()),
        ("an empty token", "Bearer ".to_owned()),
        ("nonsense", "Bearer nonsense".to_owned()),
        ("two dots", "Bearer ..".to_owned()),
        (
            "an expired token",
            format!("Bearer {}", token::signed("HS256", &expired(1800), JWT_SECRET)?),
        ),
        (
            "a token 30 s past its end",
            format!("Bearer {}", token::signed("HS256", &expired(30), JWT_SECRET)?),
        ),
        (
            "no exp",
            format!(
                "Bearer {}",
                token::signed("HS256", &json!({"sub": USERNAME, "iat": now}), JWT_SECRET)?
            ),
        ),
        (
            "another secret",
            format!(
                "Bearer {}",
                token::signed("HS256", &claims, "another-secret-of-32-bytes-or-more")?
            ),
        ),
        ("an empty secret", format!("Bearer {}", token::signed("HS256", &claims, "")?)),
        ("no signature", format!("Bearer {signed}.")),
        ("a signature cut short", format!("Bearer {signed}.{}", &signature[..signature.len() - 4])),
        (
            "other claims under the same signature",
            format!(
                "Bearer {header}.{}.{signature}",
                token::encode(json!({"sub": "root", "iat": now, "exp": now + 9999}).to_string())
            ),
        ),
        ("alg none", format!("Bearer {unsigned}")),
        ("alg None", format!("Bearer {}", signed_with("None")?)),
        ("alg HS384", format!("Bearer {}", signed_with("HS384")?)),
        ("alg HS512", format!("Bearer {}", signed_with("HS512")?)),
        ("alg RS256", format!("Bearer {}", signed_with("RS256")?)),
    ];
    let missing = server.client.get("/stats").await?;
    for (what, header) in headers {
        let response = server
            .client
            .send("GET", "/stats", &[("authorization", &header)], Bytes::new())
            .await?;
        is_unauthorized(&response).with_context(|| what.to_owned())?;
        ensure!(
            response.body == missing.body,
            "{what}: {}, and without a token {}",
            response.text(),
            missing.text()
        );
    }
    Ok(())
}

async fn shape(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let stats = session::stats(&server.client).await?;
    let fields = stats.as_object().context("no object")?;
    for field in ["messages", "distinct_users", "bots", "non_bots", "by_domain"] {
        ensure!(fields.contains_key(field), "no {field}");
    }
    Ok(())
}

async fn ready(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    session::is_ready(&server.client).await
}

async fn request_id(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let mut made = Vec::new();
    for path in ["/status", "/stats", "/no/such/path"] {
        let id = format!("lab-{}", path.len());
        let response =
            server.client.send("GET", path, &[("x-request-id", &id)], Bytes::new()).await?;
        ensure!(
            response.header("x-request-id") == Some(&id),
            "{:?} for {path}",
            response.header("x-request-id")
        );
        let response = server.client.get(path).await?;
        let id = response
            .header("x-request-id")
            .with_context(|| format!("no X-Request-ID from {path}"))?;
        ensure!(
            !id.is_empty() && !made.contains(&id.to_owned()),
            "X-Request-ID {id:?} from {path}"
        );
        made.push(id.to_owned());
    }
    Ok(())
}

async fn request_id_in_log(subject: &Subject) -> Result<()> {
    let mut server = subject.serve_with(|program| program.env("RUST_LOG", "debug")).await?;
    let body = json!({"username": USERNAME, "password": "hunter2-and-more"}).to_string();
    let headers = [("content-type", "application/json"), ("x-request-id", "lab-looks-for-this")];
    server.client.send("POST", "/login", &headers, body.into()).await?;
    let token = token::good()?;
    session::stats_with(&server.client, &token).await?;
    let process = server.process()?;
    process.says("lab-looks-for-this", SOON).await?;
    let said = process.stderr.lines().join("\n");
    let signature = token.rsplit('.').next().unwrap_or(&token);
    for secret in ["hunter2", signature, JWT_SECRET] {
        ensure!(!said.contains(secret), "{secret} in the log");
    }
    Ok(())
}
