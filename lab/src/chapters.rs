//! What every command knows of the chapters: where they are, and which there are.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// The workspace's folder. Lab is always built inside the workspace that it serves.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Cargo's target folder, absolute.
pub fn target() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&target).unwrap_or(target)
}

/// The numbers of the chapters that are there, ascending.
pub fn all() -> Result<Vec<u8>> {
    let mut numbers: Vec<u8> = std::fs::read_dir(root())
        .context("cannot list the workspace")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("ch-")?.parse().ok())
        .filter(|number| folder(*number).join("Cargo.toml").is_file())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Chapter `number`, the newest where none is given, or an error that names those there are.
pub fn pick(number: Option<u8>) -> Result<u8> {
    let all = all()?;
    let newest = *all.last().context("there is no chapter in the workspace")?;
    match number {
        None => Ok(newest),
        Some(number) if all.contains(&number) => Ok(number),
        Some(number) => bail!("there is no chapter {number}; there are 1 to {newest}"),
    }
}

/// Reads `3` and `ch-3`, also with the slash that a shell adds to a folder's name.
///
/// # Errors
/// It is neither.
pub fn number(text: &str) -> Result<u8, String> {
    let digits = text.strip_prefix("ch-").unwrap_or(text).trim_end_matches('/');
    digits.parse().map_err(|_| "a chapter is a number or a name, as in 3 or ch-3".to_owned())
}

/// `ch-N`, the name of the chapter's folder, package and binary.
pub fn name(number: u8) -> String {
    format!("ch-{number}")
}

pub fn folder(number: u8) -> PathBuf {
    root().join(name(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_is_a_number_or_a_name() {
        for text in ["3", "ch-3", "ch-3/"] {
            assert_eq!(number(text), Ok(3), "{text}");
        }
        for text in ["", "ch-", "three", "ch-3/src", "300"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
