//! The routes for operators. Every role that serves HTTP has them.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::Value;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::ready::Broker;
use crate::error::Error;
use crate::log_limit::LogLimit;
use crate::store::StatsStore;

/// What `/ready` checks.
#[derive(Clone)]
struct Ops {
    shutdown: CancellationToken,
    /// Docker and Kubernetes ask all the time (this is called a probe), and must not flood the log while something is away.
    log_limit: Arc<LogLimit>,
    store: Option<StatsStore>,
    broker: Broker,
}

/// `GET /status` answers 200 `{"status":"ok"}` as long as the process serves HTTP. `GET /ready` answers 200
/// `{"ready":true}`. It answers 503 with the reason while something that the role needs does not answer, and after a
/// shutdown has begun.
pub fn routes(shutdown: CancellationToken, store: Option<StatsStore>, broker: Broker) -> Router {
    let ops = Ops { shutdown, log_limit: Arc::default(), store, broker };
    Router::new().route("/status", get(status)).route("/ready", get(ready)).with_state(ops)
}

async fn status() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(ops): State<Ops>) -> Result<Json<Value>, Error> {
    if ops.shutdown.is_cancelled() {
        return Err(Error::NotReady("shutting down"));
    }
    if let Some(store) = &ops.store {
        ops.check(store.ready().await, "the store does not answer")?;
    }
    ops.check(ops.broker.ready().await, "the broker does not answer")?;
    Ok(Json(json!({ "ready": true })))
}

impl Ops {
    /// Logs an error, and answers with the reason in its place.
    fn check(&self, answer: anyhow::Result<()>, reason: &'static str) -> Result<(), Error> {
        let Err(error) = answer else {
            return Ok(());
        };
        if let Some(withheld) = self.log_limit.allows() {
            warn!(withheld, "not ready: {error:#}");
        }
        Err(Error::NotReady(reason))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::body::to_bytes;
    use axum::http::Request;
    use axum::http::StatusCode;
    use rdkafka::mocking::MockCluster;
    use tower::ServiceExt;

    use super::*;
    use crate::config;

    async fn answer(routes: Router, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn reason(routes: Router) -> Value {
        let (status, mut body) = answer(routes, "/ready").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        body["error"].take()
    }

    #[tokio::test]
    async fn status_is_ok() {
        let broker =
            Broker::connect(&config::Broker::for_test(&["127.0.0.1:9".to_owned()])).unwrap();
        let got = answer(routes(CancellationToken::new(), None, broker), "/status").await;
        assert_eq!(got, (StatusCode::OK, json!({ "status": "ok" })));
    }

    #[tokio::test]
    async fn ready_says_why_it_is_not() {
        let cluster = MockCluster::new(1).unwrap();
        let config = config::Broker::for_test(&[cluster.bootstrap_servers()]);
        let shutdown = CancellationToken::new();
        let routes = |store| routes(shutdown.clone(), store, Broker::connect(&config).unwrap());
        let failing = routes(Some(StatsStore::Failing(Arc::default(), Arc::default())));
        assert_eq!(reason(failing).await, "the store does not answer");
        let ready = routes(Some(StatsStore::Memory(Arc::default())));
        let got = answer(ready.clone(), "/ready").await;
        assert_eq!(got, (StatusCode::OK, json!({ "ready": true })));
        cluster.broker_down(1).unwrap();
        // Another client, because the first one uses its answer again for a moment.
        assert_eq!(reason(routes(None)).await, "the broker does not answer");
        shutdown.cancel();
        assert_eq!(reason(ready).await, "shutting down");
    }
}
