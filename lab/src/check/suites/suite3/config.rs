//! Secrets and the store: what must be set, and that no message shows a secret.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::session;
use crate::check::subject::Subject;
use crate::credentials::PASSWORD_HASH;
use crate::ports::free_port;
use crate::process::Program;

pub const CHECKS: &[Check] = &[
    Check {
        name: "hash-password reads stdin and prints an Argon2id hash alone",
        expected: "exit status 0 and one line `$argon2id$v=19$…` on stdout, without any variable set",
        hint: "the hash is to be copied into ADMIN_PASSWORD_HASH; this role needs no secret yet",
        run: |subject| Box::pin(hash_password(subject)),
        ..PROCESS
    },
    Check {
        name: "a login with what hash-password made succeeds",
        expected: "200 for the password alone, without the line end that a terminal adds",
        hint: "remove the line end of stdin and nothing else, because a password may end with a space",
        smoke: true,
        run: |subject| Box::pin(round_trip(subject)),
        ..PROCESS
    },
    Check {
        name: "a missing or short JWT_SECRET is refused by name",
        expected: "a non-zero exit status and one line on stderr with JWT_SECRET, and not the value",
        hint: "no default for a secret, and at least 32 bytes for HS256 (RFC 7518, 3.2)",
        run: |subject| Box::pin(jwt_secret(subject)),
        ..PROCESS
    },
    Check {
        name: "a missing ADMIN_USERNAME or ADMIN_PASSWORD_HASH is refused by name",
        expected: "a non-zero exit status and one line on stderr that names the variable",
        hint: "the first user comes from the environment; there is no default for it",
        run: |subject| Box::pin(admin(subject)),
        ..PROCESS
    },
    Check {
        name: "a malformed ADMIN_PASSWORD_HASH is refused, and not shown",
        expected: "a non-zero exit status and one line on stderr with ADMIN_PASSWORD_HASH, and not the value",
        hint: "it may be the password itself, by mistake, or a hash in which a shell or Compose has replaced what follows a `$`",
        run: |subject| Box::pin(malformed_hash(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad STORAGE is refused by name",
        expected: "a non-zero exit status and one line on stderr that names STORAGE",
        hint: "memory (or in-memory) and cassandra, nothing else",
        run: |subject| Box::pin(storage(subject)),
        ..PROCESS
    },
    Check {
        name: "STORAGE=in-memory is memory",
        expected: "the server starts and is ready",
        hint: "make it another name of the value memory",
        run: |subject| Box::pin(in_memory(subject)),
        ..PROCESS
    },
    Check {
        name: "a Cassandra that is away is waited for or named",
        expected: "the address on stderr, and then an end within 10 s after SIGTERM, or an end by itself with a non-zero exit status",
        hint: "try again with a back-off for a limited time, and log why; a signal must end the waiting",
        run: |subject| Box::pin(cassandra_away(subject)),
        ..PROCESS
    },
];

const SECRET_PASSWORD: &str = "open sesame, and quickly ";

async fn hash(subject: &Subject) -> Result<String> {
    let input = format!("{SECRET_PASSWORD}\n");
    let finished =
        subject.output_with(&["hash-password"], &input, Program::without_secrets).await?;
    finished.has_succeeded()?;
    let [hash] = finished.stdout.as_slice() else {
        anyhow::bail!("{} lines on stdout", finished.stdout.len())
    };
    Ok(hash.clone())
}

async fn hash_password(subject: &Subject) -> Result<()> {
    let made = hash(subject).await?;
    let parts = made.split('$').count();
    ensure!(made.starts_with("$argon2id$v=19$m=") && parts == 6, "stdout: {made}");
    ensure!(hash(subject).await? != made, "two times the same hash: it has no salt of its own");
    Ok(())
}

async fn round_trip(subject: &Subject) -> Result<()> {
    let hash = hash(subject).await?;
    let server = subject.serve_with(|program| program.env("ADMIN_PASSWORD_HASH", hash)).await?;
    session::log_in(&server.client, SECRET_PASSWORD).await?;
    Ok(())
}

async fn jwt_secret(subject: &Subject) -> Result<()> {
    let role = subject.server_role();
    let missing = subject
        .refuses_in_one_line(role, &["JWT_SECRET"], |program| program.without("JWT_SECRET"))
        .await;
    missing.context("without JWT_SECRET")?;
    // 31 bytes.
    for short in ["much-too-short", "0123456789-0123456789-012345678", ""] {
        let refused = subject
            .refuses_in_one_line(role, &["JWT_SECRET"], |program| program.env("JWT_SECRET", short))
            .await;
        let said = refused.with_context(|| format!("with {} bytes", short.len()))?;
        ensure!(short.is_empty() || !said.contains(short), "the message shows the secret: {said}");
    }
    Ok(())
}

async fn admin(subject: &Subject) -> Result<()> {
    for name in ["ADMIN_USERNAME", "ADMIN_PASSWORD_HASH"] {
        let refused = subject
            .refuses_in_one_line(subject.server_role(), &[name], |program| program.without(name))
            .await;
        refused.with_context(|| format!("without {name}"))?;
    }
    Ok(())
}

async fn malformed_hash(subject: &Subject) -> Result<()> {
    // The last is what is left of a hash in double quotes.
    let expanded = PASSWORD_HASH.replace("$argon2id$v", "");
    for value in ["my-plain-password", "$argon2id$v=19$m=nonsense", &expanded] {
        let named = ["ADMIN_PASSWORD_HASH"];
        let refused = subject
            .refuses_in_one_line(subject.server_role(), &named, |program| {
                program.env("ADMIN_PASSWORD_HASH", value)
            })
            .await;
        let said = refused.with_context(|| format!("with {value}"))?;
        ensure!(!said.contains(value), "the message shows the value of the variable: {said}");
    }
    Ok(())
}

async fn storage(subject: &Subject) -> Result<()> {
    subject
        .refuses_in_one_line(subject.server_role(), &["STORAGE"], |program| {
            program.env("STORAGE", "floppy")
        })
        .await?;
    Ok(())
}

async fn in_memory(subject: &Subject) -> Result<()> {
    let server = subject.serve_with(|program| program.env("STORAGE", "in-memory")).await?;
    session::is_ready(&server.client).await
}

async fn cassandra_away(subject: &Subject) -> Result<()> {
    let address = format!("127.0.0.1:{}", free_port()?);
    subject
        .names_what_is_away(subject.server_role(), &address, |program| {
            program.env("STORAGE", "cassandra").env("CASSANDRA_NODES", &address)
        })
        .await
}
