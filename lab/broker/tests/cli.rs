//! The program as lab uses it: the embedded broker in one process, the commands in others.
#![expect(clippy::unwrap_used, reason = "all of this is a test")]

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab-broker");

struct Embedded {
    process: Child,
    orders: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
    address: String,
}

impl Embedded {
    fn start() -> Self {
        let mut process = Command::new(PROGRAM)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut embedded = Self {
            orders: process.stdin.take(),
            said: BufReader::new(process.stdout.take().unwrap()),
            process,
            address: String::new(),
        };
        embedded.address = embedded.line()["bootstrap"].as_str().unwrap().to_owned();
        embedded
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn create(&mut self, order: &Value) -> Value {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.line()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args([arguments[0], "--broker", &self.address])
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        output
    }

    fn answers(&self, arguments: &[&str], input: &str) -> Vec<Value> {
        let output = self.run(arguments, input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines = lines.lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_is_produced_is_consumed_partition_by_partition_in_order() {
    let mut broker = Embedded::start();
    let created = broker.create(&json!({ "create": "a", "partitions": 3 }));
    assert_eq!(created, json!({ "created": "a" }));
    let mut records: Vec<Value> = (0..1_000)
        .map(|n| json!({ "key": format!("user {}", n % 7), "value": format!("{n}\n\u{e9}") }))
        .collect();
    records.push(json!({ "key": null, "value": {"base64": "AP8="}, "partition": 2 }));
    records.push(json!({ "key": "gone", "value": null, "headers": {"id": "7"}, "partition": 0 }));
    let input: String = records.iter().map(|record| format!("{record}\n")).collect();
    let acknowledged = broker.answers(&["produce", "a"], &input);
    assert_eq!(acknowledged, [json!({ "acknowledged": 1_002 })]);

    let consumed = broker.answers(&["consume", "a"], "");
    assert_eq!(consumed.len(), 1_002);
    let mut next = [0; 3];
    let mut seen = Vec::new();
    for mut record in consumed {
        let partition = record["partition"].take().as_u64().unwrap();
        let place = &mut next[usize::try_from(partition).unwrap()];
        assert_eq!(record["offset"].take(), *place);
        *place += 1;
        seen.push([record["key"].to_string(), record["value"].to_string()]);
        if record["key"] == "gone" {
            assert_eq!(record["headers"], json!({ "id": "7" }));
        }
    }
    let mut sent: Vec<_> = records
        .iter()
        .map(|record| [record["key"].to_string(), record["value"].to_string()])
        .collect();
    sent.sort();
    seen.sort();
    assert_eq!(seen, sent);

    let counted = &broker.answers(&["count", "a"], "")[0];
    assert_eq!(counted["messages"], 1_002);
    assert_eq!(broker.answers(&["consume", "a", "--limit", "5"], "").len(), 5);
    let topic = &broker.answers(&["topic", "a", "--group", "g"], "")[0];
    for (partition, high) in next.iter().enumerate() {
        let expected = json!({ "partition": partition, "low": 0, "high": high, "committed": null });
        assert_eq!(topic["partitions"][partition], expected);
    }
}

#[test]
fn first_eviction_is_told_but_not_of_a_compacted_topic() {
    let mut broker = Embedded::start();
    broker.create(&json!({ "create": "cursor", "partitions": 1, "compacted": true }));
    broker.create(&json!({ "create": "events", "partitions": 2 }));
    let value = "x".repeat(100_000);
    let line = format!("{}\n", json!({ "value": value, "partition": 0 }));
    broker.answers(&["produce", "cursor"], &line.repeat(70));
    let line = format!("{}\n", json!({ "value": value, "partition": 1 }));
    broker.answers(&["produce", "events"], &line.repeat(70));
    let evicted = broker.line()["evicted"].take();
    assert_eq!(evicted["topic"], "events");
    assert_eq!(evicted["partition"], 1);
    assert!(evicted["low"].as_i64().unwrap() > 0 && evicted["high"].as_i64().unwrap() <= 70);
    let kept = broker.answers(&["count", "cursor"], "")[0]["messages"].as_u64();
    assert!(kept.unwrap() < 70, "the cursor's topic was to be evicted too");
}

#[test]
fn errors_are_one_line_that_names_the_topic_or_the_line() {
    let mut broker = Embedded::start();
    broker.create(&json!({ "create": "a", "partitions": 1 }));
    for (arguments, input, expected) in [
        (["topic", "absent"], "", "has no topic absent"),
        (["consume", "absent"], "", "has no topic absent"),
        (["produce", "a"], "{\"value\":\"x\"}\n{\"v\":1}\n", "line 2 is no record"),
        (["produce", "a"], "{\"value\":\"x\",\"partition\":9}\n", "topic a"),
    ] {
        let output = broker.run(&arguments, input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
    let again = broker.create(&json!({ "create": "a", "partitions": 1 }));
    assert_eq!(again["refused"], "a");
}

#[test]
fn embedded_broker_ends_with_its_stdin() {
    let mut broker = Embedded::start();
    drop(broker.orders.take());
    assert!(broker.process.wait().unwrap().success());
}
