//! What is wrong with an event on purpose, in place of the ordinary one: garbage, an over-long line, invalid UTF-8, or
//! one known field missing, null or of another type. Each rule says itself what it does to the count.

use serde_json::Value;
use serde_json::json;

use crate::replay::event::Event;
use crate::replay::generator::Generator;
use crate::replay::options::Faults;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Garbage(u64),
    Long,
    InvalidUtf8(u64),
    Odd(u64),
}

/// Each kind has a place of its own within its K positions, so that kinds with the same K don't hide each other.
pub fn fault_at(faults: &Faults, position: u64) -> Option<Fault> {
    let due = |every: Option<u64>, place: u64| {
        let every = every?;
        (position % every == place % every).then_some(position / every)
    };
    let garbage = || due(faults.garbage_every, 1).map(Fault::Garbage);
    let long = || due(faults.long_every, 2).map(|_| Fault::Long);
    let invalid_utf8 = || due(faults.invalid_utf8_every, 3).map(Fault::InvalidUtf8);
    let odd = || due(faults.odd_every, 4).map(Fault::Odd);
    garbage().or_else(long).or_else(invalid_utf8).or_else(odd)
}

/// Not JSON, or JSON and no object.
const GARBAGE: &[&str] = &[
    "not json at all",
    "[1,2,3]",
    "\"a string\"",
    "null",
    "42",
    "true",
    "{\"meta\":{\"id\":\"cut o",
    "{user:'x'}",
    "{}{}",
    "<html></html>",
    "-",
];

/// A byte that begins nothing, a sequence cut short, a surrogate, an overlong slash.
const INVALID_UTF8: &[&[u8]] = &[b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf"];

const TITLE: &[u8] = b",\"title\":\"";

/// The `data:` line's value.
pub fn write_data(generator: &Generator, position: u64, out: &mut Vec<u8>) -> Event {
    match fault_at(&generator.faults, position) {
        None => generator.write_ordinary(position, out),
        Some(fault) => write(generator, fault, position, out),
    }
}

fn write(generator: &Generator, fault: Fault, position: u64, out: &mut Vec<u8>) -> Event {
    let begin = out.len();
    match fault {
        Fault::Garbage(turn) => {
            out.extend_from_slice(GARBAGE[turn as usize % GARBAGE.len()].as_bytes());
            Event { count: None, has_id: false }
        }
        Fault::Long => {
            generator.write_complete(position, out);
            out.pop();
            out.extend_from_slice(b",\"padding\":\"");
            out.resize(out.len() + generator.faults.long_bytes, b'x');
            out.extend_from_slice(b"\"}");
            Event { count: None, has_id: true }
        }
        Fault::InvalidUtf8(turn) => {
            let event = generator.write_complete(position, out);
            if let Some(at) = out[begin..].windows(TITLE.len()).position(|window| window == TITLE) {
                let bad = INVALID_UTF8[turn as usize % INVALID_UTF8.len()];
                let at = begin + at + TITLE.len();
                out.splice(at..at, bad.iter().copied());
            }
            event
        }
        Fault::Odd(turn) => {
            let event = generator.write_complete(position, out);
            let mut value: Value = serde_json::from_slice(&out[begin..]).unwrap_or_default();
            let event = spoil(&mut value, turn as usize, event, generator.unknown_domain());
            out.truncate(begin);
            out.extend_from_slice(value.to_string().as_bytes());
            event
        }
    }
}

#[derive(Clone, Copy)]
enum Effect {
    None,
    NoId,
    NoUser,
    NoBot,
}

/// Where the field stands, its name, and what a consumer that reads it as absent does without it. The domain is in
/// two fields, so that one of them may go.
const FIELDS: &[(&str, &str, Effect)] = &[
    ("", "meta", Effect::NoId),
    ("/meta", "id", Effect::NoId),
    ("/meta", "domain", Effect::None),
    ("/meta", "dt", Effect::None),
    ("", "user", Effect::NoUser),
    ("", "bot", Effect::NoBot),
    ("", "title", Effect::None),
    ("", "server_name", Effect::None),
];

/// After as many turns each rule was there once.
const TURNS: usize = 3 * FIELDS.len() + 3;

fn spoil(value: &mut Value, turn: usize, mut event: Event, unknown_domain: u32) -> Event {
    let mut set = |parent: &str, field: &str, to: Option<Value>| {
        let Some(object) = value.pointer_mut(parent).and_then(Value::as_object_mut) else {
            return;
        };
        match to {
            Some(to) => _ = object.insert(field.to_owned(), to),
            None => _ = object.remove(field),
        }
    };
    let Some(count) = &mut event.count else {
        return event;
    };
    let (round, turn) = (turn / TURNS, turn % TURNS);
    let Some(&(parent, field, effect)) = FIELDS.get(turn / 3) else {
        match turn - 3 * FIELDS.len() {
            0 => {
                set("", "user", Some(json!("")));
                count.user = None;
            }
            1 => {
                set("", "server_name", None);
                set("/meta", "domain", None);
                count.domain = unknown_domain;
            }
            // The two disagree: server_name is what counts.
            _ => set("/meta", "domain", Some(json!("elsewhere.example"))),
        }
        return event;
    };
    set(
        parent,
        field,
        match turn % 3 {
            0 => None,
            1 => Some(Value::Null),
            _ if field == "bot" => {
                Some([json!("true"), json!(1), json!([true])][round % 3].clone())
            }
            _ => Some(
                [json!(7), json!(["text"]), json!({"text": "text"}), json!(true)][round % 4]
                    .clone(),
            ),
        },
    );
    match effect {
        Effect::None => {}
        Effect::NoId => event.has_id = false,
        Effect::NoUser => count.user = None,
        Effect::NoBot => count.bot = false,
    }
    event
}
