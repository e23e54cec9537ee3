//! Each bad value is refused in one line that names its variable.

use clap::CommandFactory;

use super::*;
use crate::Cli;
use crate::Role;
use crate::auth::EXAMPLE_HASH;
use crate::auth::EXAMPLE_SECRET;

const SERVER: &str = "consumer";

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
        (SERVER, "STORAGE", &["", "disk"]),
        (
            SERVER,
            "CASSANDRA_NODES",
            &["", "localhost", ":9042", "localhost:99999", "http://a:9042"],
        ),
        (SERVER, "CASSANDRA_KEYSPACE", &["", "2a", "_a", "A", "a-b", "a; DROP KEYSPACE b"]),
        (SERVER, "CASSANDRA_REPLICATION", &["0", "many"]),
        (SERVER, "ADMIN_USERNAME", &[""]),
        (SERVER, "CONSUMER_GROUP", &[""]),
        ("producer", "CURSOR_TOPIC", &["", "."]),
        ("producer", "REDPANDA_BROKER", &["", "localhost"]),
        ("producer", "WIKIPEDIA_TOPIC", &["", "..", "a b", "é"]),
        ("producer", "WIKIPEDIA_TOPIC_PARTITIONS", &["0", "-1"]),
        ("producer", "WIKIPEDIA_TOPIC_REPLICATION", &["0", "-1"]),
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

#[test]
fn name_of_the_longest_length_is_taken_and_a_longer_one_refused() {
    values::keyspace(&"a".repeat(48)).unwrap();
    values::keyspace(&"a".repeat(49)).unwrap_err();
    values::topic(&"a".repeat(249)).unwrap();
    values::topic(&"a".repeat(250)).unwrap_err();
}

#[test]
fn bad_secret_is_refused_by_name_and_not_shown() {
    for (role, variable, values) in [
        (SERVER, "JWT_SECRET", &["", "hunter2", "hunter2hunter2hunter2hunter2hun"][..]),
        (
            SERVER,
            "ADMIN_PASSWORD_HASH",
            &[
                "",
                "hunter2",
                "$argon2id$v=19$hunter2",
                "$argon2id$v=19$m=19456,t=2,p=1$hunter2hunter2hunter",
                "$argon2id$v=16$m=19456,t=2,p=1$c2FsdHNhbHQ$hunter2hunter2hunter",
                "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$hunter2hunter2hunter",
                "$argon2id$v=19$m=4000000,t=2,p=1$c2FsdHNhbHQ$hunter2hunter2hunter",
                "$argon2id$v=19$m=19456,t=4000000,p=1$c2FsdHNhbHQ$hunter2hunter2hunter",
            ],
        ),
        ("producer", "REDPANDA_PROPERTIES", &["hunter2", "a=1,hunter2", "=hunter2"]),
    ] {
        for value in values {
            let message = refusal(role, variable, value);
            assert!(message.starts_with(&format!("error: {variable}: ")), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

/// A role with those variables of the example file that it knows.
fn of_example_file(role: &str) -> Role {
    let command = Cli::command();
    let known = read::all_arguments(command.find_subcommand(role).unwrap())
        .chain(command.get_arguments())
        .filter_map(|argument| argument.get_env());
    let known: Vec<_> = known.collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let variables = dotenvy::from_path_iter(path).unwrap().map(Result::unwrap);
    let options = variables
        .filter(|(name, _)| known.contains(&name.as_ref()))
        .map(|(name, value)| option(&name, &value));
    let arguments = ["program", role].map(str::to_owned).into_iter().chain(options);
    let cli = read::parse_from::<Cli>(arguments.map(Into::into).collect(), None);
    cli.unwrap().role
}

#[test]
fn example_file_is_a_configuration() {
    let Role::Consumer(consumer) = of_example_file(SERVER) else { panic!("another role") };
    assert_eq!(consumer.auth.jwt_secret, EXAMPLE_SECRET);
    assert_eq!(consumer.auth.admin_password_hash, EXAMPLE_HASH);
    let Role::Producer(producer) = of_example_file("producer") else { panic!("another role") };
    assert_eq!(producer.broker.redpanda_broker, ["redpanda:9092"]);
}

#[test]
fn properties_are_names_and_values_in_their_order() {
    for (text, expected) in [
        ("", &[][..]),
        (" b = x=y ,a=1,", &[("b", "x=y"), ("a", "1")]),
        // A comma in a value is written with a backslash.
        (r"a=\,b\c\,,d=\\,", &[("a", r",b\c,"), ("d", r"\,")]),
    ] {
        let owned = expected.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(values::properties(text).unwrap().0, Vec::from_iter(owned));
    }
}

#[test]
fn property_that_the_program_depends_on_is_refused_by_each_of_its_names() {
    for name in ["acks", "request.required.acks", "metadata.broker.list", "topic.auto.offset.reset"]
    {
        let message = refusal("producer", "REDPANDA_PROPERTIES", &format!("a=b, {name} =hunter2"));
        let begin = format!("error: REDPANDA_PROPERTIES: {name} can't be set here");
        assert!(message.starts_with(&begin) && !message.contains("hunter2"), "{message}");
    }
}
