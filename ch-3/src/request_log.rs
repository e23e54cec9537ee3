//! Which requests are logged, and how. http.rs puts these functions into the layers around every route.

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use tracing::Span;
use tracing::info;
use tracing::info_span;

/// The longest `X-Request-ID` that is accepted, in bytes.
const ID_LIMIT: usize = 128;

/// Removes an id that is too long for the log, or not readable there. The next layer then makes a new one.
pub async fn drop_odd_id(mut request: Request) -> Request {
    let id = request.headers().get("x-request-id");
    let id = id.map(|id| id.to_str().unwrap_or_default());
    if id.is_some_and(|id| id.is_empty() || id.len() > ID_LIMIT) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

/// Puts the id, the method and the path into every log line of a request. A probe gets no span, so it is not logged.
pub fn span(request: &Request) -> Span {
    let path = request.uri().path();
    if matches!(path, "/status" | "/ready") {
        return Span::none();
    }
    let id = request.headers().get("x-request-id");
    let id = id.and_then(|id| id.to_str().ok());
    info_span!("request", id, method = %request.method(), path)
}

pub fn answered(response: &Response, latency: Duration, span: &Span) {
    if !span.is_none() {
        info!(status = response.status().as_u16(), ?latency, "answered");
    }
}
