//! The files of one chapter, as git sees them: what is ignored is no part of a chapter.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::chapters;
use crate::diff::number;

pub struct Chapter {
    /// The name of its folder: `ch-1`, or what a learner calls theirs.
    name: String,
    /// 0 where it is no chapter of the course by its name.
    pub number: u8,
    /// By path inside the chapter's folder, with `/` on every system.
    pub files: BTreeMap<String, Content>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Binary(Vec<u8>),
}

impl Chapter {
    pub fn read(root: &Path, number: u8) -> Result<Self> {
        let name = chapters::name(number);
        let files = files(&root.join(&name))?;
        Ok(Self::new(name, number, files))
    }

    /// A chapter in any folder, as a learner's own. Its number is that of its package, where that is named `ch-N`.
    pub fn at(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        ensure!(folder.is_dir(), "there is no folder {shown}");
        ensure!(
            folder.join("Cargo.toml").is_file(),
            "{shown} is not a chapter: it has no Cargo.toml"
        );
        let folder = folder.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let files = files(&folder)?;
        let manifest = files.get("Cargo.toml").and_then(Content::text);
        let number = manifest.and_then(number::of_package).unwrap_or(0);
        Ok(Self::new(name.into_owned(), number, files))
    }

    /// What stands before the first chapter: every file of that one is new.
    pub fn nothing() -> Self {
        Self::new(chapters::name(0), 0, BTreeMap::new())
    }

    pub fn new(name: String, number: u8, files: BTreeMap<String, Content>) -> Self {
        Self { name, number, files }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of its README, where there is one.
    pub fn readme(&self) -> Option<&str> {
        self.files.get("README.md")?.text()
    }
}

impl Content {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The same as another chapter would have it: a file that only says where it lives becomes equal to its twin.
    pub fn renumbered(&self, from: u8, to: u8) -> Self {
        match self {
            Self::Text(text) => Self::Text(number::replaced(text, from, to)),
            Self::Binary(bytes) => Self::Binary(bytes.clone()),
        }
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

fn files(folder: &Path) -> Result<BTreeMap<String, Content>> {
    let paths = match by_git(folder) {
        Some(paths) => paths,
        None => by_walk(folder).with_context(|| format!("cannot list {}", folder.display()))?,
    };
    let mut files = BTreeMap::new();
    for path in paths {
        let file = folder.join(&path);
        // Git still lists what is deleted and not yet committed.
        if file.is_file() {
            let bytes =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            files.insert(path, Content::from(bytes));
        }
    }
    Ok(files)
}

/// Tracked files and those that are new and not ignored; `None` without git, outside a repository, or in a folder that
/// is itself ignored.
fn by_git(folder: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["ls-files", "-z", "-co", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let list = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    (!paths.is_empty()).then_some(paths)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_binary() {
        assert!(matches!(Content::from(b"fn main() {}".to_vec()), Content::Text(_)));
        assert!(matches!(Content::from(b"a\0b".to_vec()), Content::Binary(_)));
        assert!(matches!(Content::from(vec![0xFF, 0xFE]), Content::Binary(_)));
    }
}
