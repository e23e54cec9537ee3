//! Sends SIGTERM while many events come: the program must end in time and lose nothing that it has taken.

use crate::check::runner::CASSANDRA;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::stopping;

pub const CHECKS: &[Check] = &[
    Check {
        name: "SIGTERM under load flushes the producer",
        expected: "exit status 0 in less than 10 s, and after a restart each event in the topic once",
        hint: "stop reading, wait for every acknowledgement, then write the cursor",
        run: |subject| Box::pin(stopping::producer(subject)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM under load ends a consumer with the memory store",
        expected: "exit status 0 in less than 10 s, while 3,000 events a second arrive",
        hint: "leaving the group blocks its thread: give it a deadline",
        run: |subject| Box::pin(stopping::memory(subject)),
        ..PROCESS
    },
    Check {
        name: "SIGTERM under load flushes a consumer with Cassandra",
        expected: "exit status 0 in less than 10 s, and after a restart every field of /stats equal to what the stream has sent",
        hint: "write what was taken, then commit, then leave the group",
        smoke: true,
        run: |subject| Box::pin(stopping::cassandra(subject)),
        ..CASSANDRA
    },
];
