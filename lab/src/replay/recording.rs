//! A captured stream, for `--file`: ids and data are sent as they were. The right counts come from parsing the events;
//! an event whose meta.id has come before is not counted again.

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::replay::event::Count;
use crate::replay::event::Event;

#[derive(Default)]
pub struct Recording {
    events: Vec<Captured>,
    domains: Names,
    users: Names,
}

struct Captured {
    id: String,
    data: Vec<u8>,
    timestamp: u64,
    event: Event,
}

#[derive(Default)]
struct Names {
    list: Vec<String>,
    index: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.index.get(name) {
            return number;
        }
        let number = self.list.len() as u32;
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), number);
        number
    }
}

impl Recording {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {}, given with --file", path.display()))?;
        let recording = Self::parse(&bytes);
        anyhow::ensure!(
            !recording.events.is_empty(),
            "{} holds no event: --file takes a stream saved with curl -sN",
            path.display()
        );
        Ok(recording)
    }

    /// Events that are cut off at the end of the file are dropped, as a client drops them.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut recording = Self::default();
        let mut seen = HashSet::new();
        let (mut id, mut kind, mut data) = (String::new(), Vec::new(), None::<Vec<u8>>);
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else {
                break;
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if let Some(data) = data.take().filter(|_| kind.is_empty() || kind == b"message") {
                    recording.push(id.clone(), data, &mut seen);
                }
                kind.clear();
                continue;
            }
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"id" => id = String::from_utf8_lossy(value).into_owned(),
                b"event" => kind = value.to_vec(),
                b"data" => match &mut data {
                    None => data = Some(value.to_vec()),
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                },
                _ => {}
            }
        }
        recording
    }

    fn push(&mut self, id: String, data: Vec<u8>, seen: &mut HashSet<String>) {
        let before = self.events.last().map_or(0, |event| event.timestamp);
        let entries: Vec<Value> = serde_json::from_str(&id).unwrap_or_default();
        let timestamp = entries
            .iter()
            .filter_map(|entry| entry.get("timestamp")?.as_u64())
            .min()
            // The id is a millisecond ahead of the event.
            .map_or(before, |timestamp| timestamp.saturating_sub(1));
        let Facts { id: meta_id, counted } = facts(&data);
        let double = meta_id.as_ref().is_some_and(|id| !seen.insert(id.clone()));
        let count = counted.filter(|_| !double).map(|counted| Count {
            domain: self.domains.number(&counted.domain),
            user: counted.user.map(|user| self.users.number(&user)),
            bot: counted.bot,
        });
        self.events.push(Captured {
            id,
            data,
            timestamp,
            event: Event { count, has_id: meta_id.is_some() },
        });
    }

    pub fn len(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn domain(&self, index: usize) -> &str {
        &self.domains.list[index]
    }

    pub fn user(&self, index: usize) -> &str {
        &self.users.list[index]
    }

    pub fn domains(&self) -> usize {
        self.domains.list.len()
    }

    pub fn users(&self) -> usize {
        self.users.list.len()
    }

    pub fn write_id(&self, position: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.events[position as usize].id.as_bytes());
    }

    /// What came in several `data:` lines goes out in as many.
    pub fn write_data(&self, position: u64, eol: &str, out: &mut Vec<u8>) -> Event {
        let captured = &self.events[position as usize];
        for (number, line) in captured.data.split(|&byte| byte == b'\n').enumerate() {
            if number > 0 {
                out.extend_from_slice(eol.as_bytes());
                out.extend_from_slice(b"data: ");
            }
            out.extend_from_slice(line);
        }
        captured.event
    }

    pub fn position_at(&self, ms: u64, end: u64) -> u64 {
        self.events
            .iter()
            .position(|event| event.timestamp >= ms)
            .map_or(end, |position| end.min(position as u64))
    }
}

/// What the course's rules of what counts find in an event's data.
#[derive(Default)]
pub struct Facts {
    pub id: Option<String>,
    /// `None` for a canary, and for what is no JSON object.
    pub counted: Option<Counted>,
}

pub struct Counted {
    pub domain: String,
    pub user: Option<String>,
    pub bot: bool,
}

/// By parsing the whole, unlike the generator, which knows what it drew.
pub fn facts(data: &[u8]) -> Facts {
    let text = String::from_utf8_lossy(data);
    let Ok(value @ Value::Object(_)) = serde_json::from_str(&text) else {
        return Facts::default();
    };
    let string = |pointer| {
        let text = value.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let domain = string("/meta/domain");
    let counted = (domain.as_deref() != Some("canary")).then(|| Counted {
        domain: string("/server_name").or(domain).unwrap_or_else(|| "unknown".to_owned()),
        user: string("/user"),
        bot: value.get("bot").and_then(Value::as_bool).unwrap_or(false),
    });
    Facts { id: string("/meta/id"), counted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_as_it_came_leads_behind_its_event_and_a_millisecond_before_to_it() {
        let text = b"id: [{\"topic\":\"t\",\"partition\":0,\"timestamp\":1001}]\ndata: {}\n\n";
        let recording = Recording::parse(text);
        let position = |ms| recording.position_at(ms, 1);
        assert_eq!([position(1000), position(1001)], [0, 1]);
    }
}
