//! The replay as its readers see it: over TCP, with a client that knows nothing of the generator.

mod client;
mod consumer;

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::cursor::Start;
use super::recording::facts;
use super::wire::Cut;
use super::*;
use client::AGENT;
use client::End;
use client::Message;
use client::STREAM;
use client::events;
use client::get;
use client::get_json;
use client::read;
use client::start_with;
use consumer::Consumer;

#[tokio::test]
async fn reader_that_is_cut_off_again_and_again_misses_nothing() {
    for eol in ["\n", "\r\n", "\r"] {
        let replay = start_with(|options| {
            options.events = Some(3000);
            options.close_at_end = true;
            options.canaries = 0;
            options.faults.cut_every = Some(100);
            options.faults.error_every = Some(250);
            options.faults.back = 7;
            options.faults.bom = eol == "\n";
            options.faults.crlf = eol == "\r\n";
            options.faults.cr = eol == "\r";
        })
        .await;
        let mark = if eol == "\n" { "\u{FEFF}" } else { "" };
        let consumer = Consumer::read_to_the_end(&replay, eol, mark).await;
        assert_eq!(consumer.offsets, (0..3000).collect());
        assert_eq!((consumer.cuts, consumer.cuts_in_mid_event, consumer.errors), (29, 14, 11));
        assert!(consumer.doubles >= 40 * 8, "{}", consumer.doubles);
        assert_eq!(consumer.messages, 3000);
        let progress = replay.progress();
        assert_eq!(
            (progress.sent, progress.finished, progress.connections_opened),
            (3000, true, 41)
        );
        consumer.assert_is(&replay.truth());
        replay.stop().await;
    }
}

#[tokio::test]
async fn consumer_that_keeps_the_rules_counts_the_truth_whatever_is_wrong_with_events() {
    let replay = start_with(|options| {
        options.events = Some(4000);
        options.close_at_end = true;
        options.seed = 5;
        options.faults.cut_every = Some(90);
        options.faults.back = 30;
        options.faults.invalid_utf8_every = Some(20);
        options.faults.garbage_every = Some(20);
        options.faults.odd_every = Some(20);
        options.faults.long_every = Some(1000);
    })
    .await;
    let consumer = Consumer::read_to_the_end(&replay, "\n", "").await;
    assert_eq!((consumer.long.len(), consumer.bad_utf8.len(), consumer.cuts), (4, 200, 44));
    assert_eq!(consumer.not_objects, 200 - 200 / 11);
    consumer.assert_is(&replay.truth());
}

#[tokio::test]
async fn truth_and_progress_are_about_what_was_handed_out() {
    let replay = start_with(|options| options.events = Some(1000)).await;
    assert_eq!(get_json(&replay, "/truth").await["messages"], 0);
    let mut response = get(&replay, "/v2/stream/mediawiki.recentchange", &[AGENT]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let (bytes, end) = read(response.body_mut(), |bytes| events(bytes, "\n").0.len() == 1000).await;
    assert_eq!(end, End::Silent);
    let truth = get_json(&replay, "/truth?top=2").await;
    let canaries =
        events(&bytes, "\n").0.iter().filter(|message| message.data.ends_with(b"}}")).count();
    assert!(canaries > 0);
    assert_eq!(truth["messages"], 1000 - canaries);
    assert_eq!(truth["by_user"].as_object().unwrap().len(), 2);
    assert_eq!(
        get_json(&replay, "/progress").await,
        serde_json::json!({"sent": 1000, "finished": true, "connections_open": 1, "connections_opened": 1, "refused": {}})
    );
    for top in ["0", "1001", "-1", "many", ""] {
        assert_eq!(get(&replay, &format!("/truth?top={top}"), &[]).await.status(), 400, "{top}");
    }
}

#[tokio::test]
async fn connection_begins_at_the_live_position_or_where_it_is_told() {
    let replay = start_with(|options| {
        options.events = Some(2000);
        options.close_at_end = true;
    })
    .await;
    let read_all = async |path: &str, headers: &[(&str, &str)]| {
        let mut response = get(&replay, path, &[&[AGENT], headers].concat()).await;
        events(&read(response.body_mut(), |_| false).await.0, "\n").0
    };
    let all = read_all(STREAM, &[]).await;
    assert_eq!(all.len(), 2000);
    assert!(read_all(STREAM, &[]).await.is_empty(), "the live position is the end");

    for (position, as_it_came) in [(0, false), (1, false), (700, false), (1999, false), (700, true)]
    {
        let last = &all[position];
        let (id, time) = if as_it_came {
            (last.id.clone(), last.milliseconds())
        } else {
            (last.resume(), last.milliseconds() - 1)
        };
        // By Kafka's rule, from what was read: the first one in the stream that is not before.
        let is_next = |message: &Message| message.milliseconds() > time;
        let expected = all.iter().position(is_next).unwrap();
        assert!(as_it_came || expected <= position);
        for again in [
            read_all(STREAM, &[("last-event-id", &id)]).await,
            read_all(STREAM, &[("last-event-id", &id), ("x", "")]).await,
            read_all(&format!("{STREAM}?since={time}"), &[]).await,
            read_all(&format!("{STREAM}?since=2031-01-01"), &[("last-event-id", &id)]).await,
        ] {
            assert_eq!(again.len(), 2000 - expected);
            assert!(
                again.iter().zip(&all[expected..]).all(|(a, b)| a.id == b.id && a.data == b.data)
            );
        }
    }
    assert_eq!(read_all(&format!("{STREAM}?since=2026-08-16T23:00:00Z"), &[]).await.len(), 2000);
    assert!(read_all(&format!("{STREAM}?since=2031-01-01"), &[]).await.is_empty());
    let counted = all.iter().filter(|message| facts(&message.data).counted.is_some()).count();
    assert_eq!(replay.truth().messages, counted as u64, "repeated events count once");
}

#[tokio::test]
async fn strangers_nonsense_and_the_third_connection_are_refused() {
    let replay = start_with(|_| {}).await;
    assert_eq!(get(&replay, STREAM, &[]).await.status(), 403);
    assert_eq!(get(&replay, STREAM, &[("user-agent", " ")]).await.status(), 403);
    assert_eq!(get(&replay, STREAM, &[AGENT, ("last-event-id", "17")]).await.status(), 400);
    assert_eq!(get(&replay, &format!("{STREAM}?since=then"), &[AGENT]).await.status(), 400);

    let first = get(&replay, STREAM, &[AGENT]).await;
    let second = get(&replay, STREAM, &[("user-agent", "curl/8.0")]).await;
    let third = get(&replay, STREAM, &[AGENT]).await;
    assert_eq!(
        (first.status(), second.status(), third.status()),
        (200.try_into().unwrap(), 200.try_into().unwrap(), 429.try_into().unwrap())
    );
    assert_eq!(third.headers()["retry-after"], "1");
    assert_eq!(replay.progress().refused, BTreeMap::from([(400, 2), (403, 2), (429, 1)]));

    drop(first);
    let deadline = Instant::now() + Duration::from_secs(20);
    while get(&replay, STREAM, &[AGENT]).await.status() != 200 {
        assert!(Instant::now() < deadline, "the place was not given back");
    }
}

#[tokio::test]
async fn first_connections_are_refused_on_demand() {
    let replay = start_with(|options| {
        options.faults.refuse_first = 2;
        options.faults.refuse_status = 502;
        options.faults.retry_after = 7;
    })
    .await;
    for _ in 0..2 {
        let refused = get(&replay, STREAM, &[AGENT]).await;
        assert_eq!(
            (refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()),
            (502, &b"7"[..])
        );
    }
    assert_eq!(get(&replay, STREAM, &[AGENT]).await.status(), 200);
}

#[tokio::test]
async fn stalled_connection_stays_open_and_the_next_one_goes_on() {
    let replay = start_with(|options| {
        options.events = Some(300);
        options.close_at_end = true;
        options.faults.stall_after = Some(100);
    })
    .await;
    let mut stalled = get(&replay, STREAM, &[AGENT]).await;
    let (bytes, end) = read(stalled.body_mut(), |bytes| events(bytes, "\n").0.len() == 100).await;
    assert_eq!(end, End::Silent);
    let last = events(&bytes, "\n").0.pop().unwrap();
    let mut next = get(&replay, STREAM, &[AGENT, ("last-event-id", &last.resume())]).await;
    let (bytes, end) = read(next.body_mut(), |_| false).await;
    assert_eq!(end, End::Closed);
    assert!(events(&bytes, "\n").0.len() > 200);
    assert_eq!(replay.progress().connections_open, 1);
}

#[tokio::test]
async fn events_come_no_faster_than_asked_for_except_those_that_were_missed() {
    let replay = start_with(|options| {
        options.rate = 200;
        options.events = Some(40);
        options.close_at_end = true;
    })
    .await;
    let begin = Instant::now();
    let mut response = get(&replay, STREAM, &[AGENT]).await;
    let (bytes, _) = read(response.body_mut(), |_| false).await;
    assert_eq!(events(&bytes, "\n").0.len(), 40);
    assert!(begin.elapsed() >= Duration::from_millis(199), "{:?}", begin.elapsed());

    // Asked for in process, because a client gets chunks as the network cuts them.
    let shared = &replay.shared;
    let permit = shared.admit([127, 0, 0, 1].into()).unwrap();
    let missed = Connection::new(Arc::clone(shared), &Start::At(0), Cut::default(), permit).body();
    let chunks: Vec<Bytes> = missed.map(Result::unwrap).collect().await;
    assert_eq!(chunks.len(), 2, "the beginning, and all at once");
    assert_eq!(events(&chunks[1], "\n").0.len(), 40);
}

#[tokio::test]
async fn captured_stream_is_replayed_with_its_ids_and_counted_once() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/recentchange-real.sse");
    let text = std::fs::read_to_string(fixture).unwrap();
    let twice = std::env::temp_dir().join(format!("replay-{}.sse", std::process::id()));
    let odd = "event: message\nid: []\ndata: [1,\ndata: 2]\n\n: comment\n\nid: x\ndata: cut off";
    std::fs::write(&twice, format!("{text}\n{}{odd}", text.replace(":ok\n\n", ""))).unwrap();
    let replay = start_with(|options| {
        options.file = Some(twice.clone());
        options.close_at_end = true;
    })
    .await;
    std::fs::remove_file(&twice).unwrap();
    let mut response = get(&replay, STREAM, &[AGENT]).await;
    let (bytes, end) = read(response.body_mut(), |_| false).await;
    assert_eq!(end, End::Closed);
    let expected = format!(
        "{}\n\n{}\n\n{}",
        text.trim_end(),
        text.replace(":ok\n\n", "").trim_end(),
        "event: message\nid: []\ndata: [1,\ndata: 2]\n\n"
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    let truth = replay.truth();
    assert_eq!((truth.messages, truth.bots, truth.distinct_users), (5, 0, 5));
    assert_eq!(truth.by_domain["en.wikipedia.org"], 3);
    assert_eq!(truth.by_user[0].0, "2A01:E0A:1C8:9A00:F0C3:F1E2:400B:11B2");
}

#[tokio::test]
async fn start_says_what_to_change() {
    let replay = start_with(|_| {}).await;
    let taken =
        start(Options { address: replay.address(), ..Options::default() }).await.err().unwrap();
    assert!(format!("{taken:#}").contains("--address"), "{taken:#}");
    let missing = start(Options { file: Some("no-such-file.sse".into()), ..Options::default() })
        .await
        .err()
        .unwrap();
    assert!(format!("{missing:#}").contains("no-such-file.sse, given with --file"), "{missing:#}");
}

#[tokio::test]
async fn stop_ends_streams_that_nobody_reads() {
    let replay = start_with(|_| {}).await;
    let mut read_a_bit = get(&replay, STREAM, &[AGENT]).await;
    _ = read_a_bit.body_mut().frame().await;
    let address = replay.address();
    timeout(Duration::from_secs(20), replay.stop()).await.expect("stop hangs");
    assert!(TcpStream::connect(address).await.is_err());
}
