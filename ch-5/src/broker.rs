//! The broker, Kafka or Redpanda: the settings that all clients of librdkafka share, and what they write to the log.

pub mod topics;

use std::mem::replace;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::anyhow;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::debug;
use tracing::warn;

use crate::config;
use crate::log_limit::LogLimit;

/// The settings of a client: `ours`, and those of REDPANDA_PROPERTIES, which win. Those on which a promise of the program
/// depends are refused there, see `config::values`.
pub fn settings(config: &config::Broker, ours: &[(&str, &str)]) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("client.id", env!("CARGO_PKG_NAME"));
    // librdkafka waits up to 10 s between two attempts to connect. That is long for a broker that is back.
    settings.set("reconnect.backoff.max.ms", "2000");
    settings.set("bootstrap.servers", config.redpanda_broker.join(","));
    settings.extend(ours.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    settings.extend(config.redpanda_properties.0.iter().cloned());
    settings.set_log_level(RDKafkaLogLevel::Info);
    settings
}

/// Writes what librdkafka says to the log. Most errors are temporary, and come again at every attempt to connect.
#[derive(Default)]
pub struct Log {
    errors: LogLimit,
    warnings: LogLimit,
    last_reason: Mutex<String>,
}

impl ClientContext for Log {
    /// Failed connections are also passed to `error`. That a property has no effect on this client is no warning, because
    /// all clients get those of REDPANDA_PROPERTIES.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if level as i32 <= RDKafkaLogLevel::Warning as i32
            && !["FAIL", "CONFWARN"].contains(&facility)
            && let Some(withheld) = self.warnings.allows()
        {
            return warn!(withheld, facility, "librdkafka: {message}");
        }
        debug!(facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // The library reports each error of a producer twice.
        let mut last_reason = self.last_reason.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = replace(&mut *last_reason, reason.to_owned()) != reason;
        // That all messages of a partition have been read is no error. That no broker can be reached is told with the reason.
        if is_new
            && !matches!(
                code,
                Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown)
            )
            && let Some(withheld) = self.errors.allows()
        {
            warn!(withheld, ?code, "broker: {reason}");
        }
    }
}

impl ConsumerContext for Log {}

/// Why a client could not be made. The value of a property is not shown, because it can be a password.
pub fn unusable(error: KafkaError) -> anyhow::Error {
    let cause = match error {
        KafkaError::ClientConfig(_, description, name, value) => {
            anyhow!("{name}: {}", description.replace(&format!(" \"{value}\""), ""))
        }
        other => plain(other),
    };
    cause.context("cannot set up a Kafka client; is REDPANDA_PROPERTIES right?")
}

/// The text of such an error contains its cause already, and anyhow would print it once more.
pub fn plain(error: KafkaError) -> anyhow::Error {
    anyhow!("{error}")
}
