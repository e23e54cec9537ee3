//! Which requests are logged, and how. http.rs puts these functions into the layers around every route.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::response::Response;
use tracing::Span;
use tracing::field::display;
use tracing::info;
use tracing::info_span;

/// The longest `X-Request-ID` that is accepted, in bytes.
const ID_LIMIT: usize = 128;

/// How much of a path or of a method is logged, in bytes. A client may send 16 KiB of it.
const SHOWN_LIMIT: usize = 256;

/// Removes an id that is too long for the log, or not readable there. The next layer then makes a new one.
pub async fn drop_odd_id(mut request: Request) -> Request {
    let id = request.headers().get("x-request-id");
    let id = id.map(|id| id.to_str().unwrap_or_default());
    if id.is_some_and(|id| id.is_empty() || id.len() > ID_LIMIT) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

/// Puts the id, the client, the method and the path into every log line of a request. The client is the one that opened
/// the connection; it may be a proxy. Requests for `/status` and `/ready` are not logged, because Docker and Kubernetes send them
/// all the time.
pub fn span(request: &Request) -> Span {
    let path = request.uri().path();
    if matches!(path, "/status" | "/ready") {
        return Span::none();
    }
    let id = request.headers().get("x-request-id");
    let id = id.and_then(|id| id.to_str().ok());
    let client = request.extensions().get();
    let client = client.map(|ConnectInfo(client): &ConnectInfo<SocketAddr>| display(client));
    info_span!(
        "request",
        id,
        client,
        method = %beginning(request.method().as_str()),
        path = beginning(path)
    )
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_LIMIT)]
}

pub fn answered(response: &Response, latency: Duration, span: &Span) {
    if !span.is_none() {
        info!(status = response.status().as_u16(), ?latency, "answered");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use axum::body::Body;
    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn line_has_the_client_and_only_the_beginning_of_what_it_sent() {
        let (mut log, writer) = std::io::pipe().unwrap();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(writer)).finish();
        let client: SocketAddr = "192.0.2.1:1234".parse().unwrap();
        let [method, path] = [b"M", b"/x".as_slice()].map(|text| text.repeat(5000));
        let request = Request::builder().method(&*method).uri(path).extension(ConnectInfo(client));
        let request = request.body(Body::empty()).unwrap();
        with_default(subscriber, || {
            let span = span(&request);
            span.in_scope(|| answered(&Response::default(), Duration::ZERO, &span));
        });
        let mut line = String::new();
        log.read_to_string(&mut line).unwrap();
        assert!(line.contains("192.0.2.1:1234") && line.contains("/x/x"), "{line}");
        assert!(line.len() < 2 * SHOWN_LIMIT + 300, "{line}");
    }
}
