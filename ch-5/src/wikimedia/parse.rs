//! Makes an `Event` of the JSON of a RecentChange event. Any JSON object is an event. Only a few of its fields are read,
//! and each of them may be missing, null or of another type.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::event::Event;

/// The longest text that is not cut, in bytes. Titles and names of MediaWiki have at most 255. Without a limit a
/// hostile event could fill the memory. Databases also limit the length of their keys, and later these texts are keys.
const TEXT_LIMIT: usize = 512;

/// The result of parsing the `data:` of a frame.
#[derive(Debug, PartialEq)]
pub enum Parsed {
    Event(Event),
    /// An event that Wikimedia sends several times an hour to test its own systems. It is not a change to a wiki.
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

/// Cuts a text that is too long. It adds a hash of the whole, so that two texts with the same beginning still differ.
fn bounded(text: String) -> String {
    if text.len() <= TEXT_LIMIT {
        return text;
    }
    // FNV-1a is the same in every version of this program. The hash of the standard library may change.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let head = &text[..text.floor_char_boundary(TEXT_LIMIT - 20)];
    format!("{head}…{hash:016x}")
}

fn not_empty(value: Option<&RawValue>) -> Option<String> {
    text(value).filter(|text| !text.is_empty())
}

/// The raw values of the named fields of a JSON object. If a name occurs twice, the last one counts. `None` if `json`
/// is not an object. A derived `Deserialize` would refuse the whole event if one field had another type.
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
    // Reading keys as text is faster, and it works for nearly every event. But a key in JSON may contain half of a
    // surrogate pair, which a Rust string cannot, so the keys are then read as bytes. That would also accept control
    // characters, which JSON forbids. So the JSON is checked first.
    read(Keys::Text).or_else(|| {
        serde_json::from_str::<IgnoredAny>(json).ok()?;
        read(Keys::Bytes)
    })
}

/// How the keys of an object are read.
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

/// Reads a key and gives its position in the list of names, or `None` if it is not in the list.
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
