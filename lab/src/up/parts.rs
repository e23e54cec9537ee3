//! What `up` runs: the stream, the chapter's programs, the topic between them, and the login that is needed for
//! `/stats`. This module starts them, asks them what they have counted, and ends them in order.

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::chapters;
use crate::client::Client;
use crate::process;
use crate::process::PROXIES;
use crate::process::Process;
use crate::process::Program;
use crate::process::Signal;
use crate::replay;
use crate::replay::Replay;
use crate::screen::plain;
use crate::terminal::waiting;
use crate::up::options::Options;
use crate::up::ports::Ports;
use crate::up::secret::random_hex;
use crate::up::topic;
use crate::up::topic::Topic;

const WIKIMEDIA: &str = "https://stream.wikimedia.org/v2/stream/recentchange";
const USERNAME: &str = "lab";
/// How many lines of each output are kept: enough to show why a program ended, and what `watch` prints.
const KEPT_LINES: usize = 20;
const START: Duration = Duration::from_secs(60);
/// How long `up` waits at its end until all that was sent is counted.
const SETTLE: Duration = Duration::from_secs(5);
/// The contract says 10 s; two more are for a busy machine.
const STOP: Duration = Duration::from_secs(12);

#[derive(Default)]
pub struct Parts {
    pub chapter: u8,
    /// The server; from chapter 3 on it has `/stats`.
    server: Option<Client>,
    /// From chapter 5 on.
    pub producer: Option<Client>,
    pub stream: String,
    replay: Option<Replay>,
    pub topic: Option<Topic>,
    pub login: Option<Login>,
    programs: Vec<(&'static str, Process)>,
    has_started: bool,
}

/// What a line of a log says, from its level on, if that is a warning or an error.
fn warning(line: &str) -> Option<String> {
    let level = ["WARN ", "ERROR "].iter().find_map(|level| line.find(level));
    level.map(|at| line[at..].to_owned())
}

/// The user made up for this run.
pub struct Login {
    pub password: String,
    pub token: String,
}

/// The replay, unless Wikimedia's own stream was asked for.
async fn replay(chapter: u8, options: &Options) -> Result<Option<Replay>> {
    if options.live || chapter == 1 {
        return Ok(None);
    }
    let usual = if chapter < 5 { 40 } else { 200 };
    let replayed = replay::Options {
        rate: options.rate.unwrap_or(usual),
        ..replay::Options::on_a_free_port()
    };
    Ok(Some(replay::start(replayed).await?))
}

async fn program(
    chapter: u8,
    binary: &PathBuf,
    stream: &str,
    password: &str,
    live: bool,
) -> Result<Program> {
    let mut program = Program::new([binary])
        // Away from the workspace's `.env`, which may hold a learner's own settings.
        .folder(std::env::temp_dir())
        .keep_lines(KEPT_LINES)
        .env("CONFIG_FILE", "/dev/null")
        .env("WIKIPEDIA_STREAM_URL", stream)
        .env("STORAGE", "memory")
        .env("JWT_SECRET", random_hex::<32>()?)
        .env("ADMIN_USERNAME", USERNAME);
    if live {
        // The way to Wikimedia may lead through a proxy; nothing else that runs here is beyond this machine.
        for name in PROXIES {
            if let Ok(value) = std::env::var(name) {
                program = program.env(name, value);
            }
        }
    }
    if chapter >= 3 {
        let hashed =
            program.clone().args(["hash-password"]).output(password.as_bytes(), START).await?;
        hashed.has_succeeded().context("hash-password")?;
        program = program.env("ADMIN_PASSWORD_HASH", hashed.stdout.concat());
    }
    Ok(program)
}

impl Parts {
    /// Nothing runs yet. Whatever `start` has started, `stop` ends.
    pub fn of(chapter: u8) -> Self {
        Self { chapter, ..Self::default() }
    }

    pub async fn start(&mut self, options: &Options) -> Result<()> {
        let chapter = self.chapter;
        options.have_an_effect(chapter)?;
        let ports = Ports::of(chapter, options)?;
        if let Some(broker) = &options.broker {
            topic::look_for(broker).await?;
        }
        let binary = process::build(chapter).await?;
        let password = random_hex::<8>()?;
        self.replay = replay(chapter, options).await?;
        self.stream = match &self.replay {
            Some(replay) => replay.stream_url(),
            None => WIKIMEDIA.to_owned(),
        };
        let program = program(chapter, &binary, &self.stream, &password, options.live).await?;
        match ports.producer {
            Some(producer) => {
                let topic = Topic::open(chapter, options.broker.as_deref()).await?;
                let program = topic.environment(program);
                self.topic = Some(topic);
                self.producer = Some(self.run("producer", &program, producer).await?);
                self.server = Some(self.run("consumer", &program, ports.server).await?);
            }
            None => {
                self.server = Some(self.run("serve", &program, ports.server).await?);
                if chapter == 2 {
                    let watch = program.args(["watch"]).start()?;
                    self.programs.push(("watch", watch));
                }
            }
        }
        if chapter >= 3 {
            let token = self.log_in(&password).await?;
            self.login = Some(Login { password, token });
        }
        self.has_started = true;
        Ok(())
    }

    /// Starts a role that serves HTTP, and waits until it does.
    async fn run(&mut self, role: &'static str, program: &Program, port: u16) -> Result<Client> {
        let program = program.clone().env("HTTP_ADDR", format!("127.0.0.1:{port}"));
        self.programs.push((role, program.args([role]).start()?));
        let base = format!("http://127.0.0.1:{port}");
        let client = Client::new(base).with_deadline(Duration::from_secs(10));
        let what = format!("the {role} to answer on {}", client.authority());
        waiting(&what, self.wait_for_status(&client)).await?;
        Ok(client)
    }

    async fn wait_for_status(&mut self, client: &Client) -> Result<()> {
        let start = Instant::now();
        while client.get("/status").await.is_err() {
            self.check().await?;
            ensure!(
                start.elapsed() < START,
                "no answer from {}/status within {} s",
                client.base(),
                START.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn has_started(&self) -> bool {
        self.has_started
    }

    pub fn server(&self) -> Result<&Client> {
        self.server.as_ref().context("the server is not up")
    }

    /// # Errors
    /// One of the programs has ended. The error has the last lines that it wrote, and says last what happened, because
    /// the first lines may scroll away.
    pub async fn check(&mut self) -> Result<()> {
        let name = chapters::name(self.chapter);
        for (role, program) in &mut self.programs {
            if let Some(status) = program.ended() {
                let said = process::tail(&program.stderr.all().await);
                let how = process::describe(status);
                bail!(
                    "the last lines that {name} {role} wrote:\n{said}\n{name} {role} has ended by itself: {how}"
                );
            }
        }
        self.topic.as_ref().map_or(Ok(()), Topic::check)
    }

    async fn log_in(&self, password: &str) -> Result<String> {
        let credentials = json!({ "username": USERNAME, "password": password });
        let server = self.server()?;
        let response = server.post_json("/login", &credentials).await?;
        response.has_status(200).context("login")?;
        let token = response.json()?["token"].as_str().map(str::to_owned);
        token.context("login: the answer has no token")
    }

    /// `/stats`; logs in again when the token has run out.
    pub async fn stats(&mut self) -> Result<Option<Value>> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let server = self.server()?;
        let mut response = server.get_with_token("/stats", &login.token).await?;
        if response.status == 401 {
            let token = self.log_in(&login.password).await?;
            response = server.get_with_token("/stats", &token).await?;
            if let Some(login) = &mut self.login {
                login.token = token;
            }
        }
        response.has_status(200).context("/stats")?;
        Ok(Some(response.json()?))
    }

    /// What a correct program has counted by now, as the replay says; of the live stream nobody knows it.
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

    /// For each role whose last line is a warning or an error, that line. A later line of another level means that the
    /// trouble is over.
    pub fn troubles(&self) -> Vec<String> {
        self.said(|stderr| warning(stderr.last()?))
    }

    /// The last warning or error of each role, in its own words.
    fn warnings(&self) -> Vec<String> {
        self.said(|stderr| stderr.iter().rev().find_map(|line| warning(line)))
    }

    fn said(&self, choose: impl Fn(&[String]) -> Option<String>) -> Vec<String> {
        let chosen = |(role, program): &(&str, Process)| {
            choose(&program.stderr.lines()).map(|said| format!("{role}: {said}"))
        };
        self.programs.iter().filter_map(chosen).collect()
    }

    /// Where no event has come from the stream: a sentence that says so, and what the programs say about it.
    pub async fn silence(&mut self) -> Result<Option<String>> {
        let came = match self.stats().await? {
            Some(stats) => stats["messages"].as_u64().unwrap_or_default(),
            None => self.watched().map_or(0, |lines| lines.len() as u64),
        };
        let nothing = || {
            let warnings: String =
                self.warnings().iter().map(|line| format!("\n{}", plain(line))).collect();
            format!("no event was received from {}{warnings}\n", self.stream)
        };
        Ok((self.chapter > 1 && came == 0).then(nothing))
    }

    /// Lets the replay send no more events, and waits a few seconds at most until those that were sent are counted.
    /// Returns how many were counted, and how many were sent.
    pub async fn settle(&mut self) -> Result<Option<(u64, u64)>> {
        let Some(replay) = self.replay.take() else {
            return Ok(None);
        };
        let (truth, start) = (replay.pause(), Instant::now());
        let counted = loop {
            let Some(stats) = self.stats().await? else {
                break None;
            };
            let counted = stats["messages"].as_u64().unwrap_or_default();
            if counted >= truth.messages || start.elapsed() > SETTLE {
                break Some((counted, truth.messages));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.replay = Some(replay);
        Ok(counted)
    }

    /// The `curl` lines to copy.
    pub fn curl(&self) -> Vec<String> {
        let servers = self.producer.iter().chain(&self.server);
        let mut lines: Vec<String> =
            servers.map(|server| format!("curl -s {}/status", server.base())).collect();
        let base = self.server.as_ref().map_or("", Client::base);
        if let Some(login) = &self.login {
            let credentials = json!({ "username": USERNAME, "password": login.password });
            lines.push(format!(
                "curl -s -H 'content-type: application/json' -d '{credentials}' {base}/login"
            ));
            lines.push(format!("curl -s -H 'authorization: Bearer {}' {base}/stats", login.token));
        }
        lines
    }

    /// Sends SIGTERM to all programs at the same time, waits for their end, and then ends the topic and the replay. It
    /// is no error here if a program has ended before; `check` reports that.
    pub async fn stop(mut self) -> Result<()> {
        for (_, program) in &mut self.programs {
            if program.ended().is_none() {
                program.signal(Signal::TERM)?;
            }
        }
        let ended = self.wait_for_end().await;
        if let Some(topic) = self.topic {
            topic.close().await?;
        }
        if let Some(replay) = self.replay {
            replay.stop().await;
        }
        // Broken off while it started, a program may not have been ready for the signal yet.
        if self.has_started { ended } else { Ok(()) }
    }

    async fn wait_for_end(&mut self) -> Result<()> {
        let name = chapters::name(self.chapter);
        for (role, program) in &mut self.programs {
            if program.ended().is_none() {
                program
                    .finish(STOP)
                    .await
                    .and_then(|finished| finished.has_succeeded())
                    .with_context(|| format!("{name} {role} after SIGTERM"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parts(role: &'static str, script: &str) -> Parts {
        let program = Program::new(["sh", "-c", script]).start().unwrap();
        program.stderr.all().await;
        let stream = "http://a-stream".to_owned();
        Parts { stream, programs: vec![(role, program)], ..Parts::of(2) }
    }

    #[tokio::test]
    async fn how_a_program_has_ended_stands_in_the_last_line_and_its_own_words_before() {
        let mut parts = parts("serve", "echo no wheels >&2; exit 3").await;
        while parts.programs[0].1.ended().is_none() {
            tokio::task::yield_now().await;
        }
        let error = parts.check().await.unwrap_err().to_string();
        let last = "\nno wheels\nch-2 serve has ended by itself: exit status 3";
        assert!(error.ends_with(last), "{error}");
    }

    #[tokio::test]
    async fn a_stream_without_events_is_told_with_the_last_warning_of_each_program() {
        let log = "echo 'now  WARN no way' >&2; echo 'now  INFO again' >&2";
        let mut silent = parts("watch", log).await;
        let silence = silent.silence().await.unwrap();
        let expected = "no event was received from http://a-stream\nwatch: WARN no way\n";
        assert_eq!(silence.as_deref(), Some(expected));
        assert!(silent.troubles().is_empty(), "the trouble is over");
        let mut heard = parts("watch", &format!("{log}; echo an event")).await;
        heard.programs[0].1.stdout.all().await;
        assert_eq!(heard.silence().await.unwrap(), None);
    }
}
