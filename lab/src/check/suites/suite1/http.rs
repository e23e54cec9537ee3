//! What the server answers, and what it survives. All these checks work with `--url` too.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;

use crate::check::answer::is_error;
use crate::check::answer::is_json;
use crate::check::runner::Check;
use crate::check::runner::HTTP;
use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::client::KeepAlive;
use crate::client::Raw;

pub const CHECKS: &[Check] = &[
    Check {
        name: "GET /status says that the server is alive",
        expected: "200, content-type application/json, the body {\"status\":\"ok\"} and nothing else in it",
        hint: "the handler of /status; its body is a JSON object with one field",
        smoke: true,
        run: |subject| Box::pin(status(subject)),
        ..HTTP
    },
    Check {
        name: "HEAD /status has the head of the answer and no body",
        expected: "200 and an empty body",
        hint: "most routers answer HEAD wherever they answer GET; a list of allowed methods may be in the way",
        run: |subject| Box::pin(head(subject)),
        ..HTTP
    },
    Check {
        name: "an unknown path is 404, in JSON",
        expected: "404, content-type application/json, a body {\"error\":\"…\"}",
        hint: "add a fallback to the router; most frameworks send an empty body or HTML by themselves",
        run: |subject| Box::pin(not_found(subject)),
        ..HTTP
    },
    Check {
        name: "a wrong method is 405, in JSON, and names the right ones",
        expected: "405 with an Allow header that holds GET, content-type application/json, a body {\"error\":\"…\"}",
        hint: "add a fallback for known paths with other methods; HTTP requires the Allow header (RFC 9110, 15.5.6)",
        run: |subject| Box::pin(method_not_allowed(subject)),
        ..HTTP
    },
    Check {
        name: "a body of 10 MiB is refused, and the server lives",
        expected: "a status of the 400s, or the connection closed; then /status answers 200",
        hint: "put a body limit in front of the routes; the Content-Length is enough to refuse the body",
        run: |subject| Box::pin(large_body(subject)),
        ..HTTP
    },
    Check {
        name: "a body that never ends is not read for ever",
        expected: "an answer, or the connection closed, before 64 MiB of a chunked body are taken",
        hint: "the body limit must count what arrives too, because a chunked body declares no length",
        run: |subject| Box::pin(endless_body(subject)),
        ..HTTP
    },
    Check {
        name: "bytes that are not HTTP get 400, and the server lives",
        expected: "a status line with 400, or the connection closed; then /status answers 200",
        hint: "the HTTP library does this by itself; look for a task or thread that ends after a parse error",
        run: |subject| Box::pin(malformed(subject)),
        ..HTTP
    },
    Check {
        name: "one connection serves request after request",
        expected: "20 answers of 200 on one connection",
        hint: "HTTP/1.1 keeps connections open by default: find out what sends Connection: close",
        run: |subject| Box::pin(keep_alive(subject)),
        ..HTTP
    },
    Check {
        name: "200 requests at once are all answered",
        expected: "200 answers of 200 within 30 s",
        hint: "connections must be served side by side, without blocking work in the accept loop; if some are refused, the listen backlog is too short (Python's http.server has 5)",
        run: |subject| Box::pin(parallel(subject)),
        ..HTTP
    },
];

async fn status(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let response = server.client.get("/status").await?;
    ensure!(response.status == 200, "{}", response.status);
    is_json(&response)?;
    let body = response.json()?;
    ensure!(body == json!({"status": "ok"}), "{body}");
    Ok(())
}

async fn head(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    // Raw, because a client library would drop a body by itself.
    let authority = server.client.authority();
    let request =
        format!("HEAD /status HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    let answer = Raw::open(authority, &request).await?.until_closed(SOON).await?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("no whole answer: {answer:?}"))?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{}", head.lines().next().unwrap_or_default());
    ensure!(body.is_empty(), "a body: {body}");
    Ok(())
}

async fn not_found(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    for path in ["/", "/no/such/path", "/status/"] {
        let response = server.client.get(path).await?;
        ensure!(response.status == 404, "{} for {path}", response.status);
        is_error(&response).with_context(|| format!("GET {path}"))?;
    }
    Ok(())
}

async fn method_not_allowed(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    for method in ["POST", "PUT", "DELETE"] {
        let response = server.client.send(method, "/status", &[], Bytes::new()).await?;
        ensure!(response.status == 405, "{} for {method} /status", response.status);
        let allow = response.header("allow").context("no Allow header")?;
        ensure!(allow.split(',').any(|method| method.trim() == "GET"), "Allow: {allow}");
        is_error(&response).with_context(|| format!("{method} /status"))?;
    }
    Ok(())
}

async fn large_body(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let body = Bytes::from(vec![b'x'; 10 * 1024 * 1024]);
    // An answer that comes while the body is still being sent may reach the client as a closed connection.
    if let Ok(response) = server.client.send("POST", "/status", &[], body).await {
        ensure!(response.status.is_client_error(), "{}", response.status);
    }
    server.lives().await
}

async fn endless_body(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let authority = server.client.authority();
    let start =
        format!("POST /status HTTP/1.1\r\nhost: {authority}\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut connection = Raw::open(authority, &start).await?;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..1024 {
        // Refused: a write fails once the server has closed its side; a stalled one is told by the deadline.
        if connection.write(&chunk).await.is_err() {
            return server.lives().await;
        }
    }
    anyhow::bail!("64 MiB were read and there was no end to it")
}

async fn malformed(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let authority = server.client.authority();
    for request in [
        "what is this\r\n\r\n",
        "GET /status HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}\u{ff}\r\n\r\n",
    ] {
        let answer = Raw::open(authority, request).await?.until_closed(SOON).await?;
        let line = answer.lines().next().unwrap_or_default();
        let refused =
            ["400", "505", "501"].iter().any(|status| line.split(' ').nth(1) == Some(status));
        ensure!(answer.is_empty() || refused, "{line:?} for {request:?}");
    }
    server.lives().await
}

async fn keep_alive(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let authority = server.client.authority();
    let mut connection = KeepAlive::connect(authority).await?;
    for number in 1..=20 {
        let answer = connection.get(authority, "/status", SOON).await;
        let response = answer.with_context(|| format!("request {number} on one connection"))?;
        ensure!(response.status == 200, "{} for request {number}", response.status);
    }
    Ok(())
}

async fn parallel(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let authority = server.client.authority().to_owned();
        requests.spawn(async move {
            let mut connection = KeepAlive::connect(&authority).await?;
            connection.get(&authority, "/status", Duration::from_secs(30)).await
        });
    }
    let mut answered = 0;
    while let Some(response) = requests.join_next().await {
        let response = response?.with_context(|| format!("after {answered} answers"))?;
        ensure!(response.status == 200, "{} after {answered} answers", response.status);
        answered += 1;
    }
    Ok(())
}
