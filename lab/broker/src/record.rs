//! A record as a line of JSON: what `lab-broker produce` takes and `lab-broker consume` prints. Lab includes this file
//! too, so that both sides agree.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    #[serde(default)]
    pub key: Option<Bytes>,
    /// `None` is a tombstone: for a compacted topic, that the key is gone.
    #[serde(default)]
    pub value: Option<Bytes>,
    /// To be written: chosen by the key where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Of a record that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Bytes>,
}

/// A string where the bytes are UTF-8, else `{"base64":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Text(Cow<'a, str>),
    Binary(Binary),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    base64: String,
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.into()),
            Err(_) => Written::Binary(Binary { base64: STANDARD.encode(&self.0) }),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into_owned().into_bytes(),
            Written::Binary(binary) => STANDARD.decode(binary.base64).map_err(D::Error::custom)?,
        };
        Ok(Self(bytes))
    }
}

impl<T: AsRef<[u8]>> From<T> for Bytes {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_any_bytes_comes_back() {
        for value in [None, Some(&b""[..]), Some(b"\"a\"\n"), Some(&[0, 0xff, 0xfe])] {
            let record = Record {
                key: Some("Ünal".into()),
                value: value.map(Bytes::from),
                partition: Some(3),
                offset: None,
                headers: [("id".to_owned(), Bytes::from([0x80]))].into(),
            };
            let line = serde_json::to_string(&record).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }

    #[test]
    fn least_line_has_a_value_alone_and_a_misspelt_field_is_refused() {
        let record: Record = serde_json::from_str(r#"{"value":{"base64":"AP8="}}"#).unwrap();
        assert_eq!(record.value, Some(Bytes(vec![0, 0xff])));
        assert_eq!((record.key, record.partition), (None, None));
        for line in [r#"{"vlaue":"a"}"#, r#"{"value":{"base64":"?"}}"#, r#"{"value":7}"#] {
            assert!(serde_json::from_str::<Record>(line).is_err(), "{line}");
        }
    }
}
