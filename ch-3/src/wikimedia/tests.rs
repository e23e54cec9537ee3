//! Tests the client against a server in the same process, which causes the faults that the real server has.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::Response as Answer;
use axum::routing::get;
use futures_util::stream::once;
use futures_util::stream::pending;
use reqwest::header::HeaderValue;
use tokio::net::TcpListener;

use super::*;
use crate::counter::Counter;

const CAPTURED: &str = include_str!("../../../fixtures/recentchange-real.sse");

/// The answers of the server, in their order. It keeps the `Last-Event-ID` of each request.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

async fn answer(State(script): State<Script>, headers: HeaderMap) -> Answer {
    let id = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
    script.asked.lock().unwrap().push(id);
    let mut answers = script.answers.lock().unwrap();
    if answers.is_empty() { StatusCode::GONE.into_response() } else { answers.remove(0) }
}

fn sse(body: impl Into<Body>) -> Answer {
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], body.into()).into_response()
}

fn frame(milliseconds: u64, id: &str) -> String {
    format!(
        "event: message\nid: [{{\"timestamp\":{milliseconds}}}]\ndata: {{\"meta\":{{\"id\":\"{id}\"}}}}\n\n"
    )
}

/// The ids of `count` events that a client reads from these `answers`, its counters, and the `Last-Event-ID`s it sent.
async fn read(answers: Vec<Answer>, count: usize) -> (Vec<String>, Counters, Vec<Option<String>>) {
    let script = Script::default();
    *script.answers.lock().unwrap() = answers;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let routes = Router::new().route("/", get(answer)).with_state(script.clone());
    let server = tokio::spawn(async { axum::serve(listener, routes).await });
    let config = config::Stream {
        wikipedia_stream_url: url.parse().unwrap(),
        user_agent: HeaderValue::from_static("test/1.0 (test@example.org)"),
    };
    let counters = Counters::default();
    let events = events(&config, Resume::default(), counters.clone()).unwrap().take(count);
    let ids = events.map(|(event, _)| event.id.unwrap()).collect().await;
    server.abort();
    let asked = script.asked.lock().unwrap().clone();
    (ids, counters, asked)
}

#[tokio::test]
async fn captured_events_are_read() {
    let (ids, counters, _) = read(vec![sse(CAPTURED)], 5).await;
    assert_eq!(ids[0], "551f5fd1-7d81-4a33-be1a-7bd2d0d45853");
    assert_eq!(ids.len(), 5);
    assert_eq!(counters.to_string().split(',').next(), Some("events 5"));
    assert_eq!(counters.rejected.total(), 0);
}

#[tokio::test]
async fn dropped_connection_is_resumed_after_the_last_event_and_doubles_are_dropped() {
    let first = frame(1, "a") + &frame(2, "b") + "data: {\"cut";
    let second = frame(2, "b") + &frame(2, "c") + &frame(3, "d");
    let (ids, counters, asked) = read(vec![sse(first), sse(second)], 4).await;
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!((counters.doubles.total(), counters.reconnects.total()), (1, 1));
    assert_eq!(asked, [None, Some("[{\"timestamp\":1}]".to_owned())]);
}

#[tokio::test]
async fn stall_is_ended_by_the_idle_timeout() {
    tokio::time::pause();
    let stalled = once(async { Ok::<_, std::io::Error>(frame(1, "a")) }).chain(pending());
    let (ids, counters, _) =
        read(vec![sse(Body::from_stream(stalled)), sse(frame(2, "b"))], 2).await;
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(counters.reconnects.total(), 1);
}

#[tokio::test]
async fn stream_without_events_is_left_although_its_comments_come() {
    tokio::time::pause();
    let comments = stream::unfold((), async |()| {
        sleep(Duration::from_secs(5)).await;
        Some((Ok::<_, std::io::Error>(":still here\n\n"), ()))
    });
    let (ids, counters, _) =
        read(vec![sse(Body::from_stream(comments)), sse(frame(1, "a"))], 1).await;
    assert_eq!(ids, ["a"]);
    assert_eq!(counters.reconnects.total(), 1);
}

#[tokio::test]
async fn retry_of_the_stream_is_the_shortest_wait_within_bounds() {
    for (retry, least, most) in
        [("0", 200, 200), ("5000", 5_000, 5_000), ("99999999", 30_000, 30_000)]
    {
        let answers = ["a", "b", "c"].map(|id| sse(frame(1, id) + &format!("retry: {retry}\n\n")));
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        assert_eq!(read(answers.into(), 3).await.0, ["a", "b", "c"]);
        let waited = started.elapsed().as_millis();
        assert!((2 * least..2 * most + 100_000).contains(&waited), "retry {retry}: {waited} ms");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn answer_that_is_no_stream_is_described() {
    for (header, value, body, expected) in [
        (
            "content-type",
            "text/html",
            "<h1>Log in\u{9b}",
            r#"200 OK, text/html, "<h1>Log in\u{9b}""#,
        ),
        (
            "content-encoding",
            "gzip",
            "\u{1f}",
            "200 OK, compressed with gzip, which was not asked for",
        ),
    ] {
        let answer = axum::http::Response::builder().header(header, value);
        let answer: Response = answer.body(reqwest::Body::from(body)).unwrap().into();
        assert!(!response::is_event_stream(&answer));
        assert_eq!(response::describe(answer).await, expected);
    }
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1000)));
    let endless = axum::http::Response::new(reqwest::Body::wrap_stream(endless));
    assert!(response::describe(endless.into()).await.len() < 300);
}

#[tokio::test]
async fn compressed_stream_is_not_read() {
    let compressed = ([(header::CONTENT_ENCODING, "gzip")], sse(frame(1, "x"))).into_response();
    let (ids, counters, _) = read(vec![compressed, sse(frame(1, "a"))], 1).await;
    assert_eq!(ids, ["a"]);
    assert_eq!(counters.rejected.total(), 0);
}

#[tokio::test]
async fn reason_of_a_lost_connection_says_what_lies_behind_it() {
    let broken = once(async { Err::<String, _>(std::io::Error::other("cable pulled")) });
    let answer = axum::http::Response::new(reqwest::Body::wrap_stream(broken));
    let mut frames = response::frames(answer.into(), Counters::default());
    let reason = cause(frames.next().await.unwrap().unwrap_err());
    assert!(reason.contains("cable pulled"), "{reason}");
}

#[tokio::test]
async fn what_is_no_event_is_passed_over_and_moves_on() {
    let error = "event: error\ndata: {\"message\":\"broker away\"}\n\n";
    let garbage = "id: [{\"timestamp\":2}]\ndata: <html>\n\n";
    let canary =
        "id: [{\"timestamp\":3}]\ndata: {\"meta\":{\"domain\":\"canary\",\"id\":\"x\"}}\n\n";
    let (ids, counters, asked) =
        read(vec![sse(error.to_owned() + garbage + canary), sse(frame(4, "a"))], 1).await;
    assert_eq!(ids, ["a"]);
    let faults = [&counters.error_events, &counters.rejected, &counters.canaries];
    assert_eq!(faults.map(Counter::total), [1, 1, 1]);
    assert_eq!(asked[1].as_deref(), Some("[{\"timestamp\":2}]"));
}

#[tokio::test]
async fn refusals_are_waited_out_for_as_long_as_they_say() {
    let refusal = |status: StatusCode, after: &str| {
        (status, [(header::RETRY_AFTER, after.to_owned())]).into_response()
    };
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(500));
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let answers = vec![
        refusal(StatusCode::TOO_MANY_REQUESTS, "100"),
        refusal(StatusCode::SERVICE_UNAVAILABLE, &date),
        refusal(StatusCode::TOO_MANY_REQUESTS, "99999999999"),
        StatusCode::FORBIDDEN.into_response(),
        refusal(StatusCode::FORBIDDEN, "50"),
        "a page, and no event stream".into_response(),
        sse(frame(1, "a")),
    ];
    let (ids, ..) = read(answers, 1).await;
    assert_eq!(ids, ["a"]);
    let waited = started.elapsed();
    let least = Duration::from_secs(100 + 490 + 3600 + 30 + 50);
    assert!((least..least + Duration::from_secs(60)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn server_that_answers_at_once_is_asked_less_and_less() {
    let refusal =
        |_| (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "0")]).into_response();
    let event = |number: u64| sse(frame(number, &number.to_string()));
    let eight_each: [(Vec<Answer>, usize); 2] =
        [((0..8).map(refusal).collect(), 0), ((0..8).map(event).collect(), 8)];
    for (answers, read_before) in eight_each {
        let answers = answers.into_iter().chain([sse(frame(9, "a"))]).collect();
        tokio::time::pause();
        let started = Instant::now();
        assert_eq!(read(answers, read_before + 1).await.0[read_before], "a");
        // The shortest possible waits are half of 0.2 s, of 0.4 s and so on. The first eight take 25.5 s together.
        assert!(started.elapsed() >= Duration::from_secs(25), "{:?}", started.elapsed());
        tokio::time::resume();
    }
}

#[tokio::test(start_paused = true)]
async fn wait_is_short_again_after_a_connection_that_was_worthwhile() {
    for (events, lasts, attempts) in
        [(WORTHWHILE - 1, Duration::ZERO, 6), (WORTHWHILE, Duration::ZERO, 1), (0, LONGEST_WAIT, 1)]
    {
        let mut reader = Reader { attempts: 5, ..reader() };
        reader.connection = Some(Connection {
            frames: Box::pin(stream::empty()),
            since: Instant::now(),
            events_before: 0,
        });
        for _ in 0..events {
            reader.counters.events.add();
        }
        sleep(lasts).await;
        reader.disconnected("test").await;
        assert_eq!(reader.attempts, attempts, "{events} events in {lasts:?}");
    }
}

#[test]
fn back_off_grows_to_its_limit() {
    let mut reader = reader();
    let waits: Vec<Duration> = (0..100).map(|_| reader.back_off()).collect();
    assert!(waits[0] <= SHORTEST_WAIT);
    assert!(waits[20..].iter().all(|wait| (LONGEST_WAIT / 2..=LONGEST_WAIT).contains(wait)));
}

fn reader() -> Reader {
    Reader {
        client: Client::new(),
        url: "http://127.0.0.1/".parse().unwrap(),
        proxy: None,
        counters: Counters::default(),
        place: Place::default(),
        connection: None,
        attempts: 0,
        retry: Duration::ZERO,
    }
}
