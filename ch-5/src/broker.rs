//! The broker, Kafka or Redpanda: the settings of librdkafka that all its clients share, and what goes to the log.

pub mod ready;
pub mod topics;

use anyhow::anyhow;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use tracing::debug;
use tracing::warn;

use crate::config;
use crate::log_limit::LogLimit;

/// Properties for a client: `tunable` ones, over them REDPANDA_PROPERTIES, and over these the `fixed` ones, which
/// carry a promise.
pub fn settings(
    config: &config::Broker,
    tunable: &[(&str, &str)],
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("client.id", env!("CARGO_PKG_NAME"));
    // librdkafka waits up to 10 s between two attempts to connect. That is long for a broker that is back.
    settings.set("reconnect.backoff.max.ms", "2000");
    for (name, value) in tunable {
        settings.set(*name, *value);
    }
    for (name, value) in &config.redpanda_properties.0 {
        settings.set(name, value);
    }
    for (name, value) in fixed {
        settings.set(*name, *value);
    }
    settings.set("bootstrap.servers", config.redpanda_broker.join(","));
    settings.set_log_level(RDKafkaLogLevel::Info);
    settings
}

/// Writes what librdkafka says to the log. Most errors pass, and are repeated at every attempt to connect.
#[derive(Default)]
pub struct Log {
    limit: LogLimit,
}

impl ClientContext for Log {
    /// The errors among these lines are passed to `error` too.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(withheld) = self.limit.allows() {
            let code = error.rdkafka_error_code();
            warn!(withheld, ?code, "broker: {reason}");
        }
    }
}

impl ConsumerContext for Log {}

/// Why a client could not be made. The value of a property can be a password, so it is left out.
pub fn unusable(error: KafkaError) -> anyhow::Error {
    let cause = match error {
        KafkaError::ClientConfig(_, description, name, _) => anyhow!("{name}: {description}"),
        other => plain(other),
    };
    cause.context("cannot set up a Kafka client; is REDPANDA_PROPERTIES right?")
}

/// The text of such an error already holds its cause, which anyhow would print once more.
pub fn plain(error: KafkaError) -> anyhow::Error {
    anyhow!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_win_over_the_properties_and_these_over_the_rest() {
        let mut config = config::Broker::for_test(&["127.0.0.1:9".to_owned()]);
        let further = [("acks", "0"), ("linger.ms", "7"), ("bootstrap.servers", "x:1")];
        config.redpanda_properties.0 = further.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let settings = settings(&config, &[("linger.ms", "1")], &[("acks", "all")]);
        let got = ["acks", "linger.ms", "bootstrap.servers"].map(|name| settings.get(name));
        assert_eq!(got, [Some("all"), Some("7"), Some("127.0.0.1:9")]);
    }
}
