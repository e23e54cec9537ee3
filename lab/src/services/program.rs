//! What a service is to this machine: a program with a folder and with ports, on 127.0.0.1 alone.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use crate::chapters;

/// A port that a service listens on.
pub struct Port {
    pub number: u16,
    pub purpose: &'static str,
    /// The option that moves it.
    pub option: &'static str,
}

pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
}

pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Checks an option that names one address or several with commas between.
///
/// # Errors
/// One has no host or no port; the error shows how it is written, with `port` as the example.
pub fn addresses(text: &str, port: u16) -> Result<String, String> {
    let is_address = |address: &str| {
        let parts = address.trim().rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<NonZeroU16>().is_ok())
    };
    if text.split(',').all(is_address) {
        return Ok(text.to_owned());
    }
    Err(format!("give a host and a port, as in 127.0.0.1:{port}"))
}

/// The first of several addresses with commas between.
pub fn first_of(addresses: &str) -> &str {
    addresses.split(',').next().unwrap_or(addresses).trim()
}

/// Where a service has its program, its log and its data.
pub fn folder(name: &str) -> PathBuf {
    chapters::target().join("services").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_is_refused_with_an_example() {
        for good in ["localhost:1", "[::1]:9092", "a:1, b:2"] {
            assert_eq!(addresses(good, 9092).as_deref(), Ok(good));
        }
        for bad in ["", "localhost", "localhost:", ":9092", "a:1,b", "a:0", "a:70000"] {
            assert!(addresses(bad, 9092).unwrap_err().contains("127.0.0.1:9092"), "{bad}");
        }
    }
}
