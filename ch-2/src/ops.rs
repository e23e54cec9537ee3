//! The routes for operators. Every role that serves HTTP has them.

use axum::Json;
use axum::Router;
use axum::routing::get;
use serde_json::Value;
use serde_json::json;

/// `GET /status` answers 200 `{"status":"ok"}` as long as the process serves HTTP.
pub fn routes() -> Router {
    Router::new().route("/status", get(status))
}

async fn status() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::body::to_bytes;
    use axum::http::Request;
    use axum::http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    async fn answer(routes: Router, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn status_is_ok() {
        let got = answer(routes(), "/status").await;
        assert_eq!(got, (StatusCode::OK, json!({ "status": "ok" })));
    }
}
