//! `topic`, `create`, `delete` and `delete-records`.

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;
use serde_json::json;

use crate::client::ANSWER;
use crate::client::reader;
use crate::client::settings;
use crate::client::unanswered;
use crate::client::watermarks;

pub fn show(broker: &str, name: &str, group: Option<&str>) -> Result<()> {
    let reader = reader(broker, group)?;
    let partitions = watermarks(&reader, broker, name)?;
    let mut asked = TopicPartitionList::new();
    for partition in &partitions {
        asked.add_partition(name, partition.partition);
    }
    let committed = match group {
        None => None,
        Some(group) => Some(
            reader
                .committed_offsets(asked, ANSWER)
                .map_err(|error| anyhow!("offsets of group {group}: {error}"))?,
        ),
    };
    let committed = |partition| match committed.as_ref()?.find_partition(name, partition)?.offset()
    {
        Offset::Offset(next) => Some(next),
        _ => None,
    };
    let shown: Vec<_> = partitions
        .iter()
        .map(|marks| {
            json!({
                "partition": marks.partition,
                "low": marks.low,
                "high": marks.high,
                "committed": committed(marks.partition),
            })
        })
        .collect();
    println!("{}", json!({ "partitions": shown }));
    Ok(())
}

pub fn create(
    broker: &str,
    name: &str,
    partitions: i32,
    config: &[(String, String)],
) -> Result<()> {
    let topic = NewTopic {
        name,
        num_partitions: partitions,
        replication: TopicReplication::Fixed(1),
        config: config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
    };
    let results = runtime()?
        .block_on(admin(broker)?.create_topics([&topic], &options()))
        .map_err(|error| unanswered(broker, &error))?;
    check("create", results)?;
    println!("{}", json!({ "created": name }));
    Ok(())
}

pub fn delete(broker: &str, name: &str) -> Result<()> {
    let results = runtime()?
        .block_on(admin(broker)?.delete_topics(&[name], &options()))
        .map_err(|error| unanswered(broker, &error))?;
    let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
    let there = results
        .into_iter()
        .filter(|result| !matches!(result, Err((_, code)) if *code == unknown))
        .collect();
    check("delete", there)?;
    println!("{}", json!({ "deleted": name }));
    Ok(())
}

pub fn delete_records(broker: &str, name: &str, before: i64) -> Result<()> {
    let mut offsets = TopicPartitionList::new();
    for marks in watermarks(&reader(broker, None)?, broker, name)? {
        let offset = Offset::Offset(before.clamp(marks.low, marks.high));
        offsets.add_partition_offset(name, marks.partition, offset)?;
    }
    let deleted = runtime()?
        .block_on(admin(broker)?.delete_records(&offsets, &options()))
        .map_err(|error| unanswered(broker, &error))?;
    for partition in deleted.elements() {
        partition.error().map_err(|error| anyhow!("topic {name}: {error}"))?;
    }
    println!("{}", json!({ "deleted": name, "before": before }));
    Ok(())
}

fn check(what: &str, results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<()> {
    for result in results {
        if let Err((topic, code)) = result {
            bail!("the broker does not {what} topic {topic}: {code}");
        }
    }
    Ok(())
}

fn admin(broker: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(settings(broker).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
