//! Serves HTTP, with one shape for errors and limits that hold for every request. main.rs puts the routes together
//! and calls `serve`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use axum::Json;
use axum::Router;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::map_request;
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::response::Response;
use rustix::process::Resource;
use rustix::process::getrlimit;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::MakeRequestUuid;
use tower_http::request_id::PropagateRequestIdLayer;
use tower_http::request_id::SetRequestIdLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tracing::info;
use tracing::warn;

use crate::connections;
use crate::request_log;

/// The longest time between the head of a request and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest request body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a shutdown waits for the requests that have begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves `routes` on `address` until the shutdown, and then waits for the requests that have begun.
///
/// # Errors
/// The program cannot listen on the address, or may open too few files.
pub async fn serve(address: SocketAddr, routes: Router, shutdown: CancellationToken) -> Result<()> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = connections::limit(files)?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}, is another program using it?"))?;
    info!(address = %listener.local_addr()?, "listening");
    tokio::select! {
        () = connections::serve(limit, listener, app(routes), &shutdown) => Ok(()),
        () = drain_timeout(&shutdown) => Ok(()),
    }
}

/// A graceful shutdown could wait for a client for longer than the whole shutdown may take. So the wait is limited.
async fn drain_timeout(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
    warn!(after = ?DRAIN_TIMEOUT, "closing connections that did not end by themselves");
}

/// Adds the limits to `routes`. The layer that is added last is the outermost: it sees the answers of all other layers.
pub fn app(routes: Router) -> Router {
    routes
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(map_response(one_error_shape))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_log::span)
                .on_request(())
                .on_response(request_log::answered)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(map_request(request_log::drop_odd_id))
}

/// axum and the layers answer an error with plain text, or with nothing. This puts `{"error": "…"}` in its place, and
/// keeps the other headers. A head that cannot be read does not come so far: hyper answers it without a body.
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

    fn refusal(status: StatusCode, reason: &str) -> (StatusCode, Value) {
        (status, json!({ "error": reason }))
    }

    fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
        let request = Request::builder().method(method).uri(path);
        request.body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn unknown_path_is_404_in_json() {
        let got = answer(routes(), request("GET", "/nowhere", "")).await;
        assert_eq!(got, refusal(StatusCode::NOT_FOUND, "not found"));
    }

    #[tokio::test]
    async fn wrong_method_is_405_in_json_and_names_the_right_one() {
        let delete = || request("DELETE", "/status", "");
        let response = app(routes()).oneshot(delete()).await.unwrap();
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
        let got = answer(routes(), delete()).await;
        let expected = refusal(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn body_over_the_limit_is_413_whether_its_length_is_told_or_not() {
        let echo = || Router::new().route("/", post(async |body: String| body));
        let too_long = "x".repeat(BODY_LIMIT + 1);
        let mut told = request("POST", "/", too_long.clone());
        let length = too_long.len().into();
        told.headers_mut().insert(header::CONTENT_LENGTH, length);
        let expected = refusal(StatusCode::PAYLOAD_TOO_LARGE, "payload too large");
        assert_eq!(answer(echo(), told).await, expected);
        let not_told = request("POST", "/", too_long);
        assert_eq!(answer(echo(), not_told).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_takes_too_long_is_408() {
        let routes = Router::new().route("/", get(std::future::pending::<()>));
        let got = answer(routes, request("GET", "/", "")).await;
        let expected = refusal(StatusCode::REQUEST_TIMEOUT, "request timeout");
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn request_id_is_taken_or_made() {
        let answered_id = async |id: Option<&str>| {
            let mut request = request("GET", "/nowhere", "");
            if let Some(id) = id {
                let id = HeaderValue::from_str(id).unwrap();
                request.headers_mut().insert("x-request-id", id);
            }
            let response = app(routes()).oneshot(request).await.unwrap();
            let id = response.headers()["x-request-id"].to_str();
            id.unwrap().to_owned()
        };
        for good in ["mine", &"x".repeat(128)] {
            assert_eq!(answered_id(Some(good)).await, good);
        }
        assert_eq!(answered_id(None).await.len(), 36);
        for odd in ["", &"x".repeat(129), "é"] {
            assert_eq!(answered_id(Some(odd)).await.len(), 36, "{odd}");
        }
    }
}
