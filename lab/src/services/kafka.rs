//! One Kafka node for this machine alone, broker and controller in one (KRaft): its configuration, the Java command
//! that starts it.

mod protocol;

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

pub use self::protocol::answers;
use crate::services::java;
use crate::services::process::last_words;
use crate::services::program;
use crate::services::program::Port;
use crate::services::program::Program;

const VERSION: &str = "4.1.0";
pub const DEFAULT_PORT: u16 = 9092;
const OPTION: &str = "--kafka-port";
/// 16 bytes in base64, the same for every node of lab's.
const CLUSTER: &str = "bGFiLWthZmthLTAwMDAwMQ";
/// Writes Kafka's log to stderr; the artefact brings none, and would say nothing.
const LOGGER: &str = "org.slf4j:slf4j-simple:1.7.36";
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx1g"];
/// How long a start may take, on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The clients' port, and the controller's beside it: 9093 for 9092.
pub fn ports(clients: u16) -> [Port; 2] {
    let port = |number, purpose| Port { number, purpose, option: OPTION };
    [port(clients, "clients"), port(controller(clients), "the controller")]
}

fn controller(clients: u16) -> u16 {
    clients.checked_add(1).unwrap_or(clients - 1)
}

/// Fetches what is needed, writes the configuration, and formats the folder for data where that is new; gives the
/// command that starts the node.
pub fn prepare(folder: &Path, clients: u16) -> Result<Program> {
    let java = java::find()?;
    let libs = program::folder("kafka").join(format!("libs-{VERSION}"));
    java::fetch(&[&format!("org.apache.kafka:kafka_2.13:{VERSION}"), LOGGER], &libs)?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::write(properties(folder), configuration(folder, clients))?;
    if !data(folder).join("meta.properties").exists() {
        format_data(&java, &libs, folder)?;
    }
    Ok(Program { path: java, arguments: arguments(folder, &libs) })
}

fn properties(folder: &Path) -> PathBuf {
    folder.join("server.properties")
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The text of `server.properties`.
fn configuration(folder: &Path, clients: u16) -> String {
    let controller = controller(clients);
    // In a properties file a backslash begins an escape.
    let data = data(folder).display().to_string().replace('\\', r"\\");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{clients}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
# Topics are made on purpose: a misspelt name is to be an error.
auto.create.topics.enable=false
num.partitions=6
# One node holds the only copy of everything.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A group of tests is complete at once; 3 s would be waited for more members.
group.initial.rebalance.delay.ms=0
"
    )
}

fn format_data(java: &Path, libs: &Path, folder: &Path) -> Result<()> {
    let output = Command::new(java)
        .arg("-cp")
        .arg(libs.join("*"))
        .args(["kafka.tools.StorageTool", "format", "--ignore-formatted"])
        .args(["--cluster-id", CLUSTER, "--config"])
        .arg(properties(folder))
        .output()
        .with_context(|| format!("cannot run {}", java.display()))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "Kafka cannot prepare {}:{}",
        data(folder).display(),
        last_words(&String::from_utf8_lossy(&said))
    );
    Ok(())
}

fn arguments(folder: &Path, libs: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = HEAP.map(str::to_owned).to_vec();
    arguments.extend([
        // Out of memory, it must end: half-dead it would keep the port and answer nobody.
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        "-Dorg.slf4j.simpleLogger.showDateTime=true".to_owned(),
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS".to_owned(),
        "-Dorg.slf4j.simpleLogger.showShortLogName=true".to_owned(),
        "-cp".to_owned(),
        libs.join("*").display().to_string(),
        "kafka.Kafka".to_owned(),
        properties(folder).display().to_string(),
    ]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controller_is_beside_the_clients_and_in_range() {
        let numbers = |clients| ports(clients).map(|port| port.number);
        assert_eq!(numbers(9092), [9092, 9093]);
        assert_eq!(numbers(65535), [65535, 65534]);
    }

    #[test]
    fn configuration_stays_on_this_machine_and_in_its_folder() {
        let text = configuration(Path::new("/a b"), 19092);
        let value = |name: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        assert_eq!(
            value("listeners"),
            Some("PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093")
        );
        assert_eq!(value("advertised.listeners"), Some("PLAINTEXT://127.0.0.1:19092"));
        assert_eq!(value("controller.quorum.voters"), Some("1@127.0.0.1:19093"));
        assert_eq!(value("log.dirs"), Some("/a b/data"));
    }

    #[test]
    fn class_and_its_file_come_last_and_the_heap_is_bounded() {
        let arguments = arguments(Path::new("/f"), Path::new("/libs"));
        assert!(arguments.iter().any(|word| word.starts_with("-Xmx")));
        assert!(
            arguments.ends_with(&["kafka.Kafka".to_owned(), "/f/server.properties".to_owned()])
        );
    }
}
