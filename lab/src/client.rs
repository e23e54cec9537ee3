//! Lab's HTTP client: small, with a deadline on every call, and raw connections for what no client would send.
//! Used by `check`, `up` and `bench`.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::HeaderMap;
use hyper::Request;
use hyper::StatusCode;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::screen::plain;

/// So long a connection is kept for the next request. A server that ends idle ones, ours after 75 s, may do so while a
/// request is on its way, and nobody could tell that from a server that is gone.
const IDLE: Duration = Duration::from_secs(1);

/// A client that keeps its connections; a clone shares them.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    base: String,
    deadline: Duration,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:7000`; every call ends within 30 s.
    pub fn new(base: impl Into<String>) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build_http();
        let base = base.into().trim_end_matches('/').to_owned();
        Self { inner, base, deadline: Duration::from_secs(30) }
    }

    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// `host:port`, for a raw connection to the same server.
    pub fn authority(&self) -> &str {
        let rest = self.base.strip_prefix("http://").unwrap_or(&self.base);
        rest.split('/').next().unwrap_or(rest)
    }

    pub async fn get(&self, path: &str) -> Result<Response> {
        self.send("GET", path, &[], Bytes::new()).await
    }

    pub async fn get_with_token(&self, path: &str, token: &str) -> Result<Response> {
        self.send("GET", path, &[("authorization", &format!("Bearer {token}"))], Bytes::new()).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Response> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().into())
            .await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).context("not a valid request")?;
        let answer = async {
            let (head, body) = self.inner.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Response { status: head.status, headers: head.headers, body })
        };
        let what = || format!("{method} {path}");
        tokio::time::timeout(self.deadline, answer)
            .await
            .ok()
            .with_context(|| {
                format!("no answer within {} s to {}", self.deadline.as_secs(), what())
            })?
            .with_context(|| format!("no answer to {}", what()))
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// # Errors
    /// It has another status; the error has it and the body.
    pub fn has_status(&self, status: u16) -> Result<()> {
        ensure!(self.status == status, "{}, {}", self.status, self.text());
        Ok(())
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("the body is no JSON: {}", self.text()))
    }

    /// The body for a report, cut short.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        match text.char_indices().nth(300) {
            Some((end, _)) => format!("{}…", plain(&text[..end])),
            None => plain(&text),
        }
    }
}

/// A connection on which anything can be written, valid or not.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub async fn connect(authority: &str) -> Result<Self> {
        let stream = tokio::time::timeout(Duration::from_secs(30), TcpStream::connect(authority))
            .await
            .ok()
            .with_context(|| format!("no connection to {authority} within 30 s"))?
            .with_context(|| format!("cannot connect to {authority}"))?;
        Ok(Self { stream })
    }

    /// Connects and writes `start`, which may well be half a request.
    pub async fn open(authority: &str, start: &str) -> Result<Self> {
        let mut raw = Self::connect(authority).await?;
        raw.write(start.as_bytes()).await?;
        Ok(raw)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        tokio::time::timeout(Duration::from_secs(30), self.stream.write_all(bytes))
            .await
            .ok()
            .context("nothing was read from the connection for 30 s")?
            .context("the connection was closed while it was written to")
    }

    /// Reads until the blank line after a response's head, and returns what has come by then; at the connection's
    /// end that may be less, and nothing at all. Fails at the deadline.
    pub async fn head(&mut self, deadline: Duration) -> Result<String> {
        self.read_while(deadline, |read| !read.windows(4).any(|end| end == b"\r\n\r\n")).await
    }

    /// Reads what comes next.
    pub async fn some(&mut self) -> Result<Vec<u8>> {
        let mut read = Vec::new();
        tokio::time::timeout(Duration::from_secs(30), self.stream.read_buf(&mut read))
            .await
            .ok()
            .context("nothing came for 30 s")?
            .context("the connection was closed while it was read")?;
        Ok(read)
    }

    /// Reads until the server closes the connection.
    pub async fn until_closed(&mut self, deadline: Duration) -> Result<String> {
        self.read_while(deadline, |_| true).await
    }

    async fn read_while(
        &mut self,
        deadline: Duration,
        more: impl Fn(&[u8]) -> bool,
    ) -> Result<String> {
        let mut read = Vec::new();
        let reading = async {
            // A reset is an end like any other: nothing more will come.
            while more(&read) && self.stream.read_buf(&mut read).await.is_ok_and(|count| count > 0)
            {
            }
        };
        tokio::time::timeout(deadline, reading).await.ok().with_context(|| {
            format!("the connection stayed open without an answer for {} s", deadline.as_secs())
        })?;
        Ok(String::from_utf8_lossy(&read).into_owned())
    }

    /// Turns the connection into one that sends proper requests, one after the other.
    pub async fn into_keep_alive(self) -> Result<KeepAlive> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.stream)).await?;
        tokio::spawn(connection);
        Ok(KeepAlive { sender })
    }
}

/// One connection, used for request after request.
#[derive(Debug)]
pub struct KeepAlive {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl KeepAlive {
    pub async fn connect(authority: &str) -> Result<Self> {
        Raw::connect(authority).await?.into_keep_alive().await
    }

    pub async fn get(
        &mut self,
        authority: &str,
        path: &str,
        deadline: Duration,
    ) -> Result<Response> {
        let request = Request::get(path).header("host", authority).body(Full::new(Bytes::new()))?;
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Response { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(deadline, answer)
            .await
            .ok()
            .with_context(|| format!("no answer to GET {path} within {} s", deadline.as_secs()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_server_is_told_without_the_words_of_the_timer() {
        let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = silent.local_addr().unwrap();
        let client = Client::new(format!("http://{address}")).with_deadline(Duration::ZERO);
        let error = client.get("/status").await.unwrap_err();
        assert_eq!(format!("{error:#}"), "no answer within 0 s to GET /status");
        let mut raw = Raw::connect(&address.to_string()).await.unwrap();
        let error = raw.head(Duration::ZERO).await.unwrap_err();
        let expected = "the connection stayed open without an answer for 0 s";
        assert_eq!(format!("{error:#}"), expected);
    }
}
