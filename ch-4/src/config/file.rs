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

/// Refuses what dotenvy cannot read, and each `$` outside of single quotes: dotenvy would put nothing in the place of
/// `${NAME:-default}`, and of `$HTTP_ADDR` it would replace `$HTTP`. The line itself is not shown, because it may contain a
/// secret.
fn checked(text: &str) -> Result<String, String> {
    // Some editors begin a file with a byte order mark, and dotenvy refuses a space at the very end.
    let text = format!("{}\n", text.trim_start_matches('\u{feff}'));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_good = |count| {
        let first_lines = lines[..count].concat();
        // NUL is in no text and in no variable, and it means nothing to dotenvy. If the values are the same with it, all
        // of the `$` are only characters.
        let values = values(&first_lines).map(|values| values.replace('$', "\0"));
        values.is_some() && values == self::values(&first_lines.replace('$', "\0"))
    };
    // A value may have several lines. What is before the first of them is good.
    match (0..=lines.len()).rev().find(|&count| is_good(count)).unwrap_or(0) {
        good if good < lines.len() => Err(format!(
            "line {} is not NAME=value, or has a $ outside of single quotes; example: HTTP_ADDR=127.0.0.1:7000, or with spaces or $: NAME='a $ b'",
            good + 1
        )),
        _ => Ok(text),
    }
}

/// All names and values in the text, or `None` if dotenvy cannot read it.
fn values(text: &str) -> Option<String> {
    let pairs = dotenvy::from_read_iter(text.as_bytes());
    pairs.map(|pair| pair.ok().map(|(name, value)| format!("{name}={value}\n"))).collect()
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
    fn dollar_outside_of_single_quotes_is_named_by_its_line() {
        for value in [
            "${B:-c}",
            "${A}",
            "$HTTP_ADDR",
            "a$",
            "\"$B\"",
            "''${B:-c}",
            "\"it's $5 each\"",
            "\"a # $5 each\"",
            r"\\$A",
            r"\$5",
            "\"\n$5 each\"",
        ] {
            let text = format!("# it's $5\nA=1\nB={value}\n");
            assert_eq!(bad_line(&text), Some(3), "{text}");
        }
        for good in ["'${B:-c} $D'", "5 # $", "5\t# it's $6", "'a\n$5\n'", "\"it's\"' $5'", "5\r"] {
            let text = format!("A='it''s $5'\n  # $5\nB={good}\n");
            checked(&text).expect(&text);
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
