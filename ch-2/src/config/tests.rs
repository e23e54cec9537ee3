//! Each bad value is refused in one line that names its variable.

use clap::CommandFactory;

use super::*;
use crate::Cli;

const SERVER: &str = "serve";

/// A variable as an option of the command line.
fn option(variable: &str, value: &str) -> String {
    format!("--{}={value}", variable.to_lowercase().replace('_', "-"))
}

fn refusal(role: &str, variable: &str, value: &str) -> String {
    let arguments = ["program", role, &option(variable, value)];
    let parsed = read::parse_from::<Cli>(arguments.map(Into::into).to_vec(), None);
    let message = parsed.err().expect(value).to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_variable_has_an_example() {
    let command = Cli::command();
    for argument in read::all_arguments(&command) {
        let help = argument.get_help().unwrap_or_default().to_string();
        let example = help.split_once("Example: ");
        let missing = argument.get_env().filter(|_| example.is_none());
        assert_eq!(missing, None);
    }
}

#[test]
fn bad_value_is_refused_by_name() {
    for (role, variable, values) in [
        (SERVER, "HTTP_ADDR", &["", "localhost", "127.0.0.1"][..]),
        ("watch", "USER_AGENT", &["", " ", "a\nb"]),
    ] {
        for value in values {
            let message = refusal(role, variable, value);
            let expected = format!("error: {variable} {value:?}: ");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}

#[test]
fn bad_url_is_refused_by_name_and_not_shown() {
    for value in ["", "hunter2", "me:hunter2@example.org", "ftp://me:hunter2@example.org/?hunter2"]
    {
        let message = refusal("watch", "WIKIPEDIA_STREAM_URL", value);
        assert!(message.starts_with("error: WIKIPEDIA_STREAM_URL: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}
