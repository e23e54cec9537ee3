//! From the JSON of a RecentChange event to an `Event`. Only the fields that are kept are looked at; each may be
//! missing, null or of another type, and what counts as an event is any JSON object.

use std::fmt;

use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::event::Event;

/// The longest text that is kept whole, in bytes. MediaWiki's titles and names end at 255; what is kept of events
/// must be bounded in memory, and in the keys and rows of a store.
const TEXT_LIMIT: usize = 512;

/// What a `data:` of the stream turned out to be.
#[derive(Debug, PartialEq)]
pub enum Parsed {
    Event(Event),
    /// Sent by Wikimedia several times an hour to see that the pipeline is alive. It is no change to a wiki.
    Canary {
        id: Option<String>,
    },
    /// Not a JSON object.
    Rejected,
}

pub fn parse(data: &str) -> Parsed {
    let Some([meta, user, bot, title, server_name]) =
        fields(data, ["meta", "user", "bot", "title", "server_name"])
    else {
        return Parsed::Rejected;
    };
    let meta = meta.and_then(|meta| fields(meta.get(), ["id", "domain", "dt"]));
    let [id, domain, time] = meta.unwrap_or_default();
    let id = not_empty(id);
    let domain = not_empty(domain);
    if domain.as_deref() == Some("canary") {
        return Parsed::Canary { id };
    }
    Parsed::Event(Event {
        id,
        time: text(time),
        domain: not_empty(server_name).or(domain),
        user: not_empty(user),
        bot: bot.is_some_and(|bot| bot.get() == "true"),
        title: text(title),
    })
}

fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok().map(bounded)
}

/// A longer text is cut, and told from others with the same beginning by a hash of the whole.
fn bounded(text: String) -> String {
    if text.len() <= TEXT_LIMIT {
        return text;
    }
    // FNV-1a: the same in every version of this program, which the standard library's hash is not.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let head = &text[..text.floor_char_boundary(TEXT_LIMIT - 20)];
    format!("{head}…{hash:016x}")
}

fn not_empty(value: Option<&RawValue>) -> Option<String> {
    text(value).filter(|text| !text.is_empty())
}

/// The raw values of the named fields of a JSON object, the last one where a name stands twice; `None` where
/// `json` is no object. Deriving this would refuse the whole event for one field of another type.
fn fields<'a, const N: usize>(
    json: &'a str,
    names: [&str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    let read = |keys| {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let found = Fields(&names, keys).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(found)
    };
    // Half of a surrogate pair in a key is JSON, but no text. Keys read as bytes may hold it, and also control
    // characters, which JSON forbids. The usual event does not come so far, and text is the quicker way.
    read(Keys::Text).or_else(|| {
        serde_json::from_str::<IgnoredAny>(json).ok()?;
        read(Keys::Bytes)
    })
}

/// What the keys of an object are read as.
#[derive(Clone, Copy)]
enum Keys {
    Text,
    Bytes,
}

struct Fields<'n, const N: usize>(&'n [&'n str; N], Keys);

impl<'de, const N: usize> DeserializeSeed<'de> for Fields<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(position) = map.next_key_seed(Name(self.0, self.1))? {
            match position {
                Some(position) => found[position] = Some(map.next_value()?),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// A key of the object, as its position among the names that are looked for.
struct Name<'n>(&'n [&'n str], Keys);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.1 {
            Keys::Text => deserializer.deserialize_str(self),
            Keys::Bytes => deserializer.deserialize_bytes(self),
        }
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name.as_bytes() == key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn event(json: &Value) -> Event {
        match parse(&json.to_string()) {
            Parsed::Event(event) => event,
            other => panic!("{other:?} from {json}"),
        }
    }

    fn whole() -> Value {
        json!({
            "meta": {"id": "1", "domain": "de.wikipedia.org", "dt": "2023-12-07T20:30:00Z"},
            "user": "Alice", "bot": true, "title": "Zürich", "server_name": "en.wikipedia.org",
            "log_params": {"meta": {"domain": "canary"}, "user": "Mallory"},
        })
    }

    #[test]
    fn whole_event_is_read() {
        let expected = Event {
            id: Some("1".to_owned()),
            time: Some("2023-12-07T20:30:00Z".to_owned()),
            domain: Some("en.wikipedia.org".to_owned()),
            user: Some("Alice".to_owned()),
            bot: true,
            title: Some("Zürich".to_owned()),
        };
        assert_eq!(event(&whole()), expected);
    }

    /// One field after the other missing, null or of each other type: that field is absent, the others stay.
    #[test]
    fn field_of_another_type_reads_as_absent() {
        let absent = |name: &str, expected: &mut Event| match name {
            "/meta" => (expected.id, expected.time) = (None, None),
            "/meta/id" => expected.id = None,
            "/meta/dt" => expected.time = None,
            "/user" => expected.user = None,
            "/bot" => expected.bot = false,
            "/title" => expected.title = None,
            "/server_name" => expected.domain = Some("de.wikipedia.org".to_owned()),
            _ => {}
        };
        let others = json!([null, 1, -0.5, 1e300, "text", "", [], [1], {}, {"a": 1}]);
        for name in [
            "/meta",
            "/meta/id",
            "/meta/domain",
            "/meta/dt",
            "/user",
            "/bot",
            "/title",
            "/server_name",
        ] {
            for other in others.as_array().unwrap() {
                if name != "/bot" && name != "/meta" && other.is_string() {
                    continue;
                }
                let mut changed = whole();
                *changed.pointer_mut(name).unwrap() = other.clone();
                let mut expected = event(&whole());
                absent(name, &mut expected);
                assert_eq!(event(&changed), expected, "{name} = {other}");
            }
            let mut changed = whole();
            let (parent, field) = name.rsplit_once('/').unwrap();
            changed
                .pointer_mut(parent)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(field);
            let mut expected = event(&whole());
            absent(name, &mut expected);
            assert_eq!(event(&changed), expected, "{name} missing");
        }
    }

    #[test]
    fn empty_user_and_domain_are_none() {
        let json =
            json!({"user": "", "server_name": "", "meta": {"domain": "", "id": ""}, "title": ""});
        let expected = Event {
            title: Some(String::new()),
            ..Event::default()
        };
        assert_eq!(event(&json), expected);
        assert_eq!(event(&json!({})), Event::default());
    }

    #[test]
    fn long_texts_are_cut_and_stay_distinct() {
        let long = "é".repeat(TEXT_LIMIT);
        let user = |user: String| event(&json!({ "user": user })).user.unwrap();
        let [one, same, other] = ["a", "a", "b"].map(|end| user(long.clone() + end));
        assert!(one == same && one != other);
        assert!(one.len() <= TEXT_LIMIT && one.starts_with("éé"));
        assert_eq!(user("x".repeat(TEXT_LIMIT)).len(), TEXT_LIMIT);
    }

    #[test]
    fn canary_is_told_by_its_domain() {
        let json = json!({"$schema": "/mediawiki/recentchange/1.0.0", "meta": {"domain": "canary", "id": "7"}});
        assert_eq!(
            parse(&json.to_string()),
            Parsed::Canary {
                id: Some("7".to_owned())
            }
        );
    }

    #[test]
    fn what_is_no_json_object_is_rejected() {
        for data in [
            "",
            " ",
            "null",
            "1",
            "\"{}\"",
            "[]",
            "[{}]",
            "{",
            "}",
            "{}{}",
            "{} x",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":01}",
            "{\"meta\":{}",
            "true",
            "<html>",
            "{'a':1}",
            "{\"user\":\"\u{1}\"}",
            "{\"\u{1}\":1}",
            "{\"\\ud8\":1}",
            "{\"\\x\":1}",
            "{1:1}",
        ] {
            assert_eq!(parse(data), Parsed::Rejected, "{data}");
        }
    }

    #[test]
    fn odd_objects_count() {
        assert_eq!(
            event_of(r#"{"user":"a","user":"b"}"#).user.as_deref(),
            Some("b")
        );
        assert_eq!(event_of(r#"{"us\u0065r":"a"}"#).user.as_deref(), Some("a"));
        assert_eq!(event_of(r#"{"user":"\ud800"}"#).user, None);
        for key in [r"\ud800", r"\udc00 \u0001", r"\ud800\u0041", r"user\ud800"] {
            let json = format!(r#"{{"{key}":1,"meta":{{"{key}":2,"id":"7"}} , "user" :"a"}}"#);
            let event = event_of(&json);
            assert_eq!(event.user.as_deref(), Some("a"), "{json}");
            assert_eq!(event.id.as_deref(), Some("7"), "{json}");
        }
        let deep = format!(
            "{{\"x\":{}{},\"user\":\"a\"}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert_eq!(event_of(&deep).user.as_deref(), Some("a"));
    }

    fn event_of(json: &str) -> Event {
        match parse(json) {
            Parsed::Event(event) => event,
            other => panic!("{other:?} from {json}"),
        }
    }
}
