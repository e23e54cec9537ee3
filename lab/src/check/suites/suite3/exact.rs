//! The statistics are exact, in every snapshot and at the end.

use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::session;
use crate::check::subject::Subject;
use crate::check::truth;
use crate::check::wait::LONG;
use crate::replay;

pub const CHECKS: &[Check] = &[
    Check {
        name: "20,000 events of a good stream are counted exactly",
        expected: "every field of /stats equal to what the stream has sent",
        hint: "every JSON object counts unless it is a canary; without a domain it counts for `unknown`; an empty user is no user",
        smoke: true,
        run: |subject| Box::pin(good_stream(subject)),
        ..PROCESS
    },
    Check {
        name: "20,000 events of a hostile stream are counted exactly",
        expected: "every field of /stats equal to what the stream has sent, over refusals, cuts, doubles, canaries, odd and bad events",
        hint: "the checks of `watch` in suite 2 show each of these faults alone",
        run: |subject| Box::pin(hostile_stream(subject)),
        ..PROCESS
    },
    Check {
        name: "every snapshot adds up while events arrive",
        expected: "messages = bots + non_bots = the sum of by_domain, in each of 300 answers to 8 clients at once",
        hint: "read all fields under one lock, or from one version, and not field by field",
        run: |subject| Box::pin(snapshots(subject)),
        ..PROCESS
    },
];

async fn counted(subject: &Subject, options: replay::Options) -> Result<()> {
    let replay = replay::start(options).await?;
    let server = subject.serve_stream(&replay.stream_url()).await?;
    truth::equals_truth(&server.client, &replay, LONG).await
}

async fn good_stream(subject: &Subject) -> Result<()> {
    counted(subject, replay::Options::of(20_000)).await
}

async fn hostile_stream(subject: &Subject) -> Result<()> {
    let mut options = replay::Options::of(20_000);
    options.seed = 7;
    options.canaries = 20;
    let faults = &mut options.faults;
    faults.refuse_first = 2;
    faults.cut_every = Some(997);
    faults.back = 20;
    faults.error_every = Some(4_500);
    faults.bom = true;
    faults.crlf = true;
    faults.invalid_utf8_every = Some(50);
    faults.long_every = Some(4_000);
    faults.garbage_every = Some(40);
    faults.odd_every = Some(30);
    counted(subject, options).await
}

async fn snapshots(subject: &Subject) -> Result<()> {
    let options = replay::Options { rate: 20_000, ..replay::Options::on_a_free_port() };
    let replay = replay::start(options).await?;
    let server = subject.serve_stream(&replay.stream_url()).await?;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = server.client.clone();
        readers.spawn(async move {
            let (start, mut seen, mut last, mut grown) = (Instant::now(), 0, 0, 0);
            // Until there were enough, of which a good part was taken between two writes.
            while seen < 300 / 8 || grown < 10 {
                let messages = session::messages(&client).await?;
                ensure!(messages >= last, "{messages} messages after {last}");
                grown += u64::from(messages > last);
                (seen, last) = (seen + 1, messages);
                ensure!(start.elapsed() < LONG, "{messages} messages, and they no longer grow");
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = readers.join_next().await {
        result??;
    }
    Ok(())
}
