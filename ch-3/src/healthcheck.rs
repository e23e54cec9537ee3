//! The role `healthcheck` asks a running server for its `/status`. It is the HEALTHCHECK of an image that has no shell.
//! It uses plain TCP, because an HTTP client with TLS does not even start without CA certificates.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::config;

/// The longest time from connecting to the end of the answer's first line.
const TIMEOUT: Duration = Duration::from_secs(2);

/// # Errors
/// No server answers, or the status is not 200.
pub fn run(config: &config::Healthcheck) -> Result<()> {
    let address = reachable(config.http_addr);
    let status =
        status_line(address, TIMEOUT).with_context(|| format!("{address} does not answer"))?;
    ensure!(status.split(' ').nth(1) == Some("200"), "{address} answered {status:?}");
    Ok(())
}

fn status_line(address: SocketAddr, timeout: Duration) -> Result<String> {
    let deadline = Instant::now() + timeout;
    let mut connection = TcpStream::connect_timeout(&address, timeout)?;
    connection.set_write_timeout(Some(timeout))?;
    write!(connection, "GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 64];
    let mut length = 0;
    while length < head.len() && !head[..length].contains(&b'\r') {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no answer within {timeout:?}");
        connection.set_read_timeout(Some(left))?;
        match connection.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            // The deadline has come.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    let line = head[..length].split(|&byte| byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// A server that listens on all addresses is asked on the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check_against(answer: &'static str) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http_addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
            connection
        });
        let result = run(&config::Healthcheck { http_addr });
        server.join().unwrap();
        result
    }

    #[test]
    fn only_a_200_is_healthy() {
        check_against("HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert!(check_against("HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
        assert!(check_against("SSH-2.0-OpenSSH_9.2\r\n").is_err());
    }

    /// Each byte comes soon, but all 64 bytes together would take more than a second.
    #[test]
    fn answer_that_drips_is_given_up_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let line = "HTTP/1.1 200 OK".bytes().chain(std::iter::repeat(b' '));
            line.take_while(|&byte| {
                std::thread::sleep(Duration::from_millis(20));
                connection.write_all(&[byte]).is_ok()
            })
            .count()
        });
        let answer = status_line(address, Duration::from_millis(200));
        assert!(answer.is_err(), "{answer:?}");
        server.join().unwrap();
    }

    #[test]
    fn server_that_says_nothing_is_given_up_at_the_deadline() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let answer = status_line(silent.local_addr().unwrap(), Duration::from_millis(20));
        assert_eq!(answer.unwrap_err().to_string(), "no answer within 20ms");
    }

    #[test]
    fn unspecified_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:7000".parse().unwrap()).to_string(), "127.0.0.1:7000");
        assert_eq!(reachable("[::]:7000".parse().unwrap()).to_string(), "[::1]:7000");
        assert_eq!(reachable("10.0.0.1:80".parse().unwrap()).to_string(), "10.0.0.1:80");
    }
}
