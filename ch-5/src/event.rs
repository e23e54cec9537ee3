//! One change to a wiki, as the rest of the program sees it, and its form on the wire. Made by wikimedia.rs, written
//! by the producer, read by the consumer.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;

/// What `encode` gives.
pub const CONTENT_TYPE: &str = "application/json";

/// The longest name that is taken from a message, in bytes. The producer's are shorter; one that a store can't take
/// as a key would hold up the partition for ever.
const NAME_LIMIT: usize = 1024;

/// What is kept of a RecentChange event. What the source leaves out, or gives in another type, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `meta.id`: unique, the same when the stream repeats the event.
    pub id: Option<String>,
    /// `meta.dt`: when it happened, RFC 3339. (`timestamp` can be years older on log events.)
    pub time: Option<String>,
    /// `server_name`, or `meta.domain` without it: `en.wikipedia.org`.
    pub domain: Option<String>,
    /// Who made the change, an account or an IP address; never empty.
    pub user: Option<String>,
    pub bot: bool,
    pub title: Option<String>,
}

impl Event {
    /// Appends `{"id":…,"time":…,"domain":…,"user":…,"bot":…,"title":…}`.
    pub fn encode(&self, payload: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(payload, self).context("cannot encode the event")
    }

    /// Takes what `encode` gives; unknown fields are passed over, and all but `bot` may be missing.
    ///
    /// # Errors
    /// It is something else, or a name in it is too long.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        // serde would take an array of six for the fields of an event.
        ensure!(payload.trim_ascii_start().first() == Some(&b'{'), "no JSON object");
        let mut event: Self = serde_json::from_slice(payload)?;
        for name in [&mut event.domain, &mut event.user] {
            let length = name.as_deref().map_or(0, str::len);
            ensure!(length <= NAME_LIMIT, "a name of {length} bytes");
            name.take_if(|name| name.is_empty());
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Event {
        Event {
            id: Some("1".to_owned()),
            time: Some("2023-12-07T20:30:00Z".to_owned()),
            domain: Some("en.wikipedia.org".to_owned()),
            user: Some("Alice \"A\" \u{0} 😀".to_owned()),
            bot: true,
            title: Some("Zürich".to_owned()),
        }
    }

    fn encoded(event: &Event) -> String {
        let mut payload = Vec::new();
        event.encode(&mut payload).unwrap();
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn event_is_json_with_the_fields_in_order() {
        let expected =
            r#"{"id":null,"time":null,"domain":null,"user":null,"bot":false,"title":null}"#;
        assert_eq!(encoded(&Event::default()), expected);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for event in [whole(), Event::default()] {
            assert_eq!(Event::decode(encoded(&event).as_bytes()).unwrap(), event);
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_and_absent_or_empty_ones_are_none() {
        let event =
            Event::decode(br#" {"new":{"bot":[]},"bot":true,"user":"","id":null} "#).unwrap();
        let expected = Event { bot: true, ..Event::default() };
        assert_eq!(event, expected);
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let long = format!(r#"{{"bot":false,"user":"{}"}}"#, "x".repeat(NAME_LIMIT + 1));
        let bad = [
            "",
            "{}",
            "{",
            "null",
            "[null,null,null,null,true,null]",
            r#"{"bot":1}"#,
            r#"{"bot":true}x"#,
            r#"{"bot":true,"user":5}"#,
            "\u{FEFF}{\"bot\":true}",
            &long,
        ];
        for text in bad {
            assert!(Event::decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Event::decode(b"{\"bot\":true,\"user\":\"\xff\"}").is_err());
    }
}
