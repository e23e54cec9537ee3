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
    dotenvy::from_read(text.as_bytes()).map_err(|error| match error {
        // The line itself is not shown, because it may contain a secret.
        dotenvy::Error::LineParse(line, _) => format!(
            "{shown}: line {} is not NAME=value; example: HTTP_ADDR=127.0.0.1:7000, or with spaces or $: NAME='a $ b'",
            line_number(&text, &line)
        ),
        error => format!("{shown}: {error}"),
    })
}

fn line_number(text: &str, bad: &str) -> usize {
    let bad = bad.lines().next();
    let before = text.lines().take_while(|line| Some(*line) != bad);
    before.count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_a_bad_line_is_that_of_its_first_line() {
        let text = "A=b'\n\nb'\nC='d\ne\n";
        assert_eq!(line_number(text, "b'\n"), 3);
        assert_eq!(line_number(text, "C='d\ne\n"), 4);
    }
}
