//! The routes for users. `POST /login` takes `{"username":"…","password":"…"}` and answers `{"token":"…"}`.
//! `GET /stats` with that token answers a `Snapshot` of the first 100 users, or of as many as `?top=N` asks for.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::FromRef;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::auth::Auth;
use crate::auth::Claims;
use crate::error::Error;
use crate::limit::LoginLimit;
use crate::printable::printable;
use crate::stats::Snapshot;
use crate::stats::TOP_LIMIT;
use crate::store::StatsStore;

/// How many users `/stats` shows without `?top=`.
const DEFAULT_TOP: usize = 100;

pub fn routes(store: StatsStore, auth: Auth) -> Router {
    let limit = Arc::new(LoginLimit::new());
    Router::new().route("/login", post(login)).route("/stats", get(stats)).with_state(Api {
        store,
        auth,
        limit,
    })
}

#[derive(Clone)]
struct Api {
    store: StatsStore,
    auth: Auth,
    limit: Arc<LoginLimit>,
}

impl FromRef<Api> for Auth {
    fn from_ref(api: &Api) -> Self {
        api.auth.clone()
    }
}

async fn login(
    State(api): State<Api>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Json<Value>, Error> {
    let malformed = || Error::BadRequest(r#"expected {"username":"…","password":"…"}"#);
    let login: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| malformed())?;
    let text = |name| login.get(name).and_then(Value::as_str).ok_or_else(malformed);
    let (username, password) = (text("username")?, text("password")?);
    api.limit.check(client.ip()).map_err(Error::TooManyRequests)?;
    let token = api.auth.login(username, password).await?;
    Ok(Json(json!({ "token": token })))
}

async fn stats(
    State(api): State<Api>,
    _claims: Claims,
    query: Result<Query<Top>, QueryRejection>,
) -> Result<Response, Error> {
    answer(&api.store.snapshot(top(query)?).await?)
}

/// The names in it were written by strangers, and the terminal of an operator may show it.
fn answer(snapshot: &Snapshot) -> Result<Response, Error> {
    let json = serde_json::to_string(snapshot).map_err(anyhow::Error::from)?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((content_type, printable(&json).into_owned()).into_response())
}

#[derive(Deserialize)]
struct Top {
    top: Option<usize>,
}

/// The value of `top` in the query.
fn top(query: Result<Query<Top>, QueryRejection>) -> Result<usize, Error> {
    match query.map(|Query(query)| query.top.unwrap_or(DEFAULT_TOP)) {
        Ok(number @ 1..=TOP_LIMIT) => Ok(number),
        _ => Err(Error::BadRequest("top is a number from 1 to 1000")),
    }
}
