//! A server of a stream that sends on each connection exactly the bytes that a check wants, and keeps the requests that
//! came. Where a check needs many events, and the right counts of them, it uses `replay` instead.

use std::ops::ControlFlow::Break;
use std::ops::ControlFlow::Continue;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::check::wait;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nconnection: close\r\n\r\n";

/// What one connection gets.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    hold: bool,
}

impl Reply {
    /// A stream that is cut after `body`.
    pub fn cut(body: impl AsRef<[u8]>) -> Self {
        Self::bare([b":ok\n\n", body.as_ref()].concat())
    }

    /// As `cut`, without the comment that a stream begins with.
    pub fn bare(body: impl AsRef<[u8]>) -> Self {
        Self { bytes: [OK.as_bytes(), body.as_ref()].concat(), hold: false }
    }

    /// A stream that falls silent after `body`, and stays open.
    pub fn hold(body: impl AsRef<[u8]>) -> Self {
        Self { hold: true, ..Self::cut(body) }
    }

    /// An answer other than 200, such as `429 Too Many Requests`.
    pub fn refusal(status: &str, headers: &str) -> Self {
        Self::page(status, headers, "")
    }

    /// An answer that is no stream.
    pub fn page(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let bytes = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        Self { bytes: bytes.into_bytes(), hold: false }
    }
}

/// A request as it came, and when.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct Stream {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Stream {
    /// Answers the first connection with the first of `replies`, and so on; those after the last are held open in
    /// silence.
    pub async fn start(replies: Vec<Reply>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = requests.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let replies = Arc::new(Mutex::new(replies.into_iter()));
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone(), replies.clone()));
            }
        });
        Ok(Self { port, requests, task })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v2/stream/recentchange", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` requests have come.
    pub async fn wait_for_requests(
        &self,
        count: usize,
        deadline: Duration,
    ) -> Result<Vec<Request>> {
        wait::until(deadline, async || {
            let requests = self.requests();
            if requests.len() >= count {
                return Ok(Break(requests));
            }
            let came = requests.len();
            Ok(Continue(format!("{came} of {count} connections to the stream")))
        })
        .await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What closes the connection before it has asked, a probe of the port, gets no reply of the script.
async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<Request>>>,
    replies: Arc<Mutex<std::vec::IntoIter<Reply>>>,
) {
    let Some(head) = read_head(&mut stream).await else {
        return;
    };
    let reply = replies.lock().unwrap_or_else(PoisonError::into_inner).next();
    let request = Request { head, at: Instant::now() };
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    answer(stream, reply.unwrap_or_else(|| Reply::hold(""))).await;
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

async fn answer(mut stream: TcpStream, reply: Reply) {
    if stream.write_all(&reply.bytes).await.is_err() {
        return;
    }
    if reply.hold {
        // Until the client goes away.
        let mut rest = Vec::new();
        while stream.read_buf(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
    let _ = stream.shutdown().await;
}

/// The time of event 0, in milliseconds since the epoch: 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000;

/// The id that the stream gives event `number`, as Wikimedia writes it: a millisecond ahead of the event.
pub fn id(number: u64) -> String {
    let timestamp = START + number * 1000 + 1;
    json!([
        {"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": timestamp},
        {"topic": "codfw.mediawiki.recentchange", "partition": 0, "offset": -1},
    ])
    .to_string()
}

/// Whether `sent`, a Last-Event-ID, leads to the last event with `id` again, from at most a second before. The id as it
/// came is a millisecond ahead of its event, so with it other events of the same millisecond would be lost.
pub fn goes_on_after(sent: &str, id: &str) -> bool {
    let entries = |id: &str| serde_json::from_str::<Vec<Value>>(id).unwrap_or_default();
    let time = |entry: &Value| entry["timestamp"].as_u64();
    let (sent, came) = (entries(sent), entries(id));
    sent.len() == came.len()
        && sent.iter().zip(&came).all(|(sent, came)| match (time(sent), time(came)) {
            (Some(sent_time), Some(time)) => {
                sent["topic"] == came["topic"]
                    && (1..=1000).contains(&(time.saturating_sub(sent_time)))
            }
            _ => sent == came,
        })
}

/// Event `number` as an object: `User N` changed `Page N` of en.wikipedia.org, a bot where the number is odd.
pub fn change(number: u64) -> Value {
    json!({
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": {
            "id": format!("00000000-0000-4000-8000-{number:012}"),
            "dt": time(number),
            "domain": "en.wikipedia.org",
            "stream": "mediawiki.recentchange",
        },
        "id": number,
        "type": "edit",
        "namespace": 0,
        "title": format!("Page {number}"),
        "comment": "",
        "timestamp": START / 1000 + number,
        "user": format!("User {number}"),
        "bot": number % 2 == 1,
        "server_url": "https://en.wikipedia.org",
        "server_name": "en.wikipedia.org",
        "wiki": "enwiki",
    })
}

/// The time of event `number`, which must be below 3,600: one a second from midnight on.
pub fn time(number: u64) -> String {
    format!("2026-01-01T00:{:02}:{:02}Z", number / 60, number % 60)
}

/// A block of the stream that carries `data`, with the id of event `number`.
pub fn block(number: u64, data: &str) -> String {
    format!("event: message\nid: {}\ndata: {data}\n\n", id(number))
}

/// The blocks of the events of a range.
pub fn events(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| block(number, &change(number).to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::wait::SOON;
    use crate::client::Raw;

    #[test]
    fn the_id_as_it_came_leads_too_far_and_a_millisecond_less_does_not() {
        let earlier = |milliseconds: u64| {
            let time = START + 9 * 1000 + 1;
            id(9).replace(&time.to_string(), &(time - milliseconds).to_string())
        };
        let goes_on = [0, 1, 1000, 1001].map(|ms| goes_on_after(&earlier(ms), &id(9)));
        assert_eq!(goes_on, [false, true, true, false]);
        assert!(!goes_on_after("", &id(9)) && !goes_on_after(&id(3), &id(9)));
    }

    #[tokio::test]
    async fn a_connection_that_asks_for_nothing_holds_up_no_other() {
        let stream = Stream::start(vec![Reply::refusal("404 Not Found", "")]).await.unwrap();
        let authority = format!("127.0.0.1:{}", stream.port);
        let silent = Raw::connect(&authority).await.unwrap();
        let mut asks = Raw::open(&authority, "GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(asks.head(SOON).await.unwrap().contains("404"));
        assert_eq!(stream.requests().len(), 1);
        drop(silent);
    }
}
