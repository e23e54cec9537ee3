//! The HTTP server of the replay: whom it lets in and whom it refuses, as the real service does, and the two routes
//! that only a replay can have, /truth and /progress.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::replay::connection::Connection;
use crate::replay::cursor;
use crate::replay::state::Shared;
use crate::replay::wire::Cut;
use crate::replay::wire::Wire;

#[derive(Clone)]
struct Peer {
    address: IpAddr,
    cut: Cut,
}

/// Serves until the token in `shared` is cancelled. Then the streams end; a client that does not read its stream to the
/// end within a second is dropped.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/v2/stream/recentchange", get(stream))
        .route("/v2/stream/mediawiki.recentchange", get(stream))
        .route("/truth", get(truth))
        .route("/progress", get(progress))
        .with_state(Arc::clone(&shared));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => _ = connections.spawn(serve_connection(tcp, peer.ip(), router.clone(), Arc::clone(&shared))),
                // Out of file descriptors, mostly: whoever waits is served when one is free.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(listener);
    _ = timeout(Duration::from_secs(1), async { while connections.join_next().await.is_some() {} })
        .await;
    connections.shutdown().await;
}

async fn serve_connection(tcp: TcpStream, address: IpAddr, router: Router, shared: Arc<Shared>) {
    _ = tcp.set_nodelay(true);
    let cut = Cut::default();
    let peer = Peer { address, cut: cut.clone() };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new().serve_connection(TokioIo::new(Wire { tcp, cut }), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shared.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A reader that goes away, or is cut off, is everyday life here.
    _ = ended;
}

async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let faults = &shared.options.faults;
    if shared.refuses_next() {
        let status =
            StatusCode::from_u16(faults.refuse_status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        return refuse(&shared, status, "refused on demand\n".to_owned());
    }
    if text(header::USER_AGENT).is_none_or(|agent| agent.trim().is_empty()) {
        let why = "Please set a user-agent that names your program and a way to reach you: https://w.wiki/4wJS\n";
        return refuse(&shared, StatusCode::FORBIDDEN, why.to_owned());
    }
    let last_event_id = text(header::HeaderName::from_static("last-event-id"));
    let start = match cursor::start(last_event_id.as_deref(), query.as_deref()) {
        Ok(start) => start,
        Err(why) => return refuse(&shared, StatusCode::BAD_REQUEST, why),
    };
    let Some(permit) = shared.admit(peer.address) else {
        let why = format!(
            "Too many connections from your address: {} at a time\n",
            shared.options.connections
        );
        return refuse(&shared, StatusCode::TOO_MANY_REQUESTS, why);
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    let connection = Connection::new(Arc::clone(&shared), &start, peer.cut, permit);
    (headers, Body::from_stream(connection.body())).into_response()
}

/// Retry-After is sent only where a later try can succeed.
fn refuse(shared: &Shared, status: StatusCode, why: String) -> Response {
    shared.count_refused(status.as_u16());
    let mut response = (status, why).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, shared.options.faults.retry_after.into());
    }
    response
}

async fn truth(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let top = query
        .as_deref()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("top=")));
    match top.map_or(Ok(100), str::parse) {
        Ok(top @ 1..=1000) => Json(shared.truth(top)).into_response(),
        _ => {
            (StatusCode::BAD_REQUEST, Json(json!({"error": "top must be a number from 1 to 1000"})))
                .into_response()
        }
    }
}

async fn progress(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.progress()).into_response()
}
