//! One change to a wiki, and its form in a message. wikimedia.rs makes events, the producer encodes them, and the
//! consumer decodes them.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;

/// The content type of what `encode` writes.
pub const CONTENT_TYPE: &str = "application/json";

/// The longest name in a message that is accepted, in bytes; the producer's are shorter. Writing a name that is too long
/// for a key of the store would fail for ever, and the partition would never go on.
const NAME_LIMIT: usize = 1024;

/// The fields of a RecentChange event that the program uses. A field that is absent, or of another type, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `meta.id`. It is unique, and it is the same when the stream sends the event again.
    pub id: Option<String>,
    /// `meta.dt`: when the change happened, as RFC 3339 writes it. (`timestamp` can be years older on log events.)
    pub time: Option<String>,
    /// `server_name`, or `meta.domain` if there is none. Example: `en.wikipedia.org`.
    pub domain: Option<String>,
    /// Who made the change, an account or an IP address; never empty.
    pub user: Option<String>,
    pub bot: bool,
    pub title: Option<String>,
}

impl Event {
    /// `{"id":…,"time":…,"domain":…,"user":…,"bot":…,"title":…}`
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).context("cannot encode the event")
    }

    /// Reads what `encode` has written. Unknown fields are ignored, and every field except `bot` may be missing.
    ///
    /// # Errors
    /// The payload is not such an object, or a name in it is too long.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        // serde would also accept an array of six values as an event.
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

    #[test]
    fn event_is_json_with_the_fields_in_order_and_is_decoded_from_it() {
        let json =
            r#"{"id":"1","time":"2","domain":null,"user":"\"\u0000😀","bot":true,"title":"ü"}"#;
        let [id, time, user, title] = ["1", "2", "\"\0😀", "ü"].map(|text| Some(text.to_owned()));
        let event = Event { id, time, domain: None, user, bot: true, title };
        assert_eq!(str::from_utf8(&event.encode().unwrap()), Ok(json));
        assert_eq!(Event::decode(json.as_bytes()).unwrap(), event);
    }

    #[test]
    fn unknown_fields_are_ignored_and_absent_or_empty_ones_are_none() {
        let json = br#" {"new":{"bot":[]},"bot":true,"user":"","id":null} "#;
        let expected = Event { bot: true, ..Event::default() };
        assert_eq!(Event::decode(json).unwrap(), expected);
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let long = format!(r#"{{"bot":false,"user":"{}"}}"#, "x".repeat(NAME_LIMIT + 1));
        let no_object =
            ["", "{", "null", "[null,null,null,null,true,null]", "\u{FEFF}{\"bot\":true}"];
        let bad = ["{}", r#"{"bot":1}"#, r#"{"bot":true}x"#, r#"{"bot":true,"user":5}"#, &long];
        for text in [no_object, bad].concat() {
            assert!(Event::decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Event::decode(b"{\"bot\":true,\"user\":\"\xff\"}").is_err());
    }
}
