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
use axum::extract::RawQuery;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
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
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let top = top(query.as_deref().unwrap_or_default())?;
    answer(&api.store.snapshot(top).await?)
}

/// The names in it were written by strangers, and the terminal of an operator may show it.
fn answer(snapshot: &Snapshot) -> Result<Response, Error> {
    let json = serde_json::to_string(snapshot).map_err(anyhow::Error::from)?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((content_type, printable(&json).into_owned()).into_response())
}

/// The value of `top` in the query.
fn top(query: &str) -> Result<usize, Error> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, number)) = pairs.find(|(name, _)| *name == "top") else {
        return Ok(DEFAULT_TOP);
    };
    match number.parse() {
        Ok(number @ 1..=TOP_LIMIT) => Ok(number),
        _ => Err(Error::BadRequest("top is a number from 1 to 1000")),
    }
}
