//! Where a connection begins: `Last-Event-ID`, else `?since=`, else the live position. Read as strictly as the real
//! service does, because a client that sends nonsense should hear so here, and not in production.

use serde_json::Value;

use crate::replay::text;

#[derive(Debug, PartialEq)]
pub enum Start {
    Live,
    /// The first event whose millisecond is not before this one.
    At(u64),
}

/// The header wins over the parameter. `Err` is the text of a 400.
pub fn start(last_event_id: Option<&str>, query: Option<&str>) -> Result<Start, String> {
    if let Some(id) = last_event_id.filter(|id| !id.is_empty()) {
        return parse_id(id).ok_or_else(|| {
            "invalid Last-Event-ID: send back an id of this stream, a JSON array with a topic and a timestamp\n".to_owned()
        });
    }
    let Some(since) =
        query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("since=")))
    else {
        return Ok(Start::Live);
    };
    percent_decode(since).and_then(|since| parse_since(&since)).map(Start::At).ok_or_else(|| {
        "invalid since: give ISO 8601, for example 2026-08-17T12:00:00Z, or milliseconds since 1970\n".to_owned()
    })
}

/// The id has an entry for each data centre; that of the passive one says `"offset":-1`, which is its end.
fn parse_id(id: &str) -> Option<Start> {
    let entries: Vec<Value> = serde_json::from_str(id).ok()?;
    let mut earliest = None;
    for entry in &entries {
        let topic = entry.get("topic")?.as_str()?;
        if !topic.ends_with("mediawiki.recentchange") || entry.get("partition")?.as_u64()? != 0 {
            return None;
        }
        match entry.get("timestamp") {
            Some(timestamp) => {
                let timestamp = timestamp.as_u64()?;
                earliest =
                    Some(earliest.map_or(timestamp, |earliest: u64| earliest.min(timestamp)));
            }
            // Offsets other than "the end" would be positions in a Kafka topic that does not exist here.
            None => _ = entry.get("offset")?.as_i64().filter(|&offset| offset == -1)?,
        }
    }
    (!entries.is_empty()).then(|| earliest.map_or(Start::Live, Start::At))
}

fn parse_since(since: &str) -> Option<u64> {
    if !since.is_empty() && since.bytes().all(|b| b.is_ascii_digit()) {
        return since.parse().ok();
    }
    text::parse_time(since)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = r#"[{"topic":"eqiad.mediawiki.recentchange","partition":0,"offset":-1},{"topic":"codfw.mediawiki.recentchange","partition":0,"timestamp":1701981000001}]"#;

    #[test]
    fn last_event_id_wins_over_since() {
        assert_eq!(start(Some(ID), Some("since=5")), Ok(Start::At(1_701_981_000_001)));
        assert_eq!(
            start(None, Some("a=b&since=2026-08-17T00%3A00:00.001Z")),
            Ok(Start::At(1_786_924_800_001))
        );
        assert_eq!(start(Some(""), Some("since=1786924800000")), Ok(Start::At(1_786_924_800_000)));
        assert_eq!(start(None, None), Ok(Start::Live));
        assert_eq!(
            start(Some(&ID.replace(r#""timestamp":1701981000001"#, r#""offset":-1"#)), None),
            Ok(Start::Live)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let text_timestamp = ID.replace("1701981000001", "\"1701981000001\"");
        let other_topic = ID.replace("mediawiki.recentchange", "page_create");
        for id in [
            "42",
            "[]",
            "{}",
            "nonsense",
            "[42]",
            &ID[1..],
            &text_timestamp,
            &other_topic,
            &ID.replace("-1", "17"),
        ] {
            assert!(start(Some(id), Some("since=5")).is_err(), "{id}");
        }
        for since in ["", "now", "-5", "%zz", "%", "2026-02-30", "99999999999999999999999"] {
            assert!(start(None, Some(&format!("since={since}"))).is_err(), "{since}");
        }
    }
}
