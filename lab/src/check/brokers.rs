//! Chooses the broker that stands between the roles of a program under test.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::broker::Broker;
use crate::services::first_of;
use crate::services::kafka::DEFAULT_PORT;
use crate::services::kafka_answers;
use crate::terminal::waiting;

/// The one that is named, else the Kafka of `cargo lab services` if it is up, else one in memory.
pub async fn choose(named: Option<&str>) -> Result<Broker> {
    if let Some(addresses) = named {
        let first = first_of(addresses);
        if !waiting(&format!("the broker at {first}"), kafka_answers(first)).await {
            bail!("no broker answers at {first}, which --broker or REDPANDA_BROKER names");
        }
        return Ok(Broker::at(addresses));
    }
    let usual = format!("127.0.0.1:{DEFAULT_PORT}");
    if kafka_answers(&usual).await {
        return Ok(Broker::at(usual));
    }
    Broker::embedded().await.context(
        "no broker for the checks; `cargo lab services up kafka` starts one, or name it with --broker",
    )
}

pub fn describe(broker: &Broker) -> String {
    let address = &broker.address;
    let where_it_is = if broker.is_embedded() { ", in memory" } else { "" };
    format!("broker {address}{where_it_is}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_named_broker_that_is_away_is_an_error_that_names_it() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = choose(Some(&address)).await.err().unwrap().to_string();
        assert!(error.contains(&address), "{error}");
    }
}
