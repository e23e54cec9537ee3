//! The RecentChange stream of Wikimedia as a `Stream` of events that does not end. After a lost connection it connects
//! again and continues where it stopped. What is not an event is skipped. The role that reads the stream calls `events`.

mod counters;
mod guard;
mod parse;
mod proxy;
mod response;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use eventsource_stream::Event as Frame;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Client;
use reqwest::Proxy;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tracing::error;
use tracing::field::display;
use tracing::info;
use tracing::warn;

use crate::config;
use crate::config::PrivateUrl;
use crate::event::Event;
use crate::resume::Place;
use crate::resume::Resume;
pub use crate::wikimedia::counters::Counters;
use crate::wikimedia::parse::Parsed;
use crate::wikimedia::parse::parse;
use crate::wikimedia::response::Frames;
use crate::wikimedia::response::cause;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which no event arrives for this long is assumed to be dead, because the real stream has dozens of
/// events a second. The connection itself may last for any time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The first wait before a reconnect. It doubles, so that a server that closes after each event is not asked many times a
/// second, until a connection brings `WORTHWHILE` events or lasts as long as the longest wait. A wait that the stream asks
/// for with `retry:` is at least as long as the first number, and at most as long as the second.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const WORTHWHILE: u64 = 100;

/// The events that follow `resume`, each with the place after it. With the default `Resume` they begin now.
///
/// # Errors
/// The HTTP client cannot be made because there are no CA certificates, or the proxy cannot be used. A connection that fails
/// is no error: it is logged, and made again.
pub fn events(
    config: &config::Stream,
    resume: Resume,
    counters: Counters,
) -> Result<impl Stream<Item = (Event, Resume)> + use<>> {
    let url = config.wikipedia_stream_url.clone();
    let proxy = proxy::proxy_for(&url.0)?;
    let client = Client::builder()
        .user_agent(config.user_agent.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        // It is asked for each URL, because a server may redirect to another one.
        .proxy(Proxy::custom(|url| proxy::proxy_for(url).ok()?.map(|proxy| proxy.0)));
    let client =
        client.build().context("cannot set up the HTTP client; are CA certificates installed?")?;
    let reader = Reader {
        client,
        url,
        proxy,
        counters,
        place: Place::new(resume),
        connection: None,
        attempts: 0,
        retry: Duration::ZERO,
    };
    Ok(stream::unfold(Box::new(reader), async |mut reader| {
        let next = reader.next().await;
        Some((next, reader))
    }))
}

struct Reader {
    client: Client,
    url: PrivateUrl,
    /// The proxy that the client uses for this URL.
    proxy: Option<PrivateUrl>,
    counters: Counters,
    place: Place,
    connection: Option<Connection>,
    /// Attempts to connect since the last connection that was worthwhile.
    attempts: u32,
    /// The shortest wait before a reconnect, as the stream has asked for it.
    retry: Duration,
}

/// An open connection.
struct Connection {
    frames: Frames,
    since: Instant,
    /// The number of events that had been read when it was opened.
    events_before: u64,
}

impl Reader {
    async fn next(&mut self) -> (Event, Resume) {
        loop {
            let Some(connection) = &mut self.connection else {
                self.connect().await;
                continue;
            };
            match timeout(IDLE_TIMEOUT, connection.frames.next()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(event) = self.read(&frame) {
                        return (event, self.place.resume());
                    }
                }
                Ok(Some(Err(error))) => self.disconnected(&cause(error)).await,
                Ok(None) => self.disconnected("closed by the server").await,
                Err(_) => self.disconnected(&format!("no event for {IDLE_TIMEOUT:?}")).await,
            }
        }
    }

    /// The event of a frame, or `None` if the frame has no event or one that has been read before.
    fn read(&mut self, frame: &Frame) -> Option<Event> {
        if let Some(retry) = frame.retry {
            self.retry = retry.clamp(SHORTEST_WAIT, LONGEST_WAIT);
            return None;
        }
        if frame.event == "error" {
            self.counters.error_events.count(&format!("error event: {:?}", excerpt(&frame.data)));
            return None;
        }
        match parse(&frame.data) {
            Parsed::Event(event) => {
                let new = self.place.advance(&frame.id, event.id.as_deref());
                let counter = if new { &self.counters.events } else { &self.counters.doubles };
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
        if let Some(connection) = self.connection.take() {
            let events = self.counters.events.total() - connection.events_before;
            if events >= WORTHWHILE || connection.since.elapsed() >= LONGEST_WAIT {
                self.attempts = 0;
            }
        }
        self.counters.reconnects.add();
        let wait = self.back_off();
        info!(reason, ?wait, "connection to the stream ended, reconnecting");
        sleep(wait).await;
    }

    /// Opens a connection. If the server refuses it, this waits as long as the server asks.
    async fn connect(&mut self) {
        let mut request =
            self.client.get(self.url.0.clone()).header(header::ACCEPT, "text/event-stream");
        let last_event_id = self.place.last_event_id();
        if let Some(id) = &last_event_id {
            request = request.header("last-event-id", id.as_bytes());
        }
        let wait = match request.send().await {
            Ok(response) if response::is_event_stream(&response) => {
                info!(url = %self.url, resumed = last_event_id.is_some(), "reading the stream");
                self.connection = Some(Connection {
                    frames: response::frames(response, self.counters.clone()),
                    since: Instant::now(),
                    events_before: self.counters.events.total(),
                });
                return;
            }
            Ok(response) => self.refused(response).await,
            Err(error) => {
                let wait = self.back_off();
                let proxy = self.proxy.as_ref().map(display);
                let url = &self.url;
                warn!(?wait, %url, proxy, "cannot reach the stream: {:#}", anyhow!(error.without_url()));
                wait
            }
        };
        sleep(wait).await;
    }

    async fn refused(&mut self, response: Response) -> Duration {
        let status = response.status();
        let own_wait = self.back_off();
        let own_wait = if status == StatusCode::FORBIDDEN { LONGEST_WAIT } else { own_wait };
        // The wait is never shorter than our own: with `Retry-After: 0` the client would ask without a pause.
        let wait = response::retry_after(&response).map_or(own_wait, |asked| asked.max(own_wait));
        let last_event_id = self.place.last_event_id();
        let proxy = self.proxy.as_ref().map(display);
        let came = response::describe(response).await;
        match status {
            StatusCode::FORBIDDEN => error!(
                ?wait,
                proxy,
                %came,
                "the stream refuses this client (403): set USER_AGENT to a name, a version and a contact"
            ),
            StatusCode::BAD_REQUEST if last_event_id.is_some() => error!(
                ?wait,
                last_event_id,
                %came,
                "the stream refuses the place to go on from (400): it needs another one"
            ),
            _ => warn!(?wait, proxy, %came, "no event stream from {}", self.url),
        }
        wait
    }

    /// The next wait. A part of it is random, so that many clients do not come back at once. It is at least as long as the
    /// stream has asked for.
    fn back_off(&mut self) -> Duration {
        let doubled = SHORTEST_WAIT.saturating_mul(1 << self.attempts.min(16));
        self.attempts += 1;
        doubled.min(LONGEST_WAIT).mul_f64(0.5 + fastrand::f64() / 2.0).max(self.retry)
    }
}

/// The beginning of the data, which is enough to see what it is.
fn excerpt(data: &str) -> &str {
    &data[..data.floor_char_boundary(200)]
}
