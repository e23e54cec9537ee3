//! `cargo lab doctor`: what this machine has, what it lacks for which chapter, and the command that mends it.
#![expect(
    clippy::print_stdout,
    reason = "the report is what this command is for"
)]

use std::process::ExitCode;

use crate::ports;

/// Look at this machine: what each chapter needs, and the command that mends what is missing.
#[derive(clap::Args)]
pub struct Options {}

pub async fn run(_options: &Options) -> anyhow::Result<ExitCode> {
    for port in [7000, 8080, 2112, 9042, 9092, 7100] {
        match ports::owner(port) {
            Some(owner) => println!("! port {port}: taken by {owner}"),
            None => println!("✓ port {port}: free"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
