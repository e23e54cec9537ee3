//! `cargo lab services`: starts Cassandra and Kafka on this machine without Docker. Each is one process, keeps its
//! files in `target/services/`, and listens on 127.0.0.1 alone. `check`, `up` and `bench` ask here whether a service
//! answers.

mod cassandra;
mod connect;
mod cql;
pub mod java;
pub mod kafka;
mod keyspace;
mod node;
mod process;
mod program;
mod service;

use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tokio::time::Instant;

pub use crate::chapters::target;
use crate::ports;
pub use crate::services::cql::answers as cassandra_answers;
pub use crate::services::kafka::answers as kafka_answers;
pub use crate::services::keyspace::Keyspace;
pub use crate::services::node::Kafka;
use crate::services::process::Running;
use crate::services::program::Port;
use crate::services::program::address;
pub use crate::services::program::addresses;
pub use crate::services::program::first_of;
pub use crate::services::service::Service;
use crate::stop;
use crate::terminal;

const POLL: Duration = Duration::from_millis(200);
/// The kernel closes the sockets of a large process some time after its end.
const RELEASE: Duration = Duration::from_secs(10);

/// Starts, ends or shows the services that chapters need: Cassandra and Kafka, without Docker
///
/// A service needs Java 17. The first start also needs Maven, which fetches the jars. Everything is kept in
/// target/services/: the jars, the configuration, the log, and the data, which is still there after a restart.
///
/// Examples:
///   cargo lab services up                          both, on their default ports, 9042 and 9092
///   cargo lab services up cassandra                all that ch-3 and ch-4 need
///   cargo lab services up kafka --kafka-port 19092
///   cargo lab services status
///   cargo lab services down --wipe
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start what is not up yet, and wait until it answers. Safe to call twice; Ctrl-C ends what this call has started
    Up {
        /// The services [default: all]
        services: Vec<Service>,
        /// The port for Cassandra's clients; two more are opened 7958 and 8157 above it
        #[arg(long, value_name = "PORT", default_value_t = cassandra::DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
        cassandra_port: u16,
        /// The port for Kafka's clients; the next one is opened for its controller
        #[arg(long, value_name = "PORT", default_value_t = kafka::DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
        kafka_port: u16,
    },
    /// End them: ask them to end, wait up to 30 s, then kill them. The data stays
    Down {
        /// The services [default: all]
        services: Vec<Service>,
        /// Delete their data as well
        #[arg(long)]
        wipe: bool,
    },
    /// Show which of them run and answer; the exit status is 0 only if all do
    Status {
        /// The services [default: all]
        services: Vec<Service>,
    },
}

/// A service that answers.
pub struct Ready {
    pub address: SocketAddr,
    /// How long the start took; `None` where the service was up before.
    pub started_in: Option<Duration>,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let mut all_up = true;
    match options.action {
        Action::Up { services, cassandra_port, kafka_port } => {
            let mut stop = pin!(stop::signals()?);
            let mut started = Vec::new();
            for service in or_all(services) {
                let port = match service {
                    Service::Cassandra => cassandra_port,
                    Service::Kafka => kafka_port,
                };
                if process::running(&service.folder()).is_none() {
                    started.push(service);
                }
                let what = format!("{} to answer on {}", service.name(), address(port));
                let ready = tokio::select! {
                    ready = terminal::waiting(&what, up(service, port)) => ready?,
                    signal = &mut stop => return interrupted(signal, started).await,
                };
                let how = match ready.started_in {
                    Some(time) => format!("up after {:.1} s", time.as_secs_f64()),
                    None => "already up".to_owned(),
                };
                say(&format!("{}: {how}, on {}", service.name(), ready.address))?;
            }
        }
        Action::Down { services, wipe } => {
            for service in or_all(services) {
                let how = down(service, wipe).await?;
                say(&format!("{}: {how}", service.name()))?;
            }
        }
        Action::Status { services } => {
            for service in or_all(services) {
                let (state, is_up) = status(service).await;
                all_up &= is_up;
                say(&format!("{}: {state}", service.name()))?;
            }
        }
    }
    Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends what was started before the signal came.
async fn interrupted(signal: &str, started: Vec<Service>) -> Result<ExitCode> {
    eprintln!("interrupted by {signal}: ending what this command has started");
    for service in started {
        let how = down(service, false).await?;
        say(&format!("{}: {how}", service.name()))?;
    }
    Ok(ExitCode::FAILURE)
}

/// Starts `service` on `port` where it is not up, and returns when it answers.
pub async fn up(service: Service, port: u16) -> Result<Ready> {
    let folder = service.folder();
    let lock = process::lock(&folder)?;
    let begun = Instant::now();
    let (running, child) = match process::running(&folder) {
        Some(running) if running.port != port => bail!(
            "{} is up on port {}, not {port}: `cargo lab services down {}` first",
            service.name(),
            running.port,
            service.name(),
        ),
        Some(running) => {
            if service.answers(port).await {
                return Ok(Ready { address: address(port), started_in: None });
            }
            (running, None)
        }
        None => {
            // A process that has just died may still hold its ports; anybody else's are not waited for.
            let patience = if process::is_left_behind(&folder) { RELEASE } else { Duration::ZERO };
            if let Some((taken, owner)) = taken_port(service, port, patience).await {
                bail!(
                    "port {} (for {}'s {}) is taken by {owner}: end that program, or choose another port with {}",
                    taken.number,
                    service.name(),
                    taken.purpose,
                    taken.option,
                );
            }
            let program = service.prepare(&folder, port)?;
            let child = process::start(&folder, &program, port)?;
            let pid = child.id().context("the process ended at once")?;
            (Running { pid, port }, Some(child))
        }
    };
    drop(lock);
    wait_until_it_answers(service, running, child).await?;
    Ok(Ready { address: address(port), started_in: Some(begun.elapsed()) })
}

/// A port of the service that is still taken after `patience`, and by whom.
async fn taken_port(service: Service, port: u16, patience: Duration) -> Option<(Port, String)> {
    let deadline = Instant::now() + patience;
    loop {
        let taken = service
            .ports(port)
            .into_iter()
            .find_map(|port| ports::owner(port.number).map(|owner| (port, owner)));
        if taken.is_none() || Instant::now() >= deadline {
            return taken;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn wait_until_it_answers(
    service: Service,
    running: Running,
    mut child: Option<tokio::process::Child>,
) -> Result<()> {
    let folder = service.folder();
    let deadline = Instant::now() + service.patience();
    let what = loop {
        if service.answers(running.port).await {
            return Ok(());
        }
        let ended = match &mut child {
            Some(child) => child.try_wait()?.map(|status| format!(" ({status})")),
            None => process::running(&folder).is_none().then(String::new),
        };
        if let Some(status) = ended {
            break format!("ended while it started{status}");
        }
        if Instant::now() >= deadline {
            process::stop(&folder, running.pid).await?;
            break format!(
                "did not answer within {} s and was ended",
                service.patience().as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    };
    let log = process::log_file(&folder);
    let text = std::fs::read(&log).unwrap_or_default();
    let words = process::last_words(&String::from_utf8_lossy(&text));
    bail!("{} {what}; its log, {}, says last:{words}", service.name(), log.display())
}

/// Ends `service`, with `wipe` its data too; says what was done.
async fn down(service: Service, wipe: bool) -> Result<String> {
    let folder = service.folder();
    let _lock = process::lock(&folder)?;
    let begun = Instant::now();
    let mut how = match process::running(&folder) {
        None => "was not up".to_owned(),
        Some(running) => {
            let clean = process::stop(&folder, running.pid).await?;
            // So that whoever is next finds the ports free.
            taken_port(service, running.port, RELEASE).await;
            if clean {
                format!("down after {:.1} s", begun.elapsed().as_secs_f64())
            } else {
                "did not end by itself and was killed".to_owned()
            }
        }
    };
    process::forget(&folder)?;
    let data = folder.join("data");
    if wipe && data.exists() {
        std::fs::remove_dir_all(&data)
            .with_context(|| format!("cannot delete {}", data.display()))?;
        how += ", its data deleted";
    }
    Ok(how)
}

async fn status(service: Service) -> (String, bool) {
    let folder = service.folder();
    match process::running(&folder) {
        None => {
            let name = service.name();
            let how = format!("down: `cargo lab services up {name}` starts it");
            (how, false)
        }
        Some(Running { pid, port }) => {
            let is_up = service.answers(port).await;
            let state = if is_up { "up" } else { "running, but does not answer (yet)" };
            (format!("{state}, on {}, pid {pid}, in {}", address(port), folder.display()), is_up)
        }
    }
}

fn or_all(services: Vec<Service>) -> Vec<Service> {
    if services.is_empty() {
        return Service::ALL.to_vec();
    }
    services
}

fn say(line: &str) -> Result<()> {
    terminal::print(|out| writeln!(out, "{line}"))
}
