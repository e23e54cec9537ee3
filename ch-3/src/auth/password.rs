//! Passwords and their Argon2id hashes: checking them at a login, and the role `hash-password`.

use std::io;
use std::io::IsTerminal;
use std::io::Read;
use std::io::Write;
use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use argon2::Argon2;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::error::Error;

/// Checking a password takes 19 MiB and 20 ms of a core. One thread checks them all, so that the memory is needed once
/// and the other cores are free for everything else. At most this many logins wait for it; others are refused.
const WAITING_LOGINS: usize = 32;

/// When a client whose login was refused may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Clones share the thread, which ends when the last of them is dropped.
#[derive(Clone)]
pub struct Passwords(mpsc::Sender<Check>);

struct Check {
    password: String,
    hash: String,
    matches: oneshot::Sender<bool>,
}

impl Passwords {
    /// # Errors
    /// The thread cannot be started.
    pub fn start() -> Result<Self> {
        Self::start_with(|password, hash| {
            Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
        })
    }

    fn start_with(matches: fn(&str, &str) -> bool) -> Result<Self> {
        let (sender, mut checks) = mpsc::channel::<Check>(WAITING_LOGINS);
        let work = move || {
            while let Some(check) = checks.blocking_recv() {
                // A panic must not end the thread: without it nobody could log in any more.
                let verdict = catch_unwind(|| matches(&check.password, &check.hash));
                // If the client is gone, nobody waits for the answer.
                let _ = verdict.map(|matches| check.matches.send(matches));
            }
        };
        let thread = thread::Builder::new().name("hasher".to_owned()).spawn(work);
        thread.context("cannot start the hashing thread")?;
        Ok(Self(sender))
    }

    /// # Errors
    /// Too many logins are waiting already.
    pub async fn matches(&self, password: &str, hash: String) -> Result<bool, Error> {
        let (matches, answer) = oneshot::channel();
        let check = Check { password: password.to_owned(), hash, matches };
        self.0.try_send(check).map_err(|_| Error::TooManyRequests(RETRY_AFTER))?;
        Ok(answer.await.context("the password could not be checked")?)
    }
}

/// The role `hash-password` reads a password from stdin and prints its hash, and nothing else.
///
/// # Errors
/// There is no password, or it cannot be hashed.
pub fn hash_password() -> Result<()> {
    if io::stdin().is_terminal() {
        _ = write!(io::stderr(), "Password (it is shown here), then Enter and Ctrl-D: ");
    }
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).context("cannot read the password from stdin")?;
    let password = input.strip_suffix('\n').unwrap_or(&input);
    let password = password.strip_suffix('\r').unwrap_or(password);
    ensure!(!password.is_empty(), "no password on stdin; example: printf %s 'my password' | …");
    ensure!(
        !password.contains('\n'),
        "more than one line on stdin, which of them is the password?"
    );
    let hash = Argon2::default().hash_password(password.as_bytes());
    let hash = hash.map_err(|error| anyhow!("cannot hash: {error}"))?;
    writeln!(io::stdout(), "{hash}").context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_while_a_password_is_checked_is_an_error_and_the_next_login_is_answered() {
        let passwords = Passwords::start_with(|password, _| {
            assert_ne!(password, "bad");
            true
        });
        let passwords = passwords.unwrap();
        for _ in 0..2 * WAITING_LOGINS {
            let checked = passwords.matches("bad", String::new()).await;
            assert!(matches!(checked, Err(Error::Internal(_))), "{checked:?}");
            assert!(passwords.matches("good", String::new()).await.unwrap());
        }
    }
}
