//! Protects the SSE parser from the bytes of the connection. The parser panics at a byte order mark, stops at invalid
//! UTF-8, keeps lines of any length, and reads an unfinished line again with every chunk. With this guard it gets whole
//! events of valid UTF-8, whose lines end in LF, in pieces that it reads fast.

#[cfg(test)]
mod tests;

use std::mem;

use memchr::memchr2;

use crate::wikimedia::counters::Counters;

/// The longest line, and the longest event, in bytes. The longest event measured had 5,582.
const EVENT_LIMIT: usize = 1024 * 1024;

/// About the longest piece, in bytes. The parser copies the rest of a piece after each line, so long pieces are slow.
const PIECE: usize = 8 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The guard of one connection.
pub struct Guard {
    counters: Counters,
    limit: usize,
    /// The event that is not complete yet.
    event: Vec<u8>,
    /// Where its unfinished line begins.
    line: usize,
    first_line: bool,
    first_chunk: bool,
    /// The event is too long, so its lines are skipped until it ends.
    skipping: bool,
    /// The last chunk ended in CR. The next one may begin with the LF that belongs to it.
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

    /// Takes a chunk of the connection, and returns the events that it completed.
    pub fn push(&mut self, mut chunk: &[u8]) -> Vec<String> {
        let mut pieces = Vec::new();
        if mem::take(&mut self.first_chunk) {
            // The parser panics if its very first piece begins with a byte order mark. One mark is removed below, but a
            // second one may follow it. So the first piece is an empty comment, which the parser skips.
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
                self.counters.oversize.count("event over 1 MiB skipped");
            }
            self.skipping = true;
        }
        if self.skipping {
            // Of a skipped line, it only matters whether it is empty, because an empty line ends the event.
            let not_empty = self.event.len() > self.line;
            self.event.clear();
            self.event.extend_from_slice(if not_empty { b"x" } else { b"" });
            self.line = 0;
        }
    }

    fn end_line(&mut self, pieces: &mut Vec<String>) {
        if mem::take(&mut self.first_line) && self.event.starts_with(BYTE_ORDER_MARK) {
            self.counters.byte_order_marks.count("byte order mark removed from the stream");
            self.event.drain(..BYTE_ORDER_MARK.len());
        }
        let line = &self.event[self.line..];
        if line.is_empty() {
            self.end_event(pieces);
        } else if let Some(retry) = retry(line) {
            // The parser loses this line in an event without data, so it gets an event of its own.
            pieces.push(format!("retry: {retry}\ndata\n\n"));
            self.event.truncate(self.line);
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
                self.counters.invalid_utf8.count("invalid UTF-8 replaced by U+FFFD");
                split(&String::from_utf8_lossy(&self.event), pieces);
            }
        }
        self.event.clear();
        self.line = 0;
    }
}

/// The milliseconds in a line with which the server asks for a wait before a reconnect.
fn retry(line: &[u8]) -> Option<u64> {
    let value = line.strip_prefix(b"retry:")?;
    str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Adds the event to `pieces`. A large event is cut into several pieces, between its lines.
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
