//! Reads the file with the variables: the one that CONFIG_FILE names, or else `.env`, which may be missing.

use std::env;
use std::fs;
use std::io::ErrorKind;

/// Adds the variables of the file to the environment. A variable that is there already keeps its value.
///
/// # Errors
/// One line that says why the file cannot be read, or what is wrong in it.
pub fn load() -> Result<(), String> {
    let named = env::var_os("CONFIG_FILE").filter(|name| !name.is_empty());
    let path = named.clone().unwrap_or_else(|| ".env".into());
    let shown = path.to_string_lossy();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => return Ok(()),
        Err(error) => {
            return Err(format!(
                "CONFIG_FILE: cannot read {shown}: {error}; example: CONFIG_FILE=.env"
            ));
        }
    };
    // Setting a variable that contains a NUL byte would panic.
    if text.contains('\0') {
        return Err(format!("{shown}: contains a NUL"));
    }
    let text = checked(&text).map_err(|wrong| format!("{shown}: {wrong}"))?;
    dotenvy::from_read(text.as_bytes()).map_err(|error| format!("{shown}: {error}"))
}

/// Refuses what dotenvy cannot read, and what it would read in another way than Docker Compose does. The line itself is
/// not shown, because it may contain a secret.
fn checked(text: &str) -> Result<String, String> {
    // Some editors begin a file with a byte order mark, and dotenvy refuses a space at the very end.
    let text = format!("{}\n", text.trim_start_matches('\u{feff}'));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_good = |count| {
        let first_lines = lines[..count].concat();
        dotenvy::from_read_iter(first_lines.as_bytes()).all(|pair| pair.is_ok())
    };
    if !is_good(lines.len()) {
        // A value may have several lines. What is before the first of them is good.
        let good = (0..lines.len()).rev().find(|&count| is_good(count)).unwrap_or(0);
        return Err(format!(
            "line {} is not NAME=value; example: HTTP_ADDR=127.0.0.1:7000, or with spaces or $: NAME='a $ b'",
            good + 1
        ));
    }
    let Some(place) = lines.iter().position(|line| has_odd_dollar(line)) else {
        return Ok(text);
    };
    Err(format!(
        "line {} has a $ that does not begin ${{NAME}}; in single quotes $ is only a character; example: NAME='a $ b'",
        place + 1
    ))
}

/// Whether a `$` outside of single quotes begins something else than `${NAME}`. dotenvy would put nothing in the place
/// of `${NAME:-default}`, and of `$HTTP_ADDR` it would replace `$HTTP`.
fn has_odd_dollar(line: &str) -> bool {
    let line = if line.trim_start().starts_with('#') { "" } else { line };
    let without_comment = line.split(" #").next().unwrap_or_default().replace("\\$", "");
    let outside_of_quotes = without_comment.split('\'').step_by(2);
    outside_of_quotes.flat_map(|part| part.split('$').skip(1)).any(|rest| {
        let braced = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        braced.is_none_or(|(name, _)| name.is_empty() || !name.chars().all(legal))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the bad line.
    fn bad_line(text: &str) -> Option<usize> {
        let wrong = checked(text).err()?;
        wrong.split(' ').nth(1)?.parse().ok()
    }

    #[test]
    fn bad_line_is_named_by_its_number() {
        for (text, expected) in [
            ("A=1\nB=2\nC=3 4\n", 3),
            ("# b c\nA=1\nB=b c\n", 3),
            ("# no name\nno name\n", 2),
            ("A=b\nC='d\ne\n", 2),
            ("A='b\n\nb'\nC\n", 4),
            ("A='b\n\nb' c\nD=1\n", 1),
            ("=1\n", 1),
        ] {
            assert_eq!(bad_line(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn dollar_that_would_be_lost_is_named_by_its_line() {
        for value in ["${B:-c}", "${B-c}", "${}", "$HTTP_ADDR", "a$", "\"$B\"", "b#$C", "''${B:-c}"]
        {
            let text = format!("# it's $5\nA=1\nB={value}\n");
            assert_eq!(bad_line(&text), Some(3), "{text}");
        }
        for good in ["'${B:-c} $D'", "${HTTP_ADDR}", "\"${B}\"", r"\$5", "5 # $", "5\r"] {
            let text = format!("A='it''s $5'\n  # $5\nB={good}\n");
            checked(&text).unwrap();
        }
    }

    #[test]
    fn file_of_another_editor_is_taken() {
        for text in ["\u{feff}A=1\r\nB='2'\r\n", "A=1\nB=2 ", "A=1\nB=\"2\" # two"] {
            let text = checked(text).unwrap();
            let pairs: Vec<_> = dotenvy::from_read_iter(text.as_bytes()).flatten().collect();
            assert_eq!(pairs, [("A", "1"), ("B", "2")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        }
    }
}
