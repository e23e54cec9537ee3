//! Logins and tokens, right and wrong ones.

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHasher;
use argon2::Version;
use axum::body::Body;
use axum::body::to_bytes;
use axum::http::HeaderMap;
use axum::http::Request;
use axum::http::StatusCode;
use axum::http::header;
use jsonwebtoken::Algorithm as Signature;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::get_current_timestamp;
use tower::ServiceExt;

use super::*;
use crate::config;
use crate::event::Event;
use crate::http::app;
use crate::resume::Resume;

const SECRET: &str = "a secret of at least 32 bytes, for tests";

/// Alice's password is `right`; the store holds one event.
async fn server() -> Router {
    server_of("Alice").await
}

fn config(username: &str) -> config::Auth {
    let cheap =
        Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    config::Auth {
        jwt_secret: SECRET.to_owned(),
        admin_username: username.to_owned(),
        admin_password_hash: cheap.hash_password(b"right").unwrap().to_string(),
    }
}

async fn server_of(username: &str) -> Router {
    let store = StatsStore::Memory(Arc::default());
    let event = Event {
        domain: Some("en.wikipedia.org".to_owned()),
        user: Some("Alice".to_owned()),
        ..Event::default()
    };
    store.record(&[event], &Resume::default()).await.unwrap();
    let auth = Auth::open(&config(username), store.clone()).await.unwrap();
    app(routes(store, auth))
}

async fn send(server: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let response = server.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), 1024).await.unwrap();
    (status, headers, serde_json::from_slice(&body).unwrap())
}

fn login(body: impl Into<Body>) -> Request<Body> {
    let client: SocketAddr = "192.0.2.1:1234".parse().unwrap();
    Request::post("/login").extension(ConnectInfo(client)).body(body.into()).unwrap()
}

fn stats(authorization: Option<&str>) -> Request<Body> {
    let request = Request::get("/stats");
    let request = authorization
        .into_iter()
        .fold(request, |request, value| request.header(header::AUTHORIZATION, value));
    request.body(Body::empty()).unwrap()
}

fn signed(algorithm: Signature, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

#[tokio::test]
async fn right_password_gives_a_token_that_opens_the_statistics() {
    let server = server().await;
    let (status, _, body) =
        send(&server, login(r#"{"username":"Alice","password":"right"}"#)).await;
    assert_eq!(status, StatusCode::OK);
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    let (status, _, body) = send(&server, stats(Some(&bearer))).await;
    let expected = json!({
        "messages": 1, "distinct_users": 1, "bots": 0, "non_bots": 1, "by_domain": {"en.wikipedia.org": 1},
    });
    assert_eq!((status, body), (StatusCode::OK, expected));
}

/// Each of many programs that start at the same time would end otherwise.
#[tokio::test(start_paused = true)]
async fn failed_write_of_the_user_is_tried_again() {
    let store = StatsStore::failing(0, 3);
    Auth::open(&config("Alice"), store.clone()).await.unwrap();
    assert!(store.password_hash("Alice").await.unwrap().is_some());
}

/// Two forms of the same name, which differ in their bytes.
#[tokio::test]
async fn name_typed_in_another_form_is_the_same_user() {
    for (configured, typed) in [("Ren\u{e9}", "Rene\u{301}"), ("Rene\u{301}", "Ren\u{e9}")] {
        let server = server_of(configured).await;
        let body = json!({ "username": typed, "password": "right" }).to_string();
        let (status, ..) = send(&server, login(body)).await;
        assert_eq!(status, StatusCode::OK, "{configured:?}");
    }
}

#[tokio::test]
async fn names_in_the_statistics_steer_no_terminal() {
    let by_domain = [("a\u{9b}2J\u{202e}".to_owned(), 1)].into();
    let snapshot = Snapshot { by_domain, ..Snapshot::default() };
    let body = to_bytes(answer(&snapshot).unwrap().into_body(), 1024).await.unwrap();
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains(r#""a\u009b2J\u202e""#), "{text}");
    let read: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(read, serde_json::to_value(&snapshot).unwrap());
}

#[tokio::test]
async fn wrong_password_and_unknown_user_get_the_same_answer() {
    let server = server().await;
    let (status, headers, body) =
        send(&server, login(r#"{"username":"Alice","password":"wrong"}"#)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer");
    for login_as in [r#"{"username":"Bob","password":"right"}"#, r#"{"username":"","password":""}"#]
    {
        let (other_status, _, other) = send(&server, login(login_as)).await;
        assert_eq!((other_status, &other), (status, &body), "{login_as}");
    }
}

#[tokio::test]
async fn what_is_no_login_is_400_and_what_is_too_long_413() {
    let server = server().await;
    for body in [
        "",
        "{",
        "[]",
        "{}",
        "null",
        r#"["Alice","right"]"#,
        r#"{"username":"Alice"}"#,
        r#"{"username":1,"password":2}"#,
    ] {
        let (status, _, answer) = send(&server, login(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    let (status, ..) = send(&server, login(" ".repeat(100_000))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn flood_of_logins_is_429_with_a_time_to_wait() {
    let server = server().await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(send(&server, login(r#"{"username":"Alice","password":"wrong"}"#)).await);
    }
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    let (status, headers, _) = answers.last().unwrap();
    assert_eq!(*status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn every_bad_token_gets_the_same_401() {
    let server = server().await;
    let now = get_current_timestamp();
    let good = json!({ "sub": "Alice", "iat": now, "exp": now + 60 });
    let expired = json!({ "sub": "Alice", "iat": now - 60, "exp": now - 1 });
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJBbGljZSIsImlhdCI6MCwiZXhwIjo5OTk5OTk5OTk5fQ.";
    let valid = signed(Signature::HS256, SECRET, &good);
    let bearer =
        |algorithm, secret, claims| Some(format!("Bearer {}", signed(algorithm, secret, claims)));
    let (status, ..) = send(&server, stats(Some(&format!("bearer {valid}")))).await;
    assert_eq!(status, StatusCode::OK);
    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer not.a.token".to_owned()),
        Some(format!("Basic {valid}")),
        Some(format!("Bearer {none}")),
        bearer(Signature::HS256, SECRET, &expired),
        bearer(Signature::HS256, "another secret of more than 32 bytes", &good),
        bearer(Signature::HS384, SECRET, &good),
        bearer(Signature::HS256, SECRET, &json!({ "sub": "Alice" })),
        bearer(Signature::HS256, SECRET, &json!({ "exp": now + 60 })),
    ];
    for authorization in bad {
        let (status, headers, body) = send(&server, stats(authorization.as_deref())).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{authorization:?}");
        assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(body, json!({ "error": "a valid token is needed, POST /login gives one" }));
    }
}
