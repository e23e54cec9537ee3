//! `POST /login`: who gets a token, and what everybody else gets.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;

use crate::check::answer::is_error;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::session;
use crate::check::subject::Subject;
use crate::check::token;
use crate::check::wait::SOON;
use crate::check::wait::STOP;
use crate::client::Raw;
use crate::credentials::JWT_SECRET;
use crate::credentials::PASSWORD;
use crate::credentials::USERNAME;
use crate::process::Signal;
use crate::process::describe;

pub const CHECKS: &[Check] = &[
    Check {
        name: "the right password gets a token of an hour",
        expected: "200 and {\"token\":\"…\"}: HS256, signed with JWT_SECRET; sub is the user, iat is now, exp is an hour later",
        hint: "claims sub, iat and exp in seconds since 1970",
        run: |subject| Box::pin(right_password(subject)),
        ..PROCESS
    },
    Check {
        name: "a wrong password and an unknown user get the same answer",
        expected: "401 for both, with the same JSON body",
        hint: "whoever can tell them apart can find out who has an account",
        run: |subject| Box::pin(wrong_password(subject)),
        ..PROCESS
    },
    Check {
        name: "a body that is not a login gets 400",
        expected: "400 and a JSON error for no JSON, other JSON, missing fields and fields of another type",
        hint: "frameworks answer 415 or 422 by themselves; the course asks for 400 in all these cases",
        run: |subject| Box::pin(no_login(subject)),
        ..PROCESS
    },
    Check {
        name: "a login that is too long is 413",
        expected: "413 and a JSON error for a password of 1 MiB; /status answers afterwards",
        hint: "the body limit answers 413; see that its answer is JSON too",
        run: |subject| Box::pin(too_long(subject)),
        ..PROCESS
    },
    Check {
        name: "a flood of logins gets 429, and /stats does not suffer",
        expected: "some 429 with Retry-After among 300 logins at once, 200 for each /stats meanwhile, and logins again later",
        hint: "limit how many passwords are hashed at once and how often a client may log in; hash on other threads than those that serve",
        run: |subject| Box::pin(flood(subject)),
        ..PROCESS
    },
    Check {
        name: "a login in flight at SIGTERM is answered",
        expected: "200 for a login whose body comes after the signal, then exit status 0 within 10 s",
        hint: "a graceful shutdown takes no new connections, and lets requests that have begun come to their end",
        run: |subject| Box::pin(in_flight(subject)),
        ..PROCESS
    },
];

async fn right_password(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let response = session::login(&server.client, USERNAME, PASSWORD).await?;
    response.has_status(200)?;
    let body = response.json()?;
    let token = body["token"].as_str().context("no token")?;
    ensure!(
        body.as_object().is_some_and(|fields| fields.len() == 1),
        "more than a token: {}",
        response.text()
    );
    let (header, claims) = token::decode(token)?;
    ensure!(header["alg"] == "HS256", "alg {}", header["alg"]);
    ensure!(claims["sub"] == USERNAME, "sub {}", claims["sub"]);
    let time =
        |name: &str| claims[name].as_u64().with_context(|| format!("{name} is {}", claims[name]));
    let (issued, expires) = (time("iat")?, time("exp")?);
    ensure!(
        issued.abs_diff(token::now()) <= 60,
        "iat differs from the present time by {} s",
        issued.abs_diff(token::now())
    );
    ensure!(expires == issued + 3600, "exp is iat + {}", expires.wrapping_sub(issued));
    // The header's bytes are the program's own, so the signature is made over what came.
    let (signed, signature) = token.rsplit_once('.').context("no signature")?;
    ensure!(token::signature(signed, JWT_SECRET)? == signature, "not signed with JWT_SECRET");
    session::stats_with(&server.client, token).await?;
    Ok(())
}

async fn wrong_password(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let wrong = session::login(&server.client, USERNAME, "a wrong password").await?;
    let unknown = session::login(&server.client, "nobody-of-this-name", PASSWORD).await?;
    for response in [&wrong, &unknown] {
        response.has_status(401)?;
        is_error(response)?;
    }
    ensure!(wrong.body == unknown.body, "{} and {}", wrong.text(), unknown.text());
    let known = wrong.header("www-authenticate") == unknown.header("www-authenticate");
    ensure!(known, "the WWW-Authenticate header differs");
    Ok(())
}

async fn no_login(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let bodies = [
        "",
        "x",
        "{",
        "null",
        "[]",
        "{}",
        "\"text\"",
        "{\"username\":\"lab\"}",
        "{\"password\":\"x\"}",
        "{\"username\":1,\"password\":\"x\"}",
        "{\"username\":\"lab\",\"password\":null}",
        "{\"username\":\"lab\",\"password\":[\"x\"]}",
        "username=lab&password=x",
        "{\"username\":\"\u{1}\",",
    ];
    for body in bodies {
        let headers = [("content-type", "application/json")];
        let response = server.client.send("POST", "/login", &headers, Bytes::from(body)).await?;
        ensure!(response.status == 400, "{} for {body:?}", response.status);
        is_error(&response).with_context(|| format!("for {body:?}"))?;
    }
    let headers = [("content-type", "application/json")];
    let response =
        server.client.send("POST", "/login", &headers, Bytes::from_static(b"{\"\xff\":1}")).await?;
    ensure!(response.status == 400, "{} for invalid UTF-8", response.status);
    server.lives().await
}

async fn too_long(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let body = json!({"username": USERNAME, "password": "x".repeat(1024 * 1024)}).to_string();
    let authority = server.client.authority();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Only the head: its Content-Length is enough to refuse, and an answer during the body could be lost.
    let answer = Raw::open(authority, &head).await?.head(SOON).await?;
    let line = answer.lines().next().unwrap_or_default();
    ensure!(line.contains(" 413"), "{line:?}");
    ensure!(answer.to_lowercase().contains("content-type: application/json"), "not JSON: {answer}");
    server.lives().await
}

async fn flood(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let token = session::first_log_in(&server.client).await?;
    let mut logins = tokio::task::JoinSet::new();
    for number in 0..300 {
        let client = server.client.clone().with_deadline(SOON * 2);
        logins.spawn(
            async move { session::login(&client, USERNAME, &format!("guess {number}")).await },
        );
    }
    let (mut limited, mut watched) = (0, 0);
    while !logins.is_empty() {
        session::stats_with(&server.client, &token)
            .await
            .with_context(|| format!("/stats number {watched} meanwhile"))?;
        watched += 1;
        while let Some(response) = logins.try_join_next() {
            let response = response??;
            match response.status.as_u16() {
                401 => {}
                429 => {
                    let after =
                        response.header("retry-after").context("429 without Retry-After")?;
                    ensure!(after.parse::<u64>().is_ok(), "Retry-After: {after}");
                    is_error(&response)?;
                    limited += 1;
                }
                _ => anyhow::bail!("{} to a login, {}", response.status, response.text()),
            }
        }
    }
    ensure!(limited > 0, "none of 300 logins was refused with 429");
    session::first_log_in(&server.client).await.context("after the flood")?;
    Ok(())
}

async fn in_flight(subject: &Subject) -> Result<()> {
    let mut server = subject.serve().await?;
    let authority = server.client.authority().to_owned();
    let body = json!({"username": USERNAME, "password": PASSWORD}).to_string();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut connection = Raw::open(&authority, &head).await?;
    // The server's `100 Continue` says that the request has begun.
    let begun = connection.head(SOON).await?;
    ensure!(begun.contains(" 100 "), "no 100 Continue, but {begun:?}");
    let process = server.process()?;
    process.signal(Signal::TERM)?;
    let refused = async {
        while Raw::connect(&authority).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    // That shutdown has begun shows in refused connections; a server may also go on listening while it drains.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), refused).await;
    connection.write(body.as_bytes()).await?;
    let answer = connection.head(SOON).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{:?}", answer.lines().next().unwrap_or_default());
    let status = server.process()?.wait(STOP).await?;
    ensure!(status.success(), "{}", describe(status));
    Ok(())
}
