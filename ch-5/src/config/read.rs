//! Reads a configuration from the command line and the environment. A mistake in it is explained in one line.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;

use clap::Arg;
use clap::Command;
use clap::Error;
use clap::Parser;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

use crate::config::file;

const ABOUT_FILE: &str = "Each variable that `env:` shows can also stand in a file: .env in the working directory, or \
the file that the variable CONFIG_FILE names.";

/// Reads the configuration. If it is wrong, this ends the process with one line that says what to correct.
/// `default_role` is the role that runs if the command line names none.
pub fn parse<C: Parser>(default_role: Option<&str>) -> C {
    let arguments = env::args_os().collect();
    file::load()
        .map_err(one_line)
        .and_then(|()| parse_from(arguments, default_role))
        .unwrap_or_else(|error| error.exit())
}

pub fn parse_from<C: Parser>(
    mut arguments: Vec<OsString>,
    default_role: Option<&str>,
) -> Result<C, Error> {
    let mut command = C::command().flatten_help(true).after_help(ABOUT_FILE);
    let variables = all_arguments(&command).filter_map(|argument| argument.get_env()?.to_str());
    for name in variables {
        // clap would not say which variable is not UTF-8.
        if matches!(env::var(name), Err(env::VarError::NotUnicode(_))) {
            return Err(one_line(format!("{name}: not valid UTF-8")));
        }
    }
    let mut matches = command.try_get_matches_from_mut(&arguments);
    if let Err(error) = &matches
        && error.kind() == ErrorKind::MissingSubcommand
        && let Some(role) = default_role
    {
        arguments.push(role.into());
        matches = command.try_get_matches_from_mut(&arguments);
    }
    matches
        .and_then(|matches| C::from_arg_matches(&matches))
        .map_err(|error| explain(&command, &arguments, &error).map_or(error, one_line))
}

fn one_line(message: String) -> Error {
    Error::raw(ErrorKind::ValueValidation, message + "\n")
}

/// Describes a wrong variable in one line: its name, what is wrong, and an example. The value of a secret is not shown.
/// `None` means that clap's own message is better.
fn explain(command: &Command, arguments: &[OsString], error: &Error) -> Option<String> {
    // Of the form `--http-addr <HTTP_ADDR>`.
    let named = error.get(ContextKind::InvalidArg)?.to_string();
    let variable = named.split(['<', '>']).nth(1)?;
    // Several roles may have the same variable, each with another example.
    let role = arguments.iter().find_map(|name| command.find_subcommand(name));
    let argument = all_arguments(role.unwrap_or(command))
        .chain(command.get_arguments())
        .find(|argument| argument.get_env().is_some_and(|name| name == variable))?;
    let help = argument.get_help()?.to_string();
    let (_, example) = help.split_once("Example: ")?;
    let value = error
        .get(ContextKind::InvalidValue)
        .filter(|_| !argument.is_hide_env_values_set())
        .map_or_else(String::new, |value| format!(" {:?}", value.to_string()));
    let wrong = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::MissingRequiredArgument, _) => "not set".to_owned(),
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            format!("not one of {}", valid.join(", "))
        }
        _ => error.source()?.to_string(),
    };
    Some(format!("{variable}{value}: {wrong}; example: {variable}={example}"))
}

/// The arguments of the command and of its roles.
pub fn all_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let roles = command.get_subcommands().flat_map(Command::get_arguments);
    command.get_arguments().chain(roles)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use clap::Subcommand;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(arg_required_else_help = false)]
    struct Program {
        #[command(subcommand)]
        role: Role,
        /// Example: red
        #[arg(long, env = "TEST_COLOUR", global = true, value_parser = ["red", "blue"])]
        test_colour: Option<String>,
    }

    #[derive(Debug, Subcommand)]
    enum Role {
        One {
            /// Example: 127.0.0.1:1
            #[arg(long, env = "TEST_ADDR")]
            test_addr: Option<SocketAddr>,
        },
        Two {
            /// Example: 127.0.0.1:2
            #[arg(long, env = "TEST_ADDR")]
            test_addr: Option<SocketAddr>,
            /// Example: 123
            #[arg(long, env = "TEST_SECRET", hide_env_values = true)]
            test_secret: u32,
        },
    }

    fn parsed(arguments: &[&str], default_role: Option<&str>) -> Result<Program, String> {
        let arguments = ["program"].iter().chain(arguments).map(OsString::from);
        parse_from(arguments.collect(), default_role).map_err(|error| error.to_string())
    }

    fn refused(arguments: &[&str]) -> String {
        parsed(arguments, None).unwrap_err()
    }

    #[test]
    fn mistake_is_one_line_with_the_variable_the_reason_and_the_example_of_the_role() {
        for (arguments, expected) in [
            (
                ["one", "--test-addr=x"],
                r#"TEST_ADDR "x": invalid socket address syntax; example: TEST_ADDR=127.0.0.1:1"#,
            ),
            (
                ["two", "--test-addr=x"],
                r#"TEST_ADDR "x": invalid socket address syntax; example: TEST_ADDR=127.0.0.1:2"#,
            ),
            (
                ["one", "--test-colour=x"],
                r#"TEST_COLOUR "x": not one of red, blue; example: TEST_COLOUR=red"#,
            ),
            (
                ["--test-colour=x", "one"],
                r#"TEST_COLOUR "x": not one of red, blue; example: TEST_COLOUR=red"#,
            ),
            (["two", "--test-addr=127.0.0.1:9"], "TEST_SECRET: not set; example: TEST_SECRET=123"),
            (
                ["two", "--test-secret=x"],
                "TEST_SECRET: invalid digit found in string; example: TEST_SECRET=123",
            ),
        ] {
            assert_eq!(refused(&arguments), format!("error: {expected}\n"));
        }
    }

    #[test]
    fn default_role_is_played_where_none_is_named() {
        let role = |arguments: &[&str]| parsed(arguments, Some("one")).unwrap().role;
        assert!(matches!(role(&[]), Role::One { .. }));
        assert!(matches!(role(&["--test-colour=red"]), Role::One { .. }));
        let two = role(&["two", "--test-secret=1"]);
        assert!(matches!(two, Role::Two { test_secret: 1, .. }));
        assert!(refused(&[]).contains("requires a subcommand"));
    }

    #[test]
    fn help_names_every_variable() {
        let help = refused(&["--help"]);
        for name in ["TEST_ADDR", "TEST_COLOUR", "TEST_SECRET", "CONFIG_FILE"] {
            assert!(help.contains(name), "{help}");
        }
    }
}
