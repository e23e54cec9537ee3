//! One Cassandra node for this machine alone: its configuration and the Java command that starts it.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::services::java;
use crate::services::program::Port;
use crate::services::program::Program;

const VERSION: &str = "5.0.5";
pub const DEFAULT_PORT: u16 = 9042;
const OPTION: &str = "--cassandra-port";

/// Enough for the course's tables at full speed; by itself Cassandra takes a quarter of the machine.
const HEAP: [&str; 2] = ["-Xms512m", "-Xmx1g"];

/// Packages that Java 17 hides and Cassandra reaches into, from the `jvm17-server.options` that it ships.
const EXPORTS: [&str; 7] = [
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
const OPENS: [&str; 17] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.management/com.sun.management.internal",
];

/// The clients' port, and those that Cassandra opens besides: 17000 and 17199 for 9042, moved along with it.
pub fn ports(native: u16) -> [Port; 3] {
    let beside =
        |distance: u16| native.checked_add(distance).unwrap_or(native.wrapping_sub(distance));
    let port = |number, purpose| Port { number, purpose, option: OPTION };
    [port(native, "clients"), port(beside(7958), "the storage protocol"), port(beside(8157), "JMX")]
}

/// Fetches what is needed and writes the configuration; gives the command that starts the node.
pub fn prepare(folder: &Path, native: u16) -> Result<Program> {
    let java = java::find()?;
    let libs = folder.join(format!("libs-{VERSION}"));
    let artefact = format!("org.apache.cassandra:cassandra-all:{VERSION}");
    java::fetch(&[&artefact], &libs)?;
    std::fs::write(yaml(folder), configuration(folder, native))?;
    std::fs::write(logging(folder), LOGGING)?;
    Ok(Program { path: java, arguments: arguments(folder, &libs, native) })
}

fn yaml(folder: &Path) -> PathBuf {
    folder.join("cassandra.yaml")
}

fn logging(folder: &Path) -> PathBuf {
    folder.join("logback.xml")
}

/// To the log by way of stdout; without a configuration of its own Cassandra logs every detail.
const LOGGING: &str = r#"<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} [%thread] %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="STDOUT"/></root>
</configuration>
"#;

/// The text of `cassandra.yaml`, as JSON, which YAML includes: a path needs no further quoting.
fn configuration(folder: &Path, native: u16) -> String {
    let [_, storage, _] = ports(native);
    let data = folder.join("data");
    let configuration = json!({
        "cluster_name": "lab",
        "num_tokens": 16,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "listen_address": "127.0.0.1",
        "storage_port": storage.number,
        "rpc_address": "127.0.0.1",
        "start_native_transport": true,
        "native_transport_port": native,
        // Acknowledged is on disk: with "periodic" a SIGKILL was seen to lose the last 100 ms of acknowledged writes.
        "commitlog_sync": "batch",
        "data_file_directories": [data.join("tables")],
        "commitlog_directory": data.join("commitlog"),
        "saved_caches_directory": data.join("saved_caches"),
        "hints_directory": data.join("hints"),
        "cdc_raw_directory": data.join("cdc_raw"),
        "seed_provider": [{
            "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
            "parameters": [{ "seeds": format!("127.0.0.1:{}", storage.number) }],
        }],
    });
    format!("{configuration:#}\n")
}

fn arguments(folder: &Path, libs: &Path, native: u16) -> Vec<String> {
    let [_, _, jmx] = ports(native);
    let mut arguments: Vec<String> = HEAP.map(str::to_owned).to_vec();
    arguments.extend([
        // Out of memory, it must end: half-dead it would keep the port and answer nobody.
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        "-Djdk.attach.allowAttachSelf=true".to_owned(),
        format!("-Dcassandra.config={}", file_url(&yaml(folder))),
        format!("-Dlogback.configurationFile={}", file_url(&logging(folder))),
        format!("-Dcassandra.storagedir={}", folder.join("data").display()),
        format!("-Dcassandra.logdir={}", folder.display()),
        format!("-Dcassandra.jmx.local.port={}", jmx.number),
        "-Dcassandra-foreground=yes".to_owned(),
        // There are no other nodes to wait for.
        "-Dcassandra.ring_delay_ms=100".to_owned(),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
    ]);
    for package in EXPORTS {
        arguments.extend(["--add-exports".to_owned(), format!("{package}=ALL-UNNAMED")]);
    }
    for package in OPENS {
        arguments.extend(["--add-opens".to_owned(), format!("{package}=ALL-UNNAMED")]);
    }
    arguments.extend([
        "-cp".to_owned(),
        libs.join("*").display().to_string(),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    arguments
}

fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                url.push(byte.into())
            }
            other => url += &format!("%{other:02X}"),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_move_together_and_stay_in_range() {
        let numbers = |native| ports(native).map(|port| port.number);
        assert_eq!(numbers(9042), [9042, 17000, 17199]);
        assert_eq!(numbers(19042), [19042, 27000, 27199]);
        assert_eq!(numbers(65000), [65000, 57042, 56843]);
    }

    #[test]
    fn configuration_stays_on_this_machine_and_in_its_folder() {
        let text = configuration(Path::new("/a \"b\"/cassandra"), 19042);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["native_transport_port"], 19042);
        assert_eq!(read["storage_port"], 27000);
        assert_eq!(read["seed_provider"][0]["parameters"][0]["seeds"], "127.0.0.1:27000");
        assert_eq!(read["rpc_address"], "127.0.0.1");
        assert_eq!(read["listen_address"], "127.0.0.1");
        for directory in [
            "commitlog_directory",
            "saved_caches_directory",
            "hints_directory",
            "cdc_raw_directory",
        ] {
            assert!(read[directory].as_str().unwrap().starts_with("/a \"b\"/cassandra/data/"));
        }
    }

    #[test]
    fn odd_paths_become_urls() {
        assert_eq!(file_url(Path::new("/a b/ü/c.yaml")), "file:///a%20b/%C3%BC/c.yaml");
    }

    #[test]
    fn class_comes_last_and_the_heap_is_bounded() {
        let arguments = arguments(Path::new("/f"), Path::new("/f/libs"), 9042);
        assert!(arguments.iter().any(|argument| argument.starts_with("-Xmx")));
        assert!(arguments.contains(&"-Dcassandra.jmx.local.port=17199".to_owned()));
        assert!(arguments.last().unwrap().ends_with(".CassandraDaemon"));
    }
}
