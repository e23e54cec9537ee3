//! The answer of the server: whether it is a stream, when to ask again, and the frames in it.

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
use tokio::sync::mpsc;

use crate::wikimedia::counters::Counters;
use crate::wikimedia::guard::Guard;

/// One task passes frames to another in slices of at most `SLICE`, and at most `QUEUE` slices wait. Waking the other
/// task for each frame would cost more time than it saves.
const SLICE: usize = 64;
const QUEUE: usize = 4;

/// A longer `Retry-After` is shortened to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

pub type Frames =
    Pin<Box<dyn Stream<Item = Result<Frame, EventStreamError<reqwest::Error>>> + Send>>;

pub fn is_event_stream(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    response.status() == StatusCode::OK
        && media_type.trim().eq_ignore_ascii_case("text/event-stream")
}

/// `Retry-After` is a number of seconds or a date. Any other value is treated as if the header were missing.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
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
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut slices = pin!(EventStream::new(pieces).ready_chunks(SLICE));
        while let Some(slice) = slices.next().await {
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
        EventStreamError::Transport(error) => format!("{:#}", anyhow!(error)),
        error => error.to_string(),
    }
}
