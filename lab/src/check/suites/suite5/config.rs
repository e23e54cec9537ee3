//! The variables of the two roles: `--help` documents them, a bad value is refused by name, and no role asks for one
//! that it does not need.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::subject::CONSUMER;
use crate::check::subject::PRODUCER;
use crate::check::subject::Subject;
use crate::ports::free_port;
use crate::process::Program;

pub const CHECKS: &[Check] = &[
    Check {
        name: "--help documents the variables of the topic",
        expected: "exit status 0, and each variable on stdout of --help, producer --help or consumer --help",
        hint: "REDPANDA_BROKER, WIKIPEDIA_TOPIC and the others are configuration like the rest",
        run: |subject| Box::pin(help(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad REDPANDA_BROKER or REDPANDA_PROPERTIES is refused by name",
        expected: "a non-zero exit status of both roles and one line on stderr that names the variable",
        hint: "host:port, several with commas between; name=value, several with commas between",
        run: |subject| Box::pin(bad_broker(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad WIKIPEDIA_TOPIC is refused by name",
        expected: "a non-zero exit status of both roles and one line on stderr that names WIKIPEDIA_TOPIC",
        hint: "Kafka accepts 1 to 249 letters, digits, dots, underscores and hyphens",
        run: |subject| Box::pin(bad_topic(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad number of partitions or copies is refused by name",
        expected: "a non-zero exit status and one line on stderr with WIKIPEDIA_TOPIC_PARTITIONS or …_REPLICATION",
        hint: "accept numbers from 1 on",
        run: |subject| Box::pin(bad_numbers(subject)),
        ..PROCESS
    },
    Check {
        name: "a bad CURSOR_TOPIC or CONSUMER_GROUP is refused by name",
        expected: "a non-zero exit status of the role that has it and one line on stderr that names the variable",
        hint: "the producer reads CURSOR_TOPIC, and the consumer CONSUMER_GROUP",
        run: |subject| Box::pin(bad_names(subject)),
        ..PROCESS
    },
    Check {
        name: "the producer needs no secret",
        expected: "/status answers without JWT_SECRET, ADMIN_USERNAME, ADMIN_PASSWORD_HASH and STORAGE",
        hint: "give each role a configuration of its own: a role that signs no tokens must not have the key",
        run: |subject| Box::pin(no_secret(subject)),
        ..PROCESS
    },
    Check {
        name: "a broker that is away is waited for or named",
        expected: "for both roles: the address on stderr, and then an end within 10 s after SIGTERM, or an end by itself with a non-zero exit status",
        hint: "try again with a back-off for a limited time, and log why; a signal must end the waiting",
        run: |subject| Box::pin(broker_away(subject)),
        ..PROCESS
    },
];

const VARIABLES: [&str; 7] = [
    "REDPANDA_BROKER",
    "REDPANDA_PROPERTIES",
    "WIKIPEDIA_TOPIC",
    "WIKIPEDIA_TOPIC_PARTITIONS",
    "WIKIPEDIA_TOPIC_REPLICATION",
    "CURSOR_TOPIC",
    "CONSUMER_GROUP",
];

const BOTH: [&str; 2] = [PRODUCER, CONSUMER];

async fn help(subject: &Subject) -> Result<()> {
    let text = subject.help(&BOTH).await?;
    for name in VARIABLES {
        // WIKIPEDIA_TOPIC is the beginning of two others.
        let alone =
            text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| word == name);
        ensure!(alone, "--help says nothing about {name}");
    }
    Ok(())
}

async fn bad(subject: &Subject, roles: &[&str], name: &str, values: &[&str]) -> Result<()> {
    for role in roles {
        subject.refuses_each(role, name, values).await.with_context(|| format!("the {role}"))?;
    }
    Ok(())
}

async fn bad_broker(subject: &Subject) -> Result<()> {
    let values = ["localhost", "127.0.0.1:99999", "127.0.0.1:9092,other"];
    bad(subject, &BOTH, "REDPANDA_BROKER", &values).await?;
    // What a promise depends on, and another name of it.
    let values = ["no-value", "client.rack=a,=b", "acks=0", "request.required.acks=0"];
    bad(subject, &BOTH, "REDPANDA_PROPERTIES", &values).await
}

async fn bad_topic(subject: &Subject) -> Result<()> {
    let long = "x".repeat(250);
    let values = ["", "a topic", "wikipédia", "..", &long];
    bad(subject, &BOTH, "WIKIPEDIA_TOPIC", &values).await
}

async fn bad_numbers(subject: &Subject) -> Result<()> {
    for name in ["WIKIPEDIA_TOPIC_PARTITIONS", "WIKIPEDIA_TOPIC_REPLICATION"] {
        bad(subject, &BOTH, name, &["0", "-1", "many"]).await?;
    }
    Ok(())
}

async fn bad_names(subject: &Subject) -> Result<()> {
    bad(subject, &[PRODUCER], "CURSOR_TOPIC", &["a topic", "."]).await?;
    let same = subject.refuses(PRODUCER, &["CURSOR_TOPIC"], |program| {
        program.env("CURSOR_TOPIC", "the-same").env("WIKIPEDIA_TOPIC", "the-same")
    });
    same.await.context("the topic of the events")?;
    bad(subject, &[CONSUMER], "CONSUMER_GROUP", &[""]).await
}

async fn no_secret(subject: &Subject) -> Result<()> {
    let server = subject.start_role(PRODUCER, Program::without_secrets).await?;
    server.lives().await
}

async fn broker_away(subject: &Subject) -> Result<()> {
    for role in BOTH {
        let address = format!("127.0.0.1:{}", free_port()?);
        subject
            .names_what_is_away(role, &address, |program| program.env("REDPANDA_BROKER", &address))
            .await
            .with_context(|| format!("the {role}"))?;
    }
    Ok(())
}
