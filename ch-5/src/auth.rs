//! Who may see the statistics. A user with the right password gets a token, which is signed with HS256 and valid for an
//! hour. api.rs calls `login`, and a handler that needs a token has `Claims` among its arguments.

mod password;

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use axum::extract::FromRef;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use icu_normalizer::ComposingNormalizerBorrowed;
use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::Validation;
use jsonwebtoken::decode;
use jsonwebtoken::encode;
use jsonwebtoken::get_current_timestamp;
use serde::Deserialize;
use serde::Serialize;
use tracing::warn;

use crate::auth::password::Passwords;
pub use crate::auth::password::hash_password;
use crate::config;
use crate::error::Error;
use crate::retry;
use crate::store::StatsStore;

/// How long a token is valid, in seconds.
const TOKEN_LIFETIME: u64 = 3600;

/// `JWT_SECRET` in `.env.example`. Everybody who reads the repository can sign with it.
pub const EXAMPLE_SECRET: &str = "made-up-secret-of-the-example-file-change-it";

/// `ADMIN_PASSWORD_HASH` in `.env.example`. Its password stands beside it.
pub const EXAMPLE_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$kTIRYudibI5GVvEe4V5yiQ$y+iS0U7J+ivkTtD8xW17LocSs5VB20T+BFcOFmBS3Qw";

/// Clones share the store, the keys and the thread that checks passwords.
#[derive(Clone)]
pub struct Auth {
    store: StatsStore,
    keys: Arc<Keys>,
    passwords: Passwords,
}

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    /// The password of a user who does not exist is compared with this, so that the answer takes as long as for others.
    dummy_hash: String,
}

/// What a token contains: its user, when it was issued and when it expires, in seconds since 1970.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub iat: u64,
    pub exp: u64,
}

impl Auth {
    /// Writes the user into `store`. The configuration says who may log in, so a user whom an earlier one has named may
    /// no longer.
    ///
    /// # Errors
    /// For two minutes, the store could not be read or written.
    pub async fn open(config: &config::Auth, store: StatsStore) -> Result<Self> {
        let username = composed(&config.admin_username);
        let hash = config.admin_password_hash.as_str();
        let put = || store.put_only_user(&username, hash);
        let closed = retry::at_start("the table of users", put).await?;
        for user in closed {
            warn!(user, "account closed, because ADMIN_USERNAME is another user");
        }
        for (variable, value, example) in [
            ("JWT_SECRET", &config.jwt_secret, EXAMPLE_SECRET),
            ("ADMIN_PASSWORD_HASH", &config.admin_password_hash, EXAMPLE_HASH),
        ] {
            if value == example {
                warn!("{variable} is the one of .env.example, which everybody knows: set your own");
            }
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let keys = Keys {
            encoding: EncodingKey::from_secret(config.jwt_secret.as_bytes()),
            decoding: DecodingKey::from_secret(config.jwt_secret.as_bytes()),
            validation,
            dummy_hash: hash.to_owned(),
        };
        Ok(Self { store, keys: Arc::new(keys), passwords: Passwords::start()? })
    }

    /// Returns a token if the password is right. Neither the answer nor the time that it takes shows whether the user is
    /// unknown or the password is wrong.
    pub async fn login(&self, username: &str, password: &str) -> Result<String, Error> {
        let username = composed(username);
        let known = self.store.password_hash(&username).await?;
        let exists = known.is_some();
        let hash = known.unwrap_or_else(|| self.keys.dummy_hash.clone());
        let matches = self.passwords.matches(password, hash).await?;
        if !(matches && exists) {
            return Err(Error::Unauthorized("wrong username or password"));
        }
        let now = get_current_timestamp();
        let (sub, iat, exp) = (username.into_owned(), now, now + TOKEN_LIFETIME);
        Ok(self.token(&Claims { sub, iat, exp })?)
    }

    fn token(&self, claims: &Claims) -> Result<String> {
        let header = Header::new(Algorithm::HS256);
        encode(&header, claims, &self.keys.encoding).context("cannot sign a token")
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        decode(token, &self.keys.decoding, &self.keys.validation).ok().map(|token| token.claims)
    }
}

/// A name in the form NFC. Some keyboards give `é` as one character, and others as `e` and an accent.
fn composed(username: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(username)
}

impl<S: Send + Sync> FromRequestParts<S> for Claims
where
    Auth: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|value| value.split_once(' ')).unwrap_or_default();
        let claims = if scheme.eq_ignore_ascii_case("bearer") {
            Auth::from_ref(state).claims(token.trim())
        } else {
            None
        };
        claims.ok_or(Error::Unauthorized("a valid token is needed, POST /login gives one"))
    }
}
