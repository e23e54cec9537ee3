//! The files of one chapter, as git sees them: what is ignored is no part of a chapter.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::chapters;

pub struct Chapter {
    pub number: u8,
    /// By path inside the chapter's folder, with `/` on every system.
    pub files: BTreeMap<String, Content>,
}

#[derive(PartialEq, Eq)]
pub enum Content {
    Text(String),
    Binary(Vec<u8>),
}

impl Chapter {
    pub fn read(root: &Path, number: u8) -> Result<Self> {
        let folder = root.join(chapters::name(number));
        let paths = match by_git(&folder) {
            Some(paths) => paths,
            None => {
                by_walk(&folder).with_context(|| format!("cannot list {}", folder.display()))?
            }
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let file = folder.join(&path);
            // Git still lists what is deleted and not yet committed.
            if file.is_file() {
                let bytes = std::fs::read(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                files.insert(path, Content::from(bytes));
            }
        }
        Ok(Self { number, files })
    }

    /// What stands before the first chapter: every file of that one is new.
    pub fn nothing() -> Self {
        Self {
            number: 0,
            files: BTreeMap::new(),
        }
    }

    pub fn name(&self) -> String {
        chapters::name(self.number)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Self::Text(text),
            Ok(text) => Self::Binary(text.into_bytes()),
            Err(error) => Self::Binary(error.into_bytes()),
        }
    }
}

/// Tracked files and those that are new and not ignored; `None` without git or outside a repository.
fn by_git(folder: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["ls-files", "-z", "-co", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let list = String::from_utf8(output.stdout).ok()?;
    Some(list.split_terminator('\0').map(str::to_owned).collect())
}

/// All files below `folder`, but for what a chapter's build and its user leave there.
fn by_walk(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut below = vec![String::new()];
    while let Some(prefix) = below.pop() {
        for entry in std::fs::read_dir(folder.join(&prefix))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if ["target", ".git", ".env"].contains(&name.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                below.push(format!("{prefix}{name}/"));
            } else {
                paths.push(format!("{prefix}{name}"));
            }
        }
    }
    Ok(paths)
}

/// Reads the chapter's own number as `#` in `ch-N` and `ch_N`, so that a file which only says where it lives is
/// equal to its twin in the next chapter. `batch-1` and `ch-12` are no such names.
pub fn without_own_number(text: &str, number: u8) -> String {
    let digits = number.to_string();
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    for (start, _) in text.match_indices("ch") {
        let from = start + "ch-".len();
        let named = text[start + 2..].starts_with(['-', '_']) && text[from..].starts_with(&digits);
        if !named {
            continue;
        }
        let to = from + digits.len();
        let begins = !text[..start].ends_with(char::is_alphanumeric);
        let ends = !text[to..].starts_with(|next: char| next.is_ascii_digit());
        if begins && ends {
            result.push_str(&text[copied..from]);
            result.push('#');
            copied = to;
        }
    }
    result.push_str(&text[copied..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_number_is_read_as_a_sign() {
        let text = "ch-1 ch_1: /ch-1/x ch-12 batch-1 ch-2 in_ch_1 ch";
        let expected = "ch-# ch_#: /ch-#/x ch-12 batch-1 ch-2 in_ch_# ch";
        assert_eq!(without_own_number(text, 1), expected);
        assert_eq!(without_own_number("é ch-", 1), "é ch-");
    }

    #[test]
    fn bytes_that_are_no_text_are_binary() {
        assert!(matches!(
            Content::from(b"fn main() {}".to_vec()),
            Content::Text(_)
        ));
        assert!(matches!(
            Content::from(b"a\0b".to_vec()),
            Content::Binary(_)
        ));
        assert!(matches!(
            Content::from(vec![0xFF, 0xFE]),
            Content::Binary(_)
        ));
    }
}
