//! Secrets and names that nobody can guess.

use std::io::Read;

use anyhow::Context;
use anyhow::Result;

/// Random bytes in hex: a secret and a password of this run alone.
pub fn random_hex<const BYTES: usize>() -> Result<String> {
    let mut bytes = [0_u8; BYTES];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
