//! Who may see the statistics: passwords as Argon2id hashes, and tokens for those who gave the right one (HS256,
//! an hour). http.rs calls `login`, and takes `Claims` as an extractor where a route is guarded.

use std::io;
use std::io::Read;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use argon2::Argon2;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use axum::extract::FromRef;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
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
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tracing::warn;

use crate::config;
use crate::error::Error;
use crate::store::StatsStore;

/// How long a token is good for, in seconds.
const TOKEN_LIFETIME: u64 = 3600;

/// A hash takes 19 MiB and a core for some 20 ms. One thread makes them all, which leaves the other cores to everybody
/// else and needs that memory once; so many logins may wait for it, and others are sent away.
const WAITING_LOGINS: usize = 32;

/// When to come back for who is sent away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `JWT_SECRET` in `.env.example`. Whoever reads the repository can sign with it.
pub const EXAMPLE_SECRET: &str = "made-up-secret-of-the-example-file-change-it";

/// Clones share keys, users and limits.
#[derive(Clone)]
pub struct Auth {
    store: StatsStore,
    keys: Arc<Keys>,
    hasher: mpsc::Sender<Job>,
}

/// A password to be compared with a hash.
struct Job {
    password: String,
    hash: String,
    matches: oneshot::Sender<bool>,
}

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    /// Looked at for users that do not exist, so that they take as long as others.
    dummy_hash: String,
}

/// What a token says: whose it is, since and until when, in seconds since 1970.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub iat: u64,
    pub exp: u64,
}

impl Auth {
    /// Keeps the first user in `store`.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn open(config: &config::Auth, store: StatsStore) -> Result<Self> {
        let hash = config.admin_password_hash.as_str();
        store
            .put_user(&config.admin_username, hash)
            .await
            .context("cannot keep the first user")?;
        if config.jwt_secret == EXAMPLE_SECRET {
            warn!("JWT_SECRET is the one of .env.example, which everybody knows: set your own");
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let keys = Keys {
            encoding: EncodingKey::from_secret(config.jwt_secret.as_bytes()),
            decoding: DecodingKey::from_secret(config.jwt_secret.as_bytes()),
            validation,
            dummy_hash: hash.to_owned(),
        };
        Ok(Self {
            store,
            keys: Arc::new(keys),
            hasher: hasher()?,
        })
    }

    /// A token for who gives the right password. An unknown user and a wrong password can't be told apart, neither
    /// by the answer nor by its time.
    pub async fn login(&self, username: &str, password: &str) -> Result<String, Error> {
        let known = self.store.password_hash(username).await?;
        let exists = known.is_some();
        let hash = known.unwrap_or_else(|| self.keys.dummy_hash.clone());
        let (matches, answer) = oneshot::channel();
        let job = Job {
            password: password.to_owned(),
            hash,
            matches,
        };
        self.hasher
            .try_send(job)
            .map_err(|_| Error::TooManyRequests(RETRY_AFTER))?;
        let matches = answer.await.context("the hashing thread ended")?;
        if !(matches && exists) {
            return Err(Error::Unauthorized("wrong username or password"));
        }
        let now = get_current_timestamp();
        Ok(self.token(&Claims {
            sub: username.to_owned(),
            iat: now,
            exp: now + TOKEN_LIFETIME,
        })?)
    }

    fn token(&self, claims: &Claims) -> Result<String> {
        let header = Header::new(Algorithm::HS256);
        encode(&header, claims, &self.keys.encoding).context("cannot sign a token")
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        decode(token, &self.keys.decoding, &self.keys.validation)
            .ok()
            .map(|token| token.claims)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Claims
where
    Auth: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let header = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let (scheme, token) = header
            .and_then(|value| value.split_once(' '))
            .unwrap_or_default();
        let claims = if scheme.eq_ignore_ascii_case("bearer") {
            Auth::from_ref(state).claims(token.trim())
        } else {
            None
        };
        claims.ok_or(Error::Unauthorized(
            "a valid token is needed, POST /login gives one",
        ))
    }
}

/// Ends with the last sender.
fn hasher() -> Result<mpsc::Sender<Job>> {
    let (sender, mut jobs) = mpsc::channel::<Job>(WAITING_LOGINS);
    let work = move || {
        while let Some(job) = jobs.blocking_recv() {
            let verdict = Argon2::default().verify_password(job.password.as_bytes(), &*job.hash);
            // Nobody waits any more where the client is gone.
            let _ = job.matches.send(verdict.is_ok());
        }
    };
    let thread = thread::Builder::new().name("hasher".to_owned()).spawn(work);
    thread.context("cannot start the hashing thread")?;
    Ok(sender)
}

/// The role `hash-password`: reads a password from stdin, prints its hash and nothing else.
///
/// # Errors
/// There is no password, or it can't be hashed.
pub fn hash_password() -> Result<()> {
    let mut input = String::new();
    io::stdin()
        .read_to_string(&mut input)
        .context("cannot read the password from stdin")?;
    let password = input.strip_suffix('\n').unwrap_or(&input);
    let password = password.strip_suffix('\r').unwrap_or(password);
    ensure!(
        !password.is_empty(),
        "no password on stdin; example: printf %s 'my password' | …"
    );
    ensure!(
        !password.contains('\n'),
        "more than one line on stdin, which of them is the password?"
    );
    let hash = Argon2::default().hash_password(password.as_bytes());
    let hash = hash.map_err(|error| anyhow!("cannot hash: {error}"))?;
    writeln!(io::stdout(), "{hash}").context("cannot write to stdout")
}
