//! What reading the stream costs at least: with the chapters' HTTP client and nothing else, or with the plainest
//! parsing behind it. `cargo lab bench stream` starts it, and compares the chapters' own client with it.
#![expect(clippy::print_stdout, reason = "one line of JSON on stdout is the answer")]

use std::io::Read;
use std::pin::pin;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use serde::Deserialize;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, url, limit] = arguments.as_slice() else {
        bail!("usage: lab-probe read|parse URL EVENTS");
    };
    let limit = limit.parse().context("EVENTS must be a number")?;
    let response = reqwest::Client::builder()
        .user_agent("lab-probe")
        .build()?
        .get(url)
        .send()
        .await?
        .error_for_status()?;
    let start = Instant::now();
    let events = match mode.as_str() {
        "read" => read(response, limit).await?,
        "parse" => parse(response, limit).await?,
        other => bail!("there is no mode {other}, only read and parse"),
    };
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"events\":{events},\"seconds\":{seconds}}}");
    // Until stdin is closed, so that whoever measures can still look at this process.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Counts the ends of events, which are two line ends in a row, and looks at nothing else.
async fn read(response: reqwest::Response, limit: u64) -> Result<u64> {
    let mut chunks = response.bytes_stream();
    let (mut events, mut last) = (0, b' ');
    while events < limit {
        let chunk = chunks.next().await.context("the stream has ended")??;
        let before = std::iter::once(&last).chain(&chunk[..]);
        let ends = before.zip(&chunk[..]).filter(|pair| *pair == (&b'\n', &b'\n'));
        events += ends.count() as u64;
        last = chunk.last().copied().unwrap_or(last);
    }
    Ok(events)
}

/// What is kept of an event, as plain as serde makes it: one field of another type, and the event is lost.
#[derive(Deserialize)]
struct Change {
    user: Option<String>,
    bot: Option<bool>,
    server_name: Option<String>,
    title: Option<String>,
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    id: Option<String>,
    dt: Option<String>,
}

async fn parse(response: reqwest::Response, limit: u64) -> Result<u64> {
    let mut frames = pin!(response.bytes_stream().eventsource());
    let mut events = 0;
    while events < limit {
        let frame = frames.next().await.context("the stream has ended")??;
        let change: Change = serde_json::from_str(&frame.data)?;
        std::hint::black_box((
            change.user,
            change.bot,
            change.server_name,
            change.title,
            change.meta.id,
            change.meta.dt,
            frame.id,
        ));
        events += 1;
    }
    Ok(events)
}
