//! The error with which a handler refuses a request, and its answer: `{"error": "…"}` with the right status.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;
use tracing::error;

/// The client gets the text of the error. The cause in `Internal` is only logged, never sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The time after which the client may try again.
    #[error("too many requests, try again later")]
    TooManyRequests(Duration),
    /// What is missing.
    #[error("{0}")]
    NotReady(String),
    #[error("something went wrong here, try again later")]
    Internal(#[from] anyhow::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.to_string() }));
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, body).into_response(),
            Self::Unauthorized(_) => {
                let scheme = [(header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, scheme, body).into_response()
            }
            Self::TooManyRequests(wait) => {
                let seconds = wait.as_secs_f64().ceil().max(1.0);
                let after = [(header::RETRY_AFTER, seconds.to_string())];
                (StatusCode::TOO_MANY_REQUESTS, after, body).into_response()
            }
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, body).into_response(),
            Self::Internal(cause) => {
                error!("{cause:#}");
                (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn internals_are_not_sent() {
        let secret = anyhow::anyhow!("password of the database");
        let response = Error::from(secret).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        let expected = r#"{"error":"something went wrong here, try again later"}"#;
        assert_eq!(body, expected);
    }
}
