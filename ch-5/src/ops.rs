//! The routes for operators. Every role that serves HTTP has them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::Error;
use crate::health::Health;
use crate::log_limit::LogLimit;

/// How long an answer to `/ready` is given again.
const ANSWER_AGE: Duration = Duration::from_millis(500);

/// When was asked, and what was missing.
type Answer = (Instant, Result<(), String>);

/// What `/ready` checks.
#[derive(Clone)]
struct Ops {
    shutdown: CancellationToken,
    /// Docker and Kubernetes ask all the time (this is called a probe), and must not flood the log while something is away.
    log_limit: Arc<LogLimit>,
    /// All requests that come while one is asking share its answer.
    answer: Arc<Mutex<Option<Answer>>>,
    health: Health,
}

/// `GET /status` answers 200 `{"status":"ok"}` as long as the process serves HTTP. `GET /ready` answers 200
/// `{"ready":true}`. It answers 503 and names what is missing while the role cannot do its work, and after a shutdown
/// has begun.
pub fn routes(shutdown: CancellationToken, health: Health) -> Router {
    let ops = Ops { shutdown, log_limit: Arc::default(), answer: Arc::default(), health };
    Router::new().route("/status", get(status)).route("/ready", get(ready)).with_state(ops)
}

async fn status() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(ops): State<Ops>) -> Result<Json<Value>, Error> {
    if ops.shutdown.is_cancelled() {
        return Err(Error::NotReady("shutting down".to_owned()));
    }
    // It has a task of its own, so that it is answered although this client goes away, and the next one need not ask again.
    let answer = tokio::spawn(async move { ops.answer().await });
    answer.await.map_err(anyhow::Error::from)?.map_err(Error::NotReady)?;
    Ok(Json(json!({ "ready": true })))
}

impl Ops {
    async fn answer(&self) -> Result<(), String> {
        let mut answer = self.answer.lock().await;
        if let Some((at, checked)) = &*answer
            && at.elapsed() < ANSWER_AGE
        {
            return checked.clone();
        }
        let checked = self.check().await;
        *answer = Some((Instant::now(), checked.clone()));
        checked
    }

    /// The outermost message of an error names what is missing. The causes are only logged.
    async fn check(&self) -> Result<(), String> {
        let Err(error) = self.health.ready().await else {
            return Ok(());
        };
        if let Some(withheld) = self.log_limit.allows() {
            warn!(withheld, "not ready: {error:#}");
        }
        Err(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use axum::body::Body;
    use axum::body::to_bytes;
    use axum::http::Request;
    use axum::http::StatusCode;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tower::ServiceExt;

    use super::*;
    use crate::store::Failures;
    use crate::store::StatsStore;

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

    fn health(store: StatsStore) -> Health {
        Health { store: Some(store), ..Health::default() }
    }

    #[tokio::test]
    async fn status_is_ok() {
        let got = answer(routes(CancellationToken::new(), Health::default()), "/status").await;
        assert_eq!(got, (StatusCode::OK, json!({ "status": "ok" })));
    }

    #[tokio::test]
    async fn ready_says_why_it_is_not() {
        let shutdown = CancellationToken::new();
        let routes = |health| routes(shutdown.clone(), health);
        let failing = StatsStore::Failing(Arc::default(), Arc::default());
        assert_eq!(reason(routes(health(failing))).await, "told to fail");
        let memory = health(StatsStore::Memory(Arc::default()));
        memory.lacks("a thing");
        assert_eq!(reason(routes(memory.clone())).await, "a thing");
        memory.is_whole();
        let ready = routes(memory);
        let got = answer(ready.clone(), "/ready").await;
        assert_eq!(got, (StatusCode::OK, json!({ "ready": true })));
        shutdown.cancel();
        assert_eq!(reason(ready).await, "shutting down");
    }

    /// The client that asks first goes away before the answer is there.
    #[tokio::test(start_paused = true)]
    async fn crowd_shares_one_answer_for_a_moment() {
        let failures = Arc::new(Failures::default());
        let store = StatsStore::Failing(Arc::default(), Arc::clone(&failures));
        let routes = routes(CancellationToken::new(), health(store));
        for questions in 1..=3 {
            assert!(reason(routes.clone()).now_or_never().is_none());
            join_all((0..200).map(|_| reason(routes.clone()))).await;
            assert_eq!(failures.questions.load(Ordering::SeqCst), questions);
            tokio::time::advance(ANSWER_AGE).await;
        }
    }
}
