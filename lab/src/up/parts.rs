//! What `up` runs: the stream, the chapter's programs, and the login that opens `/stats`. Starts them, asks them,
//! and ends them in order.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::Options;
use crate::chapters;
use crate::client::Client;
use crate::ports;
use crate::process;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;
use crate::replay::Replay;

/// The port of chapter 1, which has no configuration yet.
const FIXED_PORT: u16 = 7000;
const WIKIMEDIA: &str = "https://stream.wikimedia.org/v2/stream/recentchange";
const USERNAME: &str = "lab";
/// Of each output; enough to show why a program ended, and what `watch` prints.
const KEPT_LINES: usize = 20;
const START: Duration = Duration::from_secs(60);
/// The contract says 10 s; two more are for a busy machine.
const STOP: Duration = Duration::from_secs(12);

pub struct Parts {
    pub chapter: u8,
    pub client: Client,
    pub stream: String,
    replay: Option<Replay>,
    pub login: Option<Login>,
    programs: Vec<(&'static str, Process)>,
}

/// The user made up for this run.
pub struct Login {
    pub password: String,
    pub token: String,
}

pub async fn start(chapter: u8, options: &Options) -> Result<Parts> {
    let port = options.port;
    if chapter == 1 && port != FIXED_PORT {
        bail!("chapter 1 always listens on port {FIXED_PORT}: HTTP_ADDR comes with chapter 2");
    }
    if let Some(owner) = ports::owner(port) {
        let way_out = match chapter {
            1 => "end that program, chapter 1 knows no other port".to_owned(),
            _ => format!(
                "end that program, or choose another port: --port {}",
                port.saturating_add(1)
            ),
        };
        bail!("port {port} is taken by {owner}; {way_out}");
    }
    let binary = process::build(chapter).await?;
    let password = random_hex::<8>()?;
    let replay = if chapter > 1 {
        replay(options).await?
    } else {
        None
    };
    let stream = replay
        .as_ref()
        .map_or_else(|| WIKIMEDIA.to_owned(), Replay::stream_url);
    let program = program(chapter, port, &binary, &stream, &password).await?;

    let client =
        Client::new(format!("http://127.0.0.1:{port}")).with_deadline(Duration::from_secs(10));
    let mut parts = Parts {
        chapter,
        client,
        stream,
        replay,
        login: None,
        programs: Vec::new(),
    };
    parts
        .programs
        .push(("serve", program.clone().args(["serve"]).start()?));
    parts.wait_for_status().await?;
    if chapter == 2 {
        parts
            .programs
            .push(("watch", program.args(["watch"]).start()?));
    }
    if chapter >= 3 {
        let token = parts.log_in(&password).await?;
        parts.login = Some(Login { password, token });
    }
    Ok(parts)
}

/// The replay, unless Wikimedia's own stream was asked for.
async fn replay(options: &Options) -> Result<Option<Replay>> {
    if options.live {
        return Ok(None);
    }
    let mut replayed = replay::Options::default();
    replayed.address.set_port(0);
    replayed.rate = options.rate;
    Ok(Some(replay::start(replayed).await?))
}

async fn program(
    chapter: u8,
    port: u16,
    binary: &PathBuf,
    stream: &str,
    password: &str,
) -> Result<Program> {
    let mut program = Program::new([binary])
        // Away from the workspace's `.env`, which may hold a learner's own settings.
        .folder(std::env::temp_dir())
        .keep_lines(KEPT_LINES)
        .env("CONFIG_FILE", "/dev/null")
        .env("HTTP_ADDR", format!("127.0.0.1:{port}"))
        .env("WIKIPEDIA_STREAM_URL", stream)
        .env("STORAGE", "memory")
        .env("JWT_SECRET", random_hex::<32>()?)
        .env("ADMIN_USERNAME", USERNAME);
    if chapter >= 3 {
        let hashed = program
            .clone()
            .args(["hash-password"])
            .output(password.as_bytes(), START)
            .await?;
        let said = hashed.stderr.join("\n");
        ensure!(
            hashed.status.success(),
            "hash-password: {}\n{said}",
            process::describe(hashed.status)
        );
        program = program.env("ADMIN_PASSWORD_HASH", hashed.stdout.concat());
    }
    Ok(program)
}

impl Parts {
    async fn wait_for_status(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.client.get("/status").await.is_err() {
            self.check()?;
            ensure!(
                start.elapsed() < START,
                "no answer from {}/status within {} s",
                self.client.base(),
                START.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// An error if one of the programs has ended, with its last words.
    pub fn check(&mut self) -> Result<()> {
        let name = chapters::name(self.chapter);
        for (role, program) in &mut self.programs {
            if let Some(status) = program.ended() {
                let said = program.stderr.lines().join("\n  ");
                bail!(
                    "{name} {role} ended by itself, {}; its last lines:\n  {said}",
                    process::describe(status)
                );
            }
        }
        Ok(())
    }

    async fn log_in(&self, password: &str) -> Result<String> {
        let credentials = json!({ "username": USERNAME, "password": password });
        let response = self.client.post_json("/login", &credentials).await?;
        ensure!(
            response.status == 200,
            "login: {}, {}",
            response.status,
            response.text()
        );
        let token = response.json()?["token"].as_str().map(str::to_owned);
        token.context("login: the answer has no token")
    }

    /// `/stats`; logs in again when the token has run out.
    pub async fn stats(&mut self) -> Result<Option<Value>> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let mut response = self.client.get_with_token("/stats", &login.token).await?;
        if response.status == 401 {
            let token = self.log_in(&login.password).await?;
            response = self.client.get_with_token("/stats", &token).await?;
            if let Some(login) = &mut self.login {
                login.token = token;
            }
        }
        ensure!(
            response.status == 200,
            "/stats answers {}, {}",
            response.status,
            response.text()
        );
        Ok(Some(response.json()?))
    }

    /// What the replay says that a correct consumer has counted; nobody knows it of the live stream.
    pub fn truth(&self) -> Option<Value> {
        serde_json::to_value(self.replay.as_ref()?.truth()).ok()
    }

    /// `/truth` of the replay.
    pub fn truth_url(&self) -> Option<String> {
        Some(format!("http://{}/truth", self.replay.as_ref()?.address()))
    }

    /// The last lines that `watch` has printed.
    pub fn watched(&self) -> Option<Vec<String>> {
        let (_, watch) = self.programs.iter().find(|(role, _)| *role == "watch")?;
        Some(watch.stdout.lines())
    }

    /// The `curl` lines to copy.
    pub fn curl(&self) -> Vec<String> {
        let base = self.client.base();
        let mut lines = vec![format!("curl -s {base}/status")];
        if let Some(login) = &self.login {
            let credentials = json!({ "username": USERNAME, "password": login.password });
            lines.push(format!(
                "curl -s -H 'content-type: application/json' -d '{credentials}' {base}/login"
            ));
            lines.push(format!(
                "curl -s -H 'authorization: Bearer {}' {base}/stats",
                login.token
            ));
        }
        lines
    }

    /// Ends all programs at once, each in its own order. A program that ended already is an error only elsewhere.
    pub async fn stop(mut self) -> Result<()> {
        for (_, program) in &mut self.programs {
            if program.ended().is_none() {
                program.signal(Signal::TERM)?;
            }
        }
        let name = chapters::name(self.chapter);
        for (role, program) in &mut self.programs {
            if program.ended().is_none() {
                let status = program
                    .wait(STOP)
                    .await
                    .with_context(|| format!("{name} {role} after SIGTERM"))?;
                ensure!(
                    status.success(),
                    "{name} {role} after SIGTERM: {}",
                    process::describe(status)
                );
            }
        }
        if let Some(replay) = self.replay {
            replay.stop().await;
        }
        Ok(())
    }
}

/// Random bytes in hex: a secret and a password of this run alone.
fn random_hex<const BYTES: usize>() -> Result<String> {
    let mut bytes = [0_u8; BYTES];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
