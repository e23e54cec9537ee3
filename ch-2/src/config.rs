//! Configuration: one struct a role. A value comes from the command line, else from the environment, else from the
//! file that CONFIG_FILE names (`.env` without it), else from its default. main.rs parses it before all else.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process;

use clap::Arg;
use clap::Args;
use clap::Command;
use clap::Parser;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::resume::Resume;

/// The role that is played when none is named.
const DEFAULT_ROLE: &str = "serve";

#[derive(Args)]
pub struct Serve {
    /// Address that HTTP is served on. Example: 127.0.0.1:7000
    #[arg(long, env, default_value = "0.0.0.0:7000")]
    pub http_addr: SocketAddr,
}

#[derive(Args)]
pub struct Watch {
    #[command(flatten)]
    pub stream: Stream,

    /// End after this many events. Example: 10
    #[arg(long)]
    pub limit: Option<usize>,

    /// Go on where an earlier run stopped: what it printed at its end, or a bare `id:` of the stream.
    #[arg(long)]
    pub resume: Option<Resume>,
}

#[derive(Args)]
pub struct Healthcheck {
    /// Address whose `/status` is asked; an unspecified one is asked on loopback. Example: 127.0.0.1:7000
    #[arg(long, env, default_value = "0.0.0.0:7000")]
    pub http_addr: SocketAddr,
}

#[derive(Args)]
pub struct Stream {
    /// RecentChange stream to read. Example: https://stream.wikimedia.org/v2/stream/recentchange
    #[arg(
        long,
        env,
        default_value = "https://stream.wikimedia.org/v2/stream/recentchange",
        value_parser = http_url
    )]
    pub wikipedia_stream_url: Url,

    /// Who asks: name, version and a contact; Wikimedia refuses others. Example: my-course/1.0 (me@example.org)
    #[arg(
        long,
        env,
        default_value = concat!("recentchange-course/", env!("CARGO_PKG_VERSION"), " (", env!("CARGO_PKG_REPOSITORY"), ")"),
        value_parser = header_value
    )]
    pub user_agent: HeaderValue,
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("not a URL that begins with http:// or https://".to_owned()),
    }
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    if text.trim().is_empty() {
        return Err("empty".to_owned());
    }
    HeaderValue::from_str(text).map_err(|_| "holds characters that a header can't".to_owned())
}

/// Reads the configuration, or ends the process with one line that says what to mend.
pub fn parse<C: Parser>() -> C {
    if let Err(message) = load_file() {
        fail(&message);
    }
    let command = C::command();
    if let Some(name) = not_unicode(&command) {
        fail(&format!("{name}: not valid UTF-8"));
    }
    let variables = variables(&command);
    let mut command = command.after_help(variables);
    let arguments: Vec<OsString> = env::args_os().collect();
    match try_parse(&mut command, arguments) {
        Ok(cli) => cli,
        Err(error) => match explain(&command, &error) {
            Some(message) => fail(&message),
            None => error.exit(),
        },
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    process::exit(2)
}

fn try_parse<C: Parser>(
    command: &mut Command,
    mut arguments: Vec<OsString>,
) -> Result<C, clap::Error> {
    let mut matches = command.try_get_matches_from_mut(&arguments);
    if matches
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::MissingSubcommand)
    {
        arguments.push(DEFAULT_ROLE.into());
        matches = command.try_get_matches_from_mut(&arguments);
    }
    C::from_arg_matches(&matches?)
}

/// Puts the file's variables into the environment, where they don't stand yet.
fn load_file() -> Result<(), String> {
    let named = env::var_os("CONFIG_FILE").filter(|name| !name.is_empty());
    let path = Path::new(named.as_deref().unwrap_or(".env".as_ref()));
    match check_file(path).and_then(|()| dotenvy::from_path(path)) {
        Ok(()) => Ok(()),
        Err(error) if error.not_found() && named.is_none() => Ok(()),
        Err(error) if error.not_found() => Err(format!(
            "CONFIG_FILE: there is no file {path:?}; example: CONFIG_FILE=.env"
        )),
        // The line is not shown, it may hold a secret.
        Err(dotenvy::Error::LineParse(line, _)) => Err(format!(
            "{}: line {} is not NAME=value; example: HTTP_ADDR=127.0.0.1:7000, or with spaces or $: NAME='a $ b'",
            path.display(),
            line_number(path, &line)
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The environment takes no NUL, and would panic.
fn check_file(path: &Path) -> dotenvy::Result<()> {
    for variable in dotenvy::from_path_iter(path)? {
        let (name, value) = variable?;
        if name.contains('\0') || value.contains('\0') {
            let reason = format!("the value of {name:?} holds a NUL");
            return Err(dotenvy::Error::Io(io::Error::other(reason)));
        }
    }
    Ok(())
}

fn line_number(path: &Path, line: &str) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.find(line)
        .map_or(1, |at| text[..at].lines().count() + 1)
}

/// Every variable with its meaning, for `--help`.
fn variables(command: &Command) -> String {
    let mut text =
        "Variables, from the environment or from .env (CONFIG_FILE names another file):\n"
            .to_owned();
    let mut known: Vec<String> = Vec::new();
    for argument in all_arguments(command) {
        let Some(name) = argument
            .get_env()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            continue;
        };
        let meaning = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        if !known.contains(&name) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {name:<22} {meaning}{}", default(argument));
            known.push(name);
        }
    }
    text
}

/// clap would not say which.
fn not_unicode(command: &Command) -> Option<&str> {
    let names = all_arguments(command)
        .into_iter()
        .filter_map(|argument| argument.get_env()?.to_str());
    names
        .into_iter()
        .find(|name| env::var_os(name).is_some_and(|value| value.to_str().is_none()))
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values();
    values
        .iter()
        .map(|value| format!(" [default: {}]", value.to_string_lossy()))
        .collect()
}

fn all_arguments(command: &Command) -> Vec<&Arg> {
    let mut arguments: Vec<&Arg> = command.get_arguments().collect();
    arguments.extend(command.get_subcommands().flat_map(all_arguments));
    arguments
}

/// One line about a variable: its name, what was wrong, an example; `None` where clap's own text serves better.
/// A secret's value is not shown.
fn explain(command: &Command, error: &clap::Error) -> Option<String> {
    let named = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(named) => named.clone(),
        ContextValue::Strings(named) => named.first()?.clone(),
        _ => return None,
    };
    let variable = named.split(['<', '>']).nth(1)?;
    let argument = all_arguments(command)
        .into_iter()
        .find(|argument| argument.get_env().is_some_and(|name| name == variable))?;
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let example = help.split("Example: ").nth(1).unwrap_or_default();
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !argument.is_hide_env_values_set() => {
            format!(" {value:?}")
        }
        _ => String::new(),
    };
    let wrong = match (error.kind(), error.source()) {
        (ErrorKind::MissingRequiredArgument, _) => "not set".to_owned(),
        (ErrorKind::ValueValidation, Some(reason)) => reason.to_string(),
        (ErrorKind::InvalidValue, _) => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("not one of {}", valid.join(", ")),
            _ => "not a value".to_owned(),
        },
        _ => return None,
    };
    Some(format!(
        "{variable}{value}: {wrong}; example: {variable}={example}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    fn message(role: &str, argument: &str) -> String {
        let mut command = Cli::command();
        let arguments = ["program", role, argument].map(OsString::from).to_vec();
        let error = try_parse::<Cli>(&mut command, arguments).err().unwrap();
        explain(&command, &error).unwrap()
    }

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_value_is_one_line_with_the_variable_the_reason_and_an_example() {
        assert_eq!(
            message("serve", "--http-addr=localhost"),
            r#"HTTP_ADDR "localhost": invalid socket address syntax; example: HTTP_ADDR=127.0.0.1:7000"#
        );
        let message = message("watch", "--wikipedia-stream-url=ftp://example.org");
        assert!(message.starts_with(r#"WIKIPEDIA_STREAM_URL "ftp://example.org": not a URL that"#));
        assert!(!message.contains('\n'));
    }

    #[test]
    fn user_agent_is_a_header_and_not_empty() {
        assert!(message("watch", "--user-agent= ").starts_with(r#"USER_AGENT " ": empty; ex"#));
        let message = message("watch", "--user-agent=a\nb");
        assert!(message.starts_with(r#"USER_AGENT "a\nb": holds characters"#));
    }

    #[test]
    fn every_variable_has_an_example() {
        for argument in all_arguments(&Cli::command()) {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                argument.get_env().is_none() || help.contains("Example: "),
                "{argument}"
            );
        }
    }
}
