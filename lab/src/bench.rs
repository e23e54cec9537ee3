//! Stand-in until the module lands.

use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Options {}

pub async fn run(_options: Options) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::FAILURE)
}
