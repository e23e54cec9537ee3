//! Hostile streams, cut into chunks at every place.

use std::convert::Infallible;
use std::time::Duration;

use eventsource_stream::EventStream;
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream;

use super::*;

/// Data and ids of the frames that the parser makes of `chunks`, after a guard with a limit of 100 bytes.
fn frames<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
    counters: &Counters,
) -> Vec<(String, String)> {
    let mut guard = Guard { limit: 100, ..Guard::new(counters.clone()) };
    let pieces: Vec<String> = chunks.flat_map(|chunk| guard.push(chunk)).collect();
    let held = guard.event.capacity();
    assert!(held < 1024, "{held} bytes held");
    EventStream::new(stream::iter(pieces).map(Ok::<_, Infallible>))
        .map(|frame| frame.unwrap())
        .map(|frame| (frame.data, frame.id))
        .collect::<Vec<_>>()
        .now_or_never()
        .unwrap()
}

fn hostile() -> Vec<u8> {
    let long = "x".repeat(120);
    let lines = ":x\n".repeat(60);
    let mut bytes =
        "\u{FEFF}:ok\n\nevent: message\nid: 1\ndata: a\u{e9}\u{1f600}\n\n".as_bytes().to_vec();
    bytes.extend("\u{FEFF}data: not a field\n\n".as_bytes());
    bytes.extend(b"id: 2\r\ndata: crlf\r\n\r\nid: 3\rdata: cr\r\r");
    bytes.extend(b"data: bad \xff\xc3 utf-8\nid: 4\n\n");
    bytes.extend(format!("id: 5\ndata: {long}\n\nid: 6\ndata: after\n\n").as_bytes());
    bytes.extend(
        format!("data: many lines\n{}\n{lines}id: 7\ndata: b\ndata: c\n\n", "data: x\n".repeat(20))
            .as_bytes(),
    );
    bytes.extend(b"\n\ndata: the connection is cut in the mid");
    bytes
}

fn expected() -> Vec<(String, String)> {
    let frames = [
        ("a\u{e9}\u{1f600}", "1"),
        ("crlf", "2"),
        ("cr", "3"),
        ("bad \u{FFFD}\u{FFFD} utf-8", "4"),
        ("after", "6"),
        ("b\nc", "7"),
    ];
    frames.map(|(data, id)| (data.to_owned(), id.to_owned())).to_vec()
}

#[test]
fn hostile_stream_cut_anywhere_gives_the_same_frames() {
    let bytes = hostile();
    for at in 0..bytes.len() {
        let counters = Counters::default();
        let (left, right) = bytes.split_at(at);
        assert_eq!(frames([left, right].into_iter(), &counters), expected(), "cut at {at}");
        let faults = [&counters.byte_order_marks, &counters.invalid_utf8, &counters.oversize];
        assert_eq!(faults.map(|counter| counter.total()), [1, 1, 2], "cut at {at}");
    }
    for size in 1..bytes.len() {
        assert_eq!(
            frames(bytes.chunks(size), &Counters::default()),
            expected(),
            "chunks of {size}"
        );
    }
}

#[test]
fn byte_order_marks_wherever_they_stand_are_no_harm() {
    let mark = "\u{FEFF}";
    for begin in ["", mark, "\n", ":ok\n\n", "\r\n"] {
        let stream = format!("{begin}{mark}{mark}data: a\n\ndata: b\n\n{mark}\n\ndata: c\n\n");
        let frames = frames([stream.as_bytes()].into_iter(), &Counters::default());
        let data: Vec<&str> = frames.iter().map(|(data, _)| data.as_str()).collect();
        assert_eq!(data, ["b", "c"], "{begin:?}");
    }
}

#[test]
fn endless_line_is_not_kept() {
    let mut guard = Guard::new(Counters::default());
    guard.push(b":ok\n\n");
    for _ in 0..1000 {
        assert!(guard.push(&[b'x'; 64 * 1024]).is_empty());
        assert!(guard.event.capacity() <= 2 * EVENT_LIMIT + 64 * 1024);
    }
    assert_eq!(guard.counters.oversize.total(), 1);
    assert_eq!(guard.push(b"\n\ndata: after\n\n"), ["data: after\n\n"]);
}

#[test]
fn large_event_comes_in_pieces_that_the_parser_is_quick_with() {
    let mut guard = Guard::new(Counters::default());
    guard.push(b":ok\n\n");
    let event = format!("{}\n", "data: x\n".repeat(100_000));
    let pieces = guard.push(event.as_bytes());
    assert!(pieces.iter().all(|piece| piece.len() < 2 * PIECE));
    assert_eq!(pieces.concat(), event);
}

#[test]
fn retry_line_gets_an_event_of_its_own() {
    let mut guard = Guard::new(Counters::default());
    let pieces = guard.push(b"retry: 5\n\ndata: a\nretry:7\n\nretry: soon\n\n");
    let stream = stream::iter(pieces).map(Ok::<_, Infallible>);
    let frames: Vec<_> = EventStream::new(stream).collect().now_or_never().unwrap();
    let frames = frames.into_iter().map(Result::unwrap);
    let frames: Vec<_> = frames.map(|frame| (frame.data, frame.retry)).collect();
    let retry = |milliseconds| (String::new(), Some(Duration::from_millis(milliseconds)));
    assert_eq!(frames, [retry(5), retry(7), ("a".to_owned(), None)]);
}
