//! One file of two chapters, compared by `git diff --no-index`. Git sees copies, because a chapter's own number is no
//! difference: the older chapter's copy has the number of the newer one.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::diff::files::Chapter;
use crate::diff::files::Content;

/// What `git diff` prints of the file `path`. `keep` says of each line whether git is to see it.
///
/// # Errors
/// There is no git, or it does not know one of the `options`.
pub fn diff(
    a: &Chapter,
    b: &Chapter,
    path: &str,
    keep: fn(&str) -> bool,
    options: &[&str],
) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let old = a.files.get(path).map(|content| content.renumbered(a.number, b.number));
    let mut names = Vec::new();
    for (side, chapter, content) in [("a", a, old.as_ref()), ("b", b, b.files.get(path))] {
        let Some(content) = content else {
            names.push("/dev/null".to_owned());
            continue;
        };
        // Git prints these names. The first part keeps two chapters of the same name apart.
        let name = format!("{side}/{}/{path}", chapter.name());
        write(&folder.path().join(&name), content, keep)
            .with_context(|| format!("cannot write a copy of {path}"))?;
        names.push(name);
    }
    let output = Command::new("git")
        .args(["diff", "--no-index", "--no-prefix"])
        .args(options)
        .arg("--")
        .args(&names)
        .current_dir(folder.path())
        // A repository around the temporary folder, or the one of a hook that runs this, has no say.
        .env("GIT_DIR", "/dev/null")
        .output()
        .context("cannot run git, which compares the files")?;
    // 1 says that the files differ. After its reason git may print all of its options.
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "git diff failed: {}",
        complaint.lines().next().unwrap_or_default()
    );
    Ok(output.stdout)
}

fn write(file: &Path, content: &Content, keep: fn(&str) -> bool) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match content {
        Content::Text(text) => {
            let lines: String = text.split_inclusive('\n').filter(|line| keep(line)).collect();
            std::fs::write(file, lines)
        }
        Content::Binary(bytes) => std::fs::write(file, bytes),
    }
}
