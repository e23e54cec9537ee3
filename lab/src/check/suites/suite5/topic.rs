//! The topic: made where it is missing, and left alone where it is there.

use anyhow::Result;
use anyhow::ensure;

use crate::check::progress;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::runner::Skip;
use crate::check::subject::Subject;
use crate::check::topics::Topics;
use crate::check::truth;
use crate::check::wait::PATIENCE;
use crate::process::Program;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "a missing topic is made, once, with the configured partitions",
        expected: "4 partitions with WIKIPEDIA_TOPIC_PARTITIONS=4, 6 without it, although both roles start at the same time",
        hint: "create it by the admin API before anything is written; it is no error if the other role was first",
        run: |subject| Box::pin(made(subject)),
        ..PROCESS
    },
    Check {
        name: "a topic that is there is left alone",
        expected: "2 partitions as before although WIKIPEDIA_TOPIC_PARTITIONS is 4, and 1,000 events counted over them",
        hint: "more partitions would send the events of a user to another partition: that is for an operator to decide",
        run: |subject| Box::pin(left_alone(subject)),
        ..PROCESS
    },
];

async fn counted(subject: &Subject, topics: &Topics, partitions: Option<&str>) -> Result<usize> {
    let replay = replay::start(replay::Options::of(1_000)).await?;
    let set = |program: Program| {
        let program = topics.set(program);
        match partitions {
            Some(number) => program.env("WIKIPEDIA_TOPIC_PARTITIONS", number),
            None => program,
        }
    };
    let server = subject.serve_stream_with(&replay.stream_url(), set).await?;
    truth::equals_truth(&server.client, &replay, PATIENCE).await?;
    let partitions = progress::partitions(subject, &topics.events, None).await?;
    Ok(partitions.len())
}

async fn made(subject: &Subject) -> Result<()> {
    if subject.broker()?.is_embedded() {
        let reason = "needs a real broker: `cargo lab services up kafka` starts one, or name it with --broker";
        return Err(Skip(reason.to_owned()).into());
    }
    for (number, expected) in [(Some("4"), 4), (None, 6)] {
        let came = counted(subject, &Topics::new(), number).await?;
        ensure!(came == expected, "{came} partitions and not {expected}");
    }
    Ok(())
}

async fn left_alone(subject: &Subject) -> Result<()> {
    let topics = Topics::new();
    let broker = subject.broker()?;
    broker.create(&topics.events, 2, &[]).await?;
    if broker.is_embedded() {
        // The program can't make it there.
        broker.create(&topics.cursor, 1, &[]).await?;
    }
    let came = counted(subject, &topics, Some("4")).await?;
    ensure!(came == 2, "{came} partitions and not 2");
    Ok(())
}
