//! Stands between the connection and the SSE parser, which panics at a byte order mark, stalls at invalid UTF-8,
//! holds lines of any length and reads an unfinished one again with every chunk. The parser gets whole lines of
//! whole events: valid UTF-8, ended by LF, in pieces that it is quick with.

use std::mem;

use memchr::memchr2;

use crate::wikimedia::counters::Counters;

/// The longest line, and the longest event, in bytes. The longest event measured had 5,582.
const EVENT_LIMIT: usize = 1024 * 1024;

/// The parser moves the rest of a piece with every line that it takes from it.
const PIECE: usize = 8 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// One connection's guard.
pub struct Guard {
    counters: Counters,
    limit: usize,
    /// The event that is not complete yet, and where its unfinished line begins.
    event: Vec<u8>,
    line: usize,
    first_line: bool,
    first_chunk: bool,
    /// The event is over the limit: its lines are passed over to its end.
    skipping: bool,
    /// The chunk before ended in CR, whose LF may follow.
    after_cr: bool,
}

impl Guard {
    pub fn new(counters: Counters) -> Self {
        Self {
            counters,
            limit: EVENT_LIMIT,
            event: Vec::new(),
            line: 0,
            first_line: true,
            first_chunk: true,
            skipping: false,
            after_cr: false,
        }
    }

    /// Takes a chunk as it came, gives the events that it completed.
    pub fn push(&mut self, mut chunk: &[u8]) -> Vec<String> {
        let mut pieces = Vec::new();
        if mem::take(&mut self.first_chunk) {
            // The parser panics where its first piece begins with a mark, and a second mark may stand behind the first.
            pieces.push(":\n".to_owned());
        }
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = memchr2(b'\n', b'\r', chunk) {
            self.append(&chunk[..end]);
            let crlf = chunk[end..].starts_with(b"\r\n");
            self.after_cr = chunk[end..] == *b"\r";
            chunk = &chunk[end + if crlf { 2 } else { 1 }..];
            self.end_line(&mut pieces);
        }
        self.append(chunk);
        pieces
    }

    fn append(&mut self, part: &[u8]) {
        self.event.extend_from_slice(part);
        if self.event.len() > self.limit {
            if !self.skipping {
                self.counters.oversize.count("event over 1 MiB passed over");
            }
            self.skipping = true;
        }
        if self.skipping {
            // All that has to be known of a skipped line is whether it is empty.
            let not_empty = self.event.len() > self.line;
            self.event.clear();
            self.event
                .extend_from_slice(if not_empty { b"x" } else { b"" });
            self.line = 0;
        }
    }

    fn end_line(&mut self, pieces: &mut Vec<String>) {
        if mem::take(&mut self.first_line) && self.event.starts_with(BYTE_ORDER_MARK) {
            self.counters
                .byte_order_marks
                .count("byte order mark taken off the stream");
            self.event.drain(..BYTE_ORDER_MARK.len());
        }
        let line = &self.event[self.line..];
        if line.is_empty() {
            self.end_event(pieces);
        } else if self.skipping || line[0] == b':' {
            self.event.truncate(self.line);
        } else {
            self.event.push(b'\n');
            self.line = self.event.len();
        }
    }

    fn end_event(&mut self, pieces: &mut Vec<String>) {
        if !mem::take(&mut self.skipping) && !self.event.is_empty() {
            self.event.push(b'\n');
            if let Ok(event) = str::from_utf8(&self.event) {
                split(event, pieces);
            } else {
                self.counters
                    .invalid_utf8
                    .count("invalid UTF-8 replaced by U+FFFD");
                split(&String::from_utf8_lossy(&self.event), pieces);
            }
        }
        self.event.clear();
        self.line = 0;
    }
}

/// Only a large event is cut, between its lines.
fn split(event: &str, pieces: &mut Vec<String>) {
    if event.len() <= PIECE {
        pieces.push(event.to_owned());
        return;
    }
    let mut piece = String::new();
    for line in event.split_inclusive('\n') {
        piece.push_str(line);
        if piece.len() > PIECE {
            pieces.push(mem::take(&mut piece));
        }
    }
    pieces.push(piece);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use eventsource_stream::EventStream;
    use futures_util::FutureExt;
    use futures_util::StreamExt;
    use futures_util::stream;

    use super::*;

    /// Data and ids of the frames that the parser makes of `chunks` behind a guard with a limit of 100 bytes.
    fn frames<'a>(
        chunks: impl Iterator<Item = &'a [u8]>,
        counters: &Counters,
    ) -> Vec<(String, String)> {
        let mut guard = Guard {
            limit: 100,
            ..Guard::new(counters.clone())
        };
        let pieces: Vec<String> = chunks.flat_map(|chunk| guard.push(chunk)).collect();
        assert!(
            guard.event.capacity() < 1024,
            "{} bytes held",
            guard.event.capacity()
        );
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
        let mut bytes = "\u{FEFF}:ok\n\nevent: message\nid: 1\ndata: a\u{e9}\u{1f600}\n\n"
            .as_bytes()
            .to_vec();
        bytes.extend("\u{FEFF}data: not a field\n\n".as_bytes());
        bytes.extend(b"id: 2\r\ndata: crlf\r\n\r\nid: 3\rdata: cr\r\r");
        bytes.extend(b"data: bad \xff\xc3 utf-8\nid: 4\n\n");
        bytes.extend(format!("id: 5\ndata: {long}\n\nid: 6\ndata: after\n\n").as_bytes());
        bytes.extend(
            format!(
                "data: many lines\n{}\n{lines}id: 7\ndata: b\ndata: c\n\n",
                "data: x\n".repeat(20)
            )
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
        frames
            .map(|(data, id)| (data.to_owned(), id.to_owned()))
            .to_vec()
    }

    #[test]
    fn hostile_stream_cut_anywhere_gives_the_same_frames() {
        let bytes = hostile();
        for at in 0..bytes.len() {
            let counters = Counters::default();
            let (left, right) = bytes.split_at(at);
            assert_eq!(
                frames([left, right].into_iter(), &counters),
                expected(),
                "cut at {at}"
            );
            let faults = [
                &counters.byte_order_marks,
                &counters.invalid_utf8,
                &counters.oversize,
            ];
            assert_eq!(
                faults.map(|counter| counter.total()),
                [1, 1, 2],
                "cut at {at}"
            );
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
}
