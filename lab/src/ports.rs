//! The TCP ports of this machine: this module finds a free one, and says which program listens on one that is taken, so
//! that the user knows what to end. On Linux it reads `/proc`, elsewhere it asks `lsof`. Called by `up`, `services`,
//! `check` and `doctor`.

use std::env;
use std::fs::File;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

/// Below those that a system gives to clients (Linux from 32768, macOS from 49152): nobody gets one of these by chance
/// before it is used, or while a server that is started again is away.
const PORTS: Range<u16> = 10_000..32_000;

/// A port on the loopback that was free a moment ago, as was the next one, which Kafka's controller takes.
pub fn free_port() -> Result<u16> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut tries = (0..1000).map(|_| fastrand::u16(PORTS));
    tries.find(|port| is_free(*port) && is_free(port + 1)).context("cannot find a free port")
}

/// Takes `port` on all addresses, now or within five seconds: a program that was killed may just be going.
pub async fn hold(port: u16) -> Option<TcpListener> {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            return Some(listener);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// Waits until no other lab tests a program on `port`, and keeps it from others until the file is dropped: an answer
/// from there must be that of the program under test.
pub async fn reserve(port: u16) -> Result<File> {
    let path = env::temp_dir().join(format!("lab-port-{port}"));
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let mut told = false;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        if !std::mem::replace(&mut told, true) {
            eprintln!("another `cargo lab check` uses port {port}: waiting until it has ended");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(file)
}

/// The program that listens on `port`, as in `java (pid 4711)`; `None` where the port is free.
pub fn owner(port: u16) -> Option<String> {
    by_proc(port).or_else(|| {
        // Other systems, and sockets of another network namespace or behind a restricted /proc.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        taken.then(|| by_lsof(port).unwrap_or_else(|| "a process of another user".to_owned()))
    })
}

fn by_proc(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let socket = format!("socket:[{inode}]");
    // By number only: /proc has links such as `self` beside the processes.
    let holder = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(
                |file| {
                    std::fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&socket))
                },
            )
        });
    Some(match holder {
        Some(pid) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        }
        None => "another user's process".to_owned(),
    })
}

/// Finds the inode of the socket that listens on `port` in the text of `/proc/net/tcp`: the columns are the line's
/// number, local address (hex, `:`, port in hex), remote address, state (0A: listening), then queues, user, inode.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local) = columns.get(1)?.rsplit_once(':')?;
        let listens = columns.get(3) == Some(&"0A") && u16::from_str_radix(local, 16) == Ok(port);
        listens.then(|| columns.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}

fn by_lsof(port: u16) -> Option<String> {
    let output = Command::new("lsof")
        .args(["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-Fpc"])
        .output()
        .ok()?;
    lsof_owner(&String::from_utf8_lossy(&output.stdout))
}

/// Reads lsof's field output: a line `p4711` for the process, then `cjava` for its command.
fn lsof_owner(fields: &str) -> Option<String> {
    let pid = fields.lines().find_map(|line| line.strip_prefix('p'))?;
    let name = fields.lines().find_map(|line| line.strip_prefix('c'))?;
    Some(format!("{name} (pid {pid})"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2352 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 16215 1 0 100 0 0 10 0
   1: 0100007F:1B58 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 16300 1 0 100 0 0 10 0
";

    #[test]
    fn only_a_listening_socket_counts() {
        assert_eq!(listening_inode(TABLE, 9042).as_deref(), Some("16215"));
        assert_eq!(listening_inode(TABLE, 7000), None, "connected, not listening");
        assert_eq!(listening_inode(TABLE, 9043), None);
    }

    #[test]
    fn lsof_fields_become_a_name() {
        assert_eq!(lsof_owner("p4711\ncjava\nf12\n").as_deref(), Some("java (pid 4711)"));
        assert_eq!(lsof_owner(""), None);
    }

    #[test]
    fn free_port_and_the_next_one_are_free_and_none_that_a_client_gets_by_chance() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port), "{port}");
        let bound = [port, port + 1].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
    }

    #[tokio::test]
    async fn port_is_reserved_for_one_at_a_time() {
        let port = free_port().unwrap();
        let first = reserve(port).await.unwrap();
        let mut second = std::pin::pin!(reserve(port));
        let waits = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
        assert!(waits.is_err());
        drop(first);
        tokio::time::timeout(Duration::from_secs(30), second).await.unwrap().unwrap();
    }

    #[test]
    fn own_listener_is_named_and_a_closed_one_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let named = owner(port).unwrap();
        assert!(named.contains(&format!("pid {}", std::process::id())), "{named}");
        drop(listener);
        // A program that another test is just starting holds the socket for a moment too.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Some(owner) = owner(port) {
            assert!(Instant::now() < deadline, "{owner}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
