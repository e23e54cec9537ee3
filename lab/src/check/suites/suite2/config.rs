//! Configuration: each value obeyed, each bad one refused in one line that names its variable.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::credentials::JWT_SECRET;
use crate::ports::free_port;
use crate::scratch;

pub const CHECKS: &[Check] = &[
    Check {
        name: "HTTP_ADDR is obeyed",
        expected: "GET /status answers on the address in HTTP_ADDR, and port 7000 is not needed",
        hint: "read the listen address from the environment",
        run: |subject| Box::pin(http_addr(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad HTTP_ADDR is refused by name",
        expected: "a non-zero exit status and one line on stderr that names HTTP_ADDR",
        hint: "write one line with the variable, what is wrong and an example, not the text of an argument parser",
        run: |subject| {
            Box::pin(subject.refuses_each(
                subject.server_role(),
                "HTTP_ADDR",
                &["localhost", "127.0.0.1:99999", "127.0.0.1"],
            ))
        },
        ..PROCESS
    },
    Check {
        name: "a bad WIKIPEDIA_STREAM_URL is refused by name",
        expected: "a non-zero exit status of watch and one line on stderr that names WIKIPEDIA_STREAM_URL",
        hint: "parse the URL at the start, and take http and https alone",
        run: |subject| {
            Box::pin(subject.refuses_each(
                "watch",
                "WIKIPEDIA_STREAM_URL",
                &["not a url", "ftp://example.org/x"],
            ))
        },
        ..PROCESS
    },
    Check {
        name: "an empty USER_AGENT is refused by name",
        expected: "a non-zero exit status of watch and one line on stderr that names USER_AGENT",
        hint: "Wikimedia refuses anonymous clients: refuse to start, and not only after the first request",
        run: |subject| Box::pin(subject.refuses_each("watch", "USER_AGENT", &["", " "])),
        ..PROCESS
    },
    Check {
        name: "a bad LOG_FORMAT or RUST_LOG is refused in one line",
        expected: "a non-zero exit status and one line on stderr that names the variable",
        hint: "write the same kind of line for every variable: its name, what is wrong, an example",
        run: |subject| Box::pin(bad_logging(subject)),
        ..PROCESS
    },
    Check {
        name: "a CONFIG_FILE that is not there is refused",
        expected: "a non-zero exit status and one line on stderr with CONFIG_FILE and the file's name",
        hint: "an absent .env is fine, but a file that was named must be there",
        run: |subject| Box::pin(missing_file(subject)),
        ..PROCESS
    },
    Check {
        name: "a malformed .env is refused, and its content is not shown",
        expected: "a non-zero exit status and one line on stderr with .env, without the value in the bad line",
        hint: "the line that can't be parsed may hold a secret: give its number, not its text",
        run: |subject| Box::pin(malformed_file(subject)),
        ..PROCESS
    },
    Check {
        name: "a NUL byte in .env is refused in one line",
        expected: "a non-zero exit status and one line on stderr with the file's name, without a panic",
        hint: "a variable can't hold a NUL byte: look for one before you set the variables of the file, which may panic",
        run: |subject| Box::pin(nul_in_file(subject)),
        ..PROCESS
    },
    Check {
        name: ".env in the working directory is read",
        expected: "GET /status answers on the HTTP_ADDR of .env",
        hint: "load .env before the configuration is read",
        run: |subject| Box::pin(dot_env(subject)),
        ..PROCESS
    },
    Check {
        name: "the environment wins over .env",
        expected: "GET /status answers on the HTTP_ADDR of the environment, not on that of .env",
        hint: "a variable that is set already must not be overwritten from the file",
        run: |subject| Box::pin(environment_wins(subject)),
        ..PROCESS
    },
    Check {
        name: "CONFIG_FILE names the file to read",
        expected: "GET /status answers on the HTTP_ADDR of that file, and .env beside it is not read",
        hint: "CONFIG_FILE takes the place of .env",
        run: |subject| Box::pin(config_file(subject)),
        ..PROCESS
    },
    Check {
        name: "--help documents every variable",
        expected: "exit status 0, and each of the variables on stdout of --help, serve --help or watch --help",
        hint: "a variable that --help does not name is found by nobody",
        run: |subject| Box::pin(help(subject)),
        ..PROCESS
    },
    Check {
        name: "--version tells name, version and revision",
        expected: "exit status 0 and one line on stdout such as `name 0.1.0 (1a2b3c4)`",
        hint: "put the commit into the program at build time, because operators ask which build this is",
        smoke: true,
        run: |subject| Box::pin(version(subject)),
        ..PROCESS
    },
    Check {
        name: "healthcheck exits with 0 while the server answers, and only then",
        expected: "exit status 0 with the server's HTTP_ADDR, also where that is 0.0.0.0; non-zero once it is gone",
        hint: "send a request to /status on HTTP_ADDR; where that is 0.0.0.0, ask 127.0.0.1",
        smoke: true,
        run: |subject| Box::pin(healthcheck(subject)),
        ..PROCESS
    },
    Check {
        name: "healthcheck does not wait for ever",
        expected: "a non-zero exit status where the connection is accepted and nothing is answered",
        hint: "a timeout of a few seconds on connecting, writing and reading",
        run: |subject| Box::pin(silent_server(subject)),
        ..PROCESS
    },
];

const VARIABLES: [&str; 6] =
    ["HTTP_ADDR", "WIKIPEDIA_STREAM_URL", "USER_AGENT", "CONFIG_FILE", "RUST_LOG", "LOG_FORMAT"];

async fn http_addr(subject: &Subject) -> Result<()> {
    subject.serve().await?.lives().await
}

async fn bad_logging(subject: &Subject) -> Result<()> {
    let role = subject.server_role();
    subject.refuses_each(role, "LOG_FORMAT", &["yaml"]).await?;
    subject.refuses_each(role, "RUST_LOG", &["info,http=loud", "inf", "debug;info"]).await
}

async fn missing_file(subject: &Subject) -> Result<()> {
    let role = subject.server_role();
    let named = ["CONFIG_FILE", "no-such-file.env"];
    subject
        .refuses_in_one_line(role, &named, |program| program.env("CONFIG_FILE", "no-such-file.env"))
        .await?;
    Ok(())
}

/// Writes a file into `folder`, and returns its whole path.
fn write(folder: &TempDir, name: &str, text: &str) -> Result<String> {
    let path = folder.path().join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

async fn malformed_file(subject: &Subject) -> Result<()> {
    let folder = scratch::folder()?;
    write(&folder, ".env", "LOG_FORMAT=text\nJWT_SECRET='never-closed-and-secret\n")?;
    let role = subject.server_role();
    let said = subject
        .refuses_in_one_line(role, &[".env"], |program| program.folder(folder.path()))
        .await?;
    ensure!(!said.contains("never-closed"), "the message shows the file's content: {said}");
    Ok(())
}

async fn nul_in_file(subject: &Subject) -> Result<()> {
    let folder = scratch::folder()?;
    // One that nothing else sets: a file's variable that is set already need not reach the environment.
    let text = "LOG_FORMAT=text\nUSER_AGENT=nul\0/1.0\n";
    write(&folder, ".env", text)?;
    subject
        .refuses_in_one_line("watch", &[".env"], |program| program.folder(folder.path()))
        .await
        .context(".env")?;
    let path = write(&folder, "other.conf", text)?;
    subject
        .refuses_in_one_line("watch", &["other.conf"], |program| program.env("CONFIG_FILE", path))
        .await
        .context("CONFIG_FILE")?;
    Ok(())
}

/// What stands in a file alone, and its value. The images of two roles set HTTP_ADDR, and the environment wins; then it
/// is a secret, without which there is no start.
fn only_in_file<'a>(subject: &Subject, address: &'a str) -> (&'static str, &'a str) {
    if subject.image().is_some() && subject.is_split() {
        ("JWT_SECRET", JWT_SECRET)
    } else {
        ("HTTP_ADDR", address)
    }
}

async fn dot_env(subject: &Subject) -> Result<()> {
    let folder = scratch::folder()?;
    let server = subject
        .serve_from(|program, address| {
            let (name, value) = only_in_file(subject, address);
            write(&folder, ".env", &format!("# mine\n{name}=\"{value}\"\n"))?;
            Ok(program.without(name).folder(folder.path()))
        })
        .await?;
    server.lives().await
}

async fn environment_wins(subject: &Subject) -> Result<()> {
    let folder = scratch::folder()?;
    write(&folder, ".env", &format!("HTTP_ADDR=127.0.0.1:{}\n", free_port()?))?;
    subject.serve_with(|program| program.folder(folder.path())).await?.lives().await
}

async fn config_file(subject: &Subject) -> Result<()> {
    let folder = scratch::folder()?;
    let wrong = format!("HTTP_ADDR=127.0.0.1:{}\nJWT_SECRET=short\n", free_port()?);
    write(&folder, ".env", &wrong)?;
    let server = subject
        .serve_from(|program, address| {
            let (name, value) = only_in_file(subject, address);
            let path = write(&folder, "other.env", &format!("{name}={value}\n"))?;
            Ok(program.without(name).folder(folder.path()).env("CONFIG_FILE", path))
        })
        .await?;
    server.lives().await
}

async fn help(subject: &Subject) -> Result<()> {
    let text = subject.help(&[subject.server_role(), "watch"]).await?;
    for name in VARIABLES {
        ensure!(text.contains(name), "--help says nothing about {name}");
    }
    Ok(())
}

async fn version(subject: &Subject) -> Result<()> {
    let finished = subject.output(&["--version"], "").await?;
    finished.has_succeeded()?;
    let said = finished.stdout.join("\n");
    let words: Vec<&str> = said.split_whitespace().collect();
    let version =
        words.iter().any(|word| word.contains('.') && word.contains(|c: char| c.is_ascii_digit()));
    ensure!(finished.stdout.len() == 1 && words.len() >= 3 && version, "stdout: {said}");
    Ok(())
}

async fn healthcheck(subject: &Subject) -> Result<()> {
    let mut server = subject.serve().await?;
    let address = server.client.authority().to_owned();
    let (_, port) = address.rsplit_once(':').context("no port")?;
    for address in [address.clone(), format!("0.0.0.0:{port}")] {
        let asked = subject
            .output_with(&["healthcheck"], "", |program| program.env("HTTP_ADDR", &address))
            .await?;
        asked.has_succeeded().with_context(|| format!("for HTTP_ADDR={address}"))?;
    }
    server.said().await?;
    let asked = subject
        .output_with(&["healthcheck"], "", |program| program.env("HTTP_ADDR", &address))
        .await?;
    ensure!(!asked.status.success(), "exit status 0 after the server's end");
    Ok(())
}

async fn silent_server(subject: &Subject) -> Result<()> {
    // A program that has no such role fails as well.
    let server = subject.serve().await?;
    let address = server.client.authority();
    let asked = subject
        .output_with(&["healthcheck"], "", |program| program.env("HTTP_ADDR", address))
        .await?;
    asked.has_succeeded().context("of a server that answers")?;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = silent.local_addr()?.to_string();
    // Connections stay in the backlog: accepted by the system, answered by nobody.
    let asked = subject
        .output_with(&["healthcheck"], "", |program| program.env("HTTP_ADDR", address))
        .await;
    let asked = asked.with_context(|| format!("after {} s", SOON.as_secs()))?;
    ensure!(!asked.status.success(), "exit status 0");
    Ok(())
}
