//! The RecentChange stream of Wikimedia as a `Stream` of events that does not end: it connects, reads on after a
//! dropped connection where it stopped, and passes over what is no event. The role that reads it calls `events`.

mod counters;
mod guard;
mod parse;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::pin::pin;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use eventsource_stream::Event as Frame;
use eventsource_stream::EventStream;
use eventsource_stream::EventStreamError;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Client;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header;
use reqwest::header::HeaderValue;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::event::Event;
use crate::resume::Place;
use crate::resume::Resume;
pub use crate::wikimedia::counters::Counters;
use crate::wikimedia::guard::Guard;
use crate::wikimedia::parse::Parsed;
use crate::wikimedia::parse::parse;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The real stream has dozens of events a second: after this long without a byte the connection is taken for dead.
/// There is no limit to how long it may last.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The first wait before a reconnect; it doubles with each attempt that brought no event.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Frames are handed from task to task in slices of what has arrived, and so many slices may wait. Smaller ones cost
/// more waking than they save waiting.
const SLICE: usize = 64;
const QUEUE: usize = 4;

/// The longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Events from `resume` on, each with the place after it; with the default `Resume`, from now on.
///
/// # Errors
/// The HTTP client can't be made, for want of CA certificates. What befalls a connection is logged and ridden out.
pub fn events(
    config: &config::Stream,
    resume: Resume,
    counters: Counters,
) -> Result<impl Stream<Item = (Event, Resume)> + use<>> {
    let client = Client::builder()
        .user_agent(config.user_agent.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .build()
        .context("cannot set up the HTTP client; are CA certificates installed?")?;
    let reader = Reader {
        client,
        url: config.wikipedia_stream_url.clone(),
        counters,
        place: Place::new(resume),
        frames: None,
        barren_attempts: 0,
    };
    Ok(stream::unfold(Box::new(reader), async |mut reader| {
        let next = reader.next().await;
        Some((next, reader))
    }))
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, EventStreamError<reqwest::Error>>> + Send>>;

struct Reader {
    client: Client,
    url: Url,
    counters: Counters,
    place: Place,
    /// The open connection.
    frames: Option<Frames>,
    /// Attempts to connect since the last event.
    barren_attempts: u32,
}

impl Reader {
    async fn next(&mut self) -> (Event, Resume) {
        loop {
            let Some(frames) = &mut self.frames else {
                self.connect().await;
                continue;
            };
            match frames.next().await {
                Some(Ok(frame)) => {
                    if let Some(event) = self.read(&frame) {
                        self.barren_attempts = 0;
                        return (event, self.place.resume().clone());
                    }
                }
                Some(Err(error)) => self.disconnected(&cause(error)).await,
                None => self.disconnected("closed by the server").await,
            }
        }
    }

    /// An event that has not been read before, or nothing.
    fn read(&mut self, frame: &Frame) -> Option<Event> {
        if frame.event == "error" {
            self.counters
                .error_events
                .count(&format!("error event: {:?}", excerpt(&frame.data)));
            return None;
        }
        match parse(&frame.data) {
            Parsed::Event(event) => {
                let new = self.place.advance(&frame.id, event.id.as_deref());
                let counter = if new {
                    &self.counters.events
                } else {
                    &self.counters.doubles
                };
                counter.add();
                new.then_some(event)
            }
            Parsed::Canary { id } => {
                self.place.advance(&frame.id, id.as_deref());
                self.counters.canaries.add();
                None
            }
            Parsed::Rejected => {
                self.place.advance(&frame.id, None);
                self.counters
                    .rejected
                    .count(&format!("not a JSON object: {:?}", excerpt(&frame.data)));
                None
            }
        }
    }

    async fn disconnected(&mut self, reason: &str) {
        self.frames = None;
        self.counters.reconnects.add();
        let wait = self.back_off();
        info!(
            reason,
            ?wait,
            "connection to the stream ended, reconnecting"
        );
        sleep(wait).await;
    }

    /// Opens a connection, or waits as long as the refusal asks for.
    async fn connect(&mut self) {
        let mut request = self
            .client
            .get(self.url.clone())
            .header(header::ACCEPT, "text/event-stream");
        let last_event_id = self.place.resume().last_event_id.as_deref();
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()) {
            request = request.header("last-event-id", id);
        }
        let wait = match request.send().await {
            Ok(response) if is_event_stream(&response) => {
                info!(url = %self.url, resumed = last_event_id.is_some(), "reading the stream");
                self.frames = Some(frames(response, self.counters.clone()));
                return;
            }
            Ok(response) => self.refused(&response),
            Err(error) => {
                let wait = self.back_off();
                warn!(?wait, "cannot reach the stream: {:#}", anyhow!(error));
                wait
            }
        };
        sleep(wait).await;
    }

    fn refused(&mut self, response: &Response) -> Duration {
        let status = response.status();
        let mut wait = self.back_off();
        if status == StatusCode::FORBIDDEN {
            wait = LONGEST_WAIT;
            error!(
                ?wait,
                "the stream refuses this client (403): set USER_AGENT to a name, a version and a contact"
            );
        } else {
            // Never sooner than it would by itself: 0 would make it ask without pause.
            wait = retry_after(response).map_or(wait, |asked| asked.max(wait));
            warn!(?wait, %status, "no event stream from {}", self.url);
        }
        wait
    }

    /// Doubles with every attempt, and is spread so that many clients do not come back at once.
    fn back_off(&mut self) -> Duration {
        let doubled = SHORTEST_WAIT.saturating_mul(1 << self.barren_attempts.min(16));
        self.barren_attempts += 1;
        doubled
            .min(LONGEST_WAIT)
            .mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// With what lies behind it, which is what tells: a timeout, a reset, a broken chunk.
fn cause(error: EventStreamError<reqwest::Error>) -> String {
    match error {
        EventStreamError::Transport(error) => format!("{:#}", anyhow!(error)),
        error => error.to_string(),
    }
}

/// Enough to see what it is.
fn excerpt(data: &str) -> &str {
    &data[..data.floor_char_boundary(200)]
}

fn is_event_stream(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    response.status() == StatusCode::OK
        && media_type.trim().eq_ignore_ascii_case("text/event-stream")
}

/// The frames of a connection. A task of its own reads them on one core, while another deals with those before.
fn frames(response: Response, counters: Counters) -> Frames {
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

/// Seconds or a date; anything else reads as absent.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.parse().map(Duration::from_secs);
    let until = || {
        httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .ok()
    };
    Some(seconds.ok().or_else(until)?.min(LONGEST_RETRY_AFTER))
}
