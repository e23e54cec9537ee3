//! The answer of the server: whether it is a stream, what else it is, when to ask again, and the frames in it.

use std::pin::Pin;
use std::pin::pin;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::anyhow;
use eventsource_stream::Event as Frame;
use eventsource_stream::EventStream;
use eventsource_stream::EventStreamError;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header;
use reqwest::header::HeaderName;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::slice;
use crate::wikimedia::counters::Counters;
use crate::wikimedia::guard::Guard;

/// One task passes frames to another in slices of at most `SLICE`, and at most `QUEUE` slices wait. Waking the other
/// task for each frame would cost more time than it saves.
const SLICE: usize = 64;
const QUEUE: usize = 4;

/// A slice that has reached this many bytes is full, although it has fewer frames. 64 usual ones have less than half of it.
const SLICE_BYTES: usize = 256 * 1024;

/// How much is shown of a body that is no stream, in bytes, and how long the client waits for it.
const BODY_SHOWN: usize = 200;
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A longer `Retry-After` is shortened to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

type ReadFrame = Result<Frame, EventStreamError<reqwest::Error>>;

pub type Frames = Pin<Box<dyn Stream<Item = ReadFrame> + Send>>;

/// An answer that is compressed, although the request has not asked for that, is no stream.
pub fn is_event_stream(response: &Response) -> bool {
    let content_type = text(response, header::CONTENT_TYPE);
    let media_type = content_type.split(';').next().unwrap_or_default();
    response.status() == StatusCode::OK
        && media_type.trim().eq_ignore_ascii_case("text/event-stream")
        && encoding(response).is_empty()
}

fn encoding(response: &Response) -> &str {
    let encoding = text(response, header::CONTENT_ENCODING).trim();
    if encoding.eq_ignore_ascii_case("identity") { "" } else { encoding }
}

fn text(response: &Response, name: HeaderName) -> &str {
    let value = response.headers().get(name);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What came instead of a stream: the status, the type, and the beginning of the body, which often says why.
pub async fn describe(mut response: Response) -> String {
    let mut parts = vec![response.status().to_string()];
    let content_type = text(&response, header::CONTENT_TYPE);
    parts.extend((!content_type.is_empty()).then(|| content_type.to_owned()));
    let encoding = encoding(&response);
    if !encoding.is_empty() {
        parts.push(format!("compressed with {encoding}, which was not asked for"));
        return parts.join(", ");
    }
    let mut body = Vec::new();
    let reading = async {
        while body.len() < BODY_SHOWN
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
    };
    // What has come until then is enough.
    _ = timeout(BODY_TIMEOUT, reading).await;
    body.truncate(BODY_SHOWN);
    let body = String::from_utf8_lossy(&body);
    let body = body.trim();
    parts.extend((!body.is_empty()).then(|| format!("{body:?}")));
    parts.join(", ")
}

/// `Retry-After` is a number of seconds or a date. Any other value is treated as if the header were missing.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let text = text(response, header::RETRY_AFTER);
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(SystemTime::now()).ok()?
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The frames of a connection. A separate task reads them, so that two cores can share the work.
pub fn frames(response: Response, counters: Counters) -> Frames {
    let mut guard = Guard::new(counters);
    let pieces = response.bytes_stream().flat_map(move |chunk| {
        let pieces = match chunk {
            Ok(chunk) => guard.push(&chunk).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    });
    let size = |frame: &ReadFrame| frame.as_ref().map_or(0, |frame| frame.data.len());
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut frames = pin!(EventStream::new(pieces).fuse());
        while let Some(slice) = slice::next(&mut frames, SLICE, SLICE_BYTES, size).await {
            if sender.send(slice).await.is_err() {
                return;
            }
        }
    });
    Box::pin(stream::poll_fn(move |context| receiver.poll_recv(context)).flat_map(stream::iter))
}

/// The error with all its causes. Only the causes say what happened: a timeout, a reset, a broken chunk.
pub fn cause(error: EventStreamError<reqwest::Error>) -> String {
    match error {
        EventStreamError::Transport(error) => format!("{:#}", anyhow!(error.without_url())),
        error => error.to_string(),
    }
}
