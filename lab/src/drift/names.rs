//! Second rule: no Rust file names a chapter, in code, comment or string. What is new is told in READMEs, and a file
//! that names no chapter can stay the same in the next one.

use crate::diff::files::Chapter;
use crate::diff::files::Content;
use crate::drift::violation::Violation;

pub fn check(chapter: &Chapter) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, content) in chapter.files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let Content::Text(text) = content else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = chapter_named(line) {
                violations.push(Violation {
                    file: format!("{}/{path}:{}", chapter.name(), index + 1),
                    what: format!("names a chapter: `{name}`"),
                    to_do: "say what it is instead; chapters are compared in READMEs only"
                        .to_owned(),
                });
            }
        }
    }
    violations
}

/// Finds `ch-3`, `ch_3`, `chapter 3` or `chapters 3`, in any case. `batch_1` and `epoch-2` are no chapters.
fn chapter_named(line: &str) -> Option<String> {
    let line = line.to_ascii_lowercase();
    line.match_indices("ch").find_map(|(start, _)| {
        if line[..start].ends_with(char::is_alphanumeric) {
            return None;
        }
        let rest = &line[start..];
        let long = rest.strip_prefix("chapters").or_else(|| rest.strip_prefix("chapter"));
        let after = match long {
            Some(after) => after.trim_start_matches([' ', '-', '_']),
            None => rest[2..].strip_prefix(['-', '_'])?,
        };
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let end = rest.len() - after.len() + digits;
        (digits > 0).then(|| rest[..end].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chapters_are_found_however_they_are_written() {
        for line in [
            "// as in ch-1.",
            "let s = \"ch_12\";",
            "/// Chapter 3 adds",
            "CH_2",
            "in_ch_2",
            "chapters 4 and 8",
            "chapter-5",
        ] {
            assert!(chapter_named(line).is_some(), "{line}");
        }
        assert_eq!(chapter_named("see Chapter 3, and").as_deref(), Some("chapter 3"));
    }

    #[test]
    fn other_words_are_no_chapters() {
        for line in [
            "batch_1",
            "epoch-2",
            "ch",
            "chapter",
            "ch-x",
            "each 3",
            "patch-5",
            "this chapter has 3",
            "Bach 1",
        ] {
            assert_eq!(chapter_named(line), None, "{line}");
        }
    }
}
