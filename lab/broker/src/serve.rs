//! `serve`: runs librdkafka's broker for tests in this process. It keeps 5 MiB of each partition, and silently drops
//! older records. Whoever counts must know that, so the first offset of each partition is watched.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use rdkafka::consumer::Consumer;
use rdkafka::mocking::MockCluster;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::client::ANSWER;
use crate::client::Reader;
use crate::client::reader;
use crate::client::watermarks;

const WATCH: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    create: String,
    partitions: i32,
    /// What is old may go in such a topic.
    #[serde(default)]
    compacted: bool,
}

pub fn run() -> Result<()> {
    let cluster = MockCluster::new(1).context("cannot start the embedded broker")?;
    let bootstrap = cluster.bootstrap_servers();
    println!("{}", json!({ "bootstrap": bootstrap }));
    let compacted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let reader = reader(&bootstrap, None)?;
    let unwatched = compacted.clone();
    std::thread::spawn(move || watch(&reader, &bootstrap, &unwatched));
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("not an order")?;
        let name = order.create;
        if order.compacted {
            let mut compacted = compacted.lock().unwrap_or_else(PoisonError::into_inner);
            compacted.insert(name.clone());
        }
        match cluster.create_topic(&name, order.partitions, 1) {
            Ok(()) => println!("{}", json!({ "created": name })),
            Err(error) => {
                println!("{}", json!({ "refused": name, "reason": error.to_string() }));
            }
        }
    }
    // With the process ends all of it; to take the cluster down first could only hang.
    std::process::exit(0);
}

/// Prints the first eviction of each partition.
fn watch(reader: &Reader, bootstrap: &str, compacted: &Mutex<BTreeSet<String>>) {
    let mut told = BTreeSet::new();
    loop {
        for topic in topics(reader) {
            let compacted = compacted.lock().unwrap_or_else(PoisonError::into_inner);
            if compacted.contains(&topic) {
                continue;
            }
            drop(compacted);
            for marks in watermarks(reader, bootstrap, &topic).unwrap_or_default() {
                if marks.low > 0 && told.insert((topic.clone(), marks.partition)) {
                    let evicted: Value = json!({
                        "topic": topic,
                        "partition": marks.partition,
                        "low": marks.low,
                        "high": marks.high,
                    });
                    println!("{}", json!({ "evicted": evicted }));
                }
            }
        }
        std::thread::sleep(WATCH);
    }
}

fn topics(reader: &Reader) -> Vec<String> {
    let Ok(metadata) = reader.fetch_metadata(None, ANSWER) else {
        return Vec::new();
    };
    let topics = metadata.topics().iter();
    topics.map(|topic| topic.name().to_owned()).collect()
}
