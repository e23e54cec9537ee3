//! What a service is to this machine: a program with a folder and with ports, on 127.0.0.1 alone.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
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

/// The first of several addresses with commas between.
pub fn first_of(addresses: &str) -> &str {
    addresses.split(',').next().unwrap_or(addresses).trim()
}

/// Where a service has its program, its log and its data.
pub fn folder(name: &str) -> PathBuf {
    chapters::target().join("services").join(name)
}
