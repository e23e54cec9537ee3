//! Serves HTTP, with one shape for errors and limits that hold for every request. main.rs puts the routes together
//! and calls `serve`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::map_request;
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::MakeRequestUuid;
use tower_http::request_id::PropagateRequestIdLayer;
use tower_http::request_id::SetRequestIdLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;
use tracing::info;
use tracing::info_span;
use tracing::warn;

use crate::connections;

/// From a request's head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest request body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// The longest `X-Request-ID` that is taken, in bytes.
const REQUEST_ID_LIMIT: usize = 128;

/// How long open requests have to end once shutdown has begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers `routes` on `address` until shutdown, then lets the requests that have begun end.
///
/// # Errors
/// The address can't be listened on.
pub async fn serve(address: SocketAddr, routes: Router, shutdown: CancellationToken) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}, is another program using it?"))?;
    info!(address = %listener.local_addr()?, "listening");
    tokio::select! {
        () = connections::serve(listener, app(routes), &shutdown) => Ok(()),
        () = drain_timeout(&shutdown) => Ok(()),
    }
}

/// Graceful shutdown waits for every open connection, also for one whose client never finishes its request.
async fn drain_timeout(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
    warn!(after = ?DRAIN_TIMEOUT, "closing connections that did not end by themselves");
}

/// Puts the limits around `routes`. The last layer is the outermost: it sees the answers of all the others.
pub fn app(routes: Router) -> Router {
    routes
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(map_response(one_error_shape))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span)
                .on_request(())
                .on_response(log_response)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(map_request(drop_odd_request_id))
}

/// An id that would fill the log, or could not be read there, is replaced by one of ours.
async fn drop_odd_request_id(mut request: Request) -> Request {
    let id = request
        .headers()
        .get("x-request-id")
        .map(|id| id.to_str().unwrap_or_default());
    if id.is_some_and(|id| id.is_empty() || id.len() > REQUEST_ID_LIMIT) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

/// Every log line of a request bears its id, method and path. A probe has no span, and stays out of the log.
fn request_span(request: &Request) -> Span {
    let path = request.uri().path();
    if matches!(path, "/status" | "/ready") {
        return Span::none();
    }
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok());
    info_span!("request", id, method = %request.method(), path)
}

fn log_response(response: &Response, latency: Duration, span: &Span) {
    if !span.is_none() {
        info!(status = response.status().as_u16(), ?latency, "answered");
    }
}

/// Errors made by axum and by the layers have a text body or none; they leave as `{"error": "…"}`, headers kept.
async fn one_error_shape(response: Response) -> Response {
    let status = response.status();
    let json = HeaderValue::from_static("application/json");
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(header::CONTENT_TYPE) == Some(&json) {
        return response;
    }
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    (head, Json(json!({ "error": reason }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::body::to_bytes;
    use axum::http::Request;
    use axum::routing::get;
    use axum::routing::post;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    fn routes() -> Router {
        Router::new().route("/status", get(async || "ok"))
    }

    async fn answer(routes: Router, request: Request<Body>) -> (StatusCode, Value) {
        let response = app(routes).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), BODY_LIMIT).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .body(body.into())
            .unwrap()
    }

    #[tokio::test]
    async fn unknown_path_is_404_in_json() {
        let got = answer(routes(), request("GET", "/nowhere", "")).await;
        assert_eq!(
            got,
            (StatusCode::NOT_FOUND, json!({ "error": "not found" }))
        );
    }

    #[tokio::test]
    async fn wrong_method_is_405_in_json_and_names_the_right_one() {
        let response = app(routes())
            .oneshot(request("DELETE", "/status", ""))
            .await
            .unwrap();
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
        let got = answer(routes(), request("DELETE", "/status", "")).await;
        assert_eq!(
            got,
            (
                StatusCode::METHOD_NOT_ALLOWED,
                json!({ "error": "method not allowed" })
            )
        );
    }

    #[tokio::test]
    async fn body_over_the_limit_is_413_whether_its_length_is_told_or_not() {
        let echo = || Router::new().route("/", post(async |body: String| body));
        let too_long = "x".repeat(BODY_LIMIT + 1);
        let told = Request::post("/")
            .header(header::CONTENT_LENGTH, too_long.len())
            .body(Body::from(too_long.clone()))
            .unwrap();
        let expected = (
            StatusCode::PAYLOAD_TOO_LARGE,
            json!({ "error": "payload too large" }),
        );
        assert_eq!(answer(echo(), told).await, expected);
        assert_eq!(
            answer(echo(), request("POST", "/", too_long)).await,
            expected
        );
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_takes_too_long_is_408() {
        let routes = Router::new().route("/", get(std::future::pending::<()>));
        let got = answer(routes, request("GET", "/", "")).await;
        assert_eq!(
            got,
            (
                StatusCode::REQUEST_TIMEOUT,
                json!({ "error": "request timeout" })
            )
        );
    }

    #[tokio::test]
    async fn request_id_is_taken_or_made() {
        let asked = Request::get("/status")
            .header("x-request-id", "mine")
            .body(Body::empty());
        let response = app(routes()).oneshot(asked.unwrap()).await.unwrap();
        assert_eq!(response.headers()["x-request-id"], "mine");
        let response = app(routes())
            .oneshot(request("GET", "/nowhere", ""))
            .await
            .unwrap();
        assert_eq!(response.headers()["x-request-id"].len(), 36);
        for odd in ["", &"x".repeat(129), "é"] {
            let asked = Request::get("/status")
                .header("x-request-id", odd)
                .body(Body::empty());
            let response = app(routes()).oneshot(asked.unwrap()).await.unwrap();
            assert_eq!(response.headers()["x-request-id"].len(), 36, "{odd}");
        }
    }
}
