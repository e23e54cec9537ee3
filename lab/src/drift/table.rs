//! Which Rust file appears in which chapter, and where it may change. The contract that keeps the steps small: a
//! chapter that must break a row changes the row here, in the same commit, and says why.

use anyhow::Context;
use anyhow::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `.`: not there.
    Absent,
    /// `N`: there for the first time.
    New,
    /// `C`: there before, and different now.
    Changed,
    /// `=`: byte for byte as in the chapter before.
    Same,
}

pub struct Row {
    pub path: &'static str,
    /// One letter a chapter, from the first to the eighth.
    marks: &'static str,
}

impl Row {
    /// The mark in chapter `number`.
    pub fn mark(&self, number: u8) -> Result<Mark> {
        let letter = self.marks.split(' ').nth(usize::from(number.saturating_sub(1)));
        match letter {
            Some(".") => Some(Mark::Absent),
            Some("N") => Some(Mark::New),
            Some("C") => Some(Mark::Changed),
            Some("=") => Some(Mark::Same),
            _ => None,
        }
        .with_context(|| {
            format!("the file table has no mark for {} in chapter {number}", self.path)
        })
    }
}

pub const fn row(path: &'static str, marks: &'static str) -> Row {
    Row { path, marks }
}

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    //                                    1 2 3 4 5 6 7 8
    row("src/main.rs",                   "N C C = C C C ="), // Roles and wiring only.
    row("src/http.rs",                   "N = C = = = = ="), // Serving, and the layers around every route.
    row("src/ops.rs",                    "N = C = = C C ="), // What operators ask: /status, /ready, later /metrics.
    row("src/error.rs",                  ". . N = = = = ="), // The one error, and how it leaves.
    row("src/request_log.rs",            ". . N = = = = ="), // Which requests are logged, and how.
    row("src/shutdown.rs",               "N = = = = = = ="),
    row("src/printable.rs",              "N = = = = = = ="), // Text of strangers, made safe to show.
    row("src/telemetry.rs",              "N = = = = = = ="),
    row("build.rs",                      ". N = = = C = ="), // The revision; later the protobuf code too.
    row("src/config.rs",                 ". N C = C C C ="), // The structs, one for each role.
    row("src/config/values.rs",          ". N C = C C C ="), // Parsers of values.
    row("src/config/url.rs",             ". N = = = = = ="), // A URL that does not show its password.
    row("src/config/read.rs",            ". N = = = = = ="), // Command line and environment, help, errors.
    row("src/config/file.rs",            ". N = = = = = ="), // The file .env, or what CONFIG_FILE names.
    row("src/config/tests.rs",           ". N C = C C C ="),
    row("src/healthcheck.rs",            ". N = = = = = ="),
    row("src/health.rs",                 ". . N = C = = ="), // What a role needs, and what it lacks.
    row("src/watch.rs",                  ". N = = = = = ="),
    row("src/resume.rs",                 ". N = = = = = ="), // Where to go on in the stream.
    row("src/resume/tests.rs",           ". N = = = = = ="),
    row("src/counter.rs",                ". N = = C = = ="),
    row("src/wikimedia.rs",              ". N = = = = = ="),
    row("src/wikimedia/counters.rs",     ". N = = = = = ="),
    row("src/wikimedia/guard.rs",        ". N = = = = = ="), // Before the parser: sizes, UTF-8, line ends.
    row("src/wikimedia/guard/tests.rs",  ". N = = = = = ="),
    row("src/wikimedia/parse.rs",        ". N = = = = = ="),
    row("src/wikimedia/parse/tests.rs",  ". N = = = = = ="),
    row("src/wikimedia/proxy.rs",        ". N = = = = = ="), // The proxy for a URL.
    row("src/wikimedia/response.rs",     ". N = = = = = ="), // What the server answers, and the frames in it.
    row("src/wikimedia/tests.rs",        ". N = = = = = ="),
    row("src/event.rs",                  ". N = = C C = ="),
    row("src/api.rs",                    ". . N = C = = ="), // What users ask: /login, /stats.
    row("src/api/tests.rs",              ". . N = C = = ="),
    row("src/connections.rs",            ". . N = = = = ="), // The accept loop.
    row("src/auth.rs",                   ". . N = = = = ="), // Tokens.
    row("src/auth/password.rs",          ". . N = = = = ="),
    row("src/limit.rs",                  ". . N = = = = ="),
    row("src/log_limit.rs",              ". . N = = = = ="),
    row("src/stats.rs",                  ". . N = C = C ="),
    row("src/retry.rs",                  ". . N = = = = ="), // Trying again: at a start, and until a shutdown.
    row("src/store.rs",                  ". . N = C = C ="),
    row("src/store/memory.rs",           ". . N = C = C ="),
    row("src/store/cassandra.rs",        ". . N = C = C ="),
    row("src/store/session.rs",          ". . N = = = = ="), // The connection to Cassandra, and the schema.
    row("src/store/tests.rs",            ". . N = C = C ="),
    row("src/consumer.rs",               ". . N = C C C ="),
    row("src/consumer/group.rs",         ". . . . N C C ="), // What is assigned, and messages as they come.
    row("src/consumer/kafka_tests.rs",   ". . . . N = C ="),
    row("src/queue.rs",                  ". . N = = = = ="), // Between reading the stream and writing.
    row("src/slice.rs",                  ". N = = = = = ="), // What a stream has ready, bounded in bytes.
    row("src/producer.rs",               ". . . . N C C ="),
    row("src/producer/tests.rs",         ". . . . N C C ="),
    row("src/producer/tests/away.rs",    ". . . . N = C ="), // No broker, and the shutdown.
    row("src/producer/tests/cursors.rs", ". . . . N = C ="),
    row("src/broker.rs",                 ". . . . N = C ="), // Settings of every client, and the log.
    row("src/broker/topics.rs",          ". . . . N = C ="),
    row("src/cursor.rs",                 ". . . . N = C ="), // The place in the stream, kept in a topic.
    row("src/metrics.rs",                ". . . . . N C ="),
    row("src/dead_letters.rs",           ". . . . . . N ="),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_new_once_and_has_eight_marks() {
        for row in TABLE {
            let marks: Vec<Mark> = (1..=8).map(|number| row.mark(number).unwrap()).collect();
            let first = marks.iter().position(|mark| *mark != Mark::Absent).unwrap();
            assert_eq!(marks[first], Mark::New, "{}", row.path);
            let later = &marks[first + 1..];
            assert!(!later.contains(&Mark::New), "{} is new twice", row.path);
            assert!(row.mark(9).is_err(), "{} has a ninth mark", row.path);
        }
    }

    #[test]
    fn no_file_has_two_rows() {
        let mut paths: Vec<&str> = TABLE.iter().map(|row| row.path).collect();
        paths.sort_unstable();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
