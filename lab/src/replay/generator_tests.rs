//! What is generated against what was captured and measured, and the cheap count against an independent parse.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;

use serde_json::Value;

use crate::replay::generator::Generator;
use crate::replay::odd;
use crate::replay::options::Options;
use crate::replay::recording::Counted;
use crate::replay::recording::Facts;
use crate::replay::recording::facts;
use crate::replay::source::Source;
use crate::replay::truth::Tally;

const CAPTURED: &str = include_str!("../../../fixtures/recentchange-real.sse");

fn data(generator: &Generator, position: u64) -> Vec<u8> {
    let mut out = Vec::new();
    odd::write_data(generator, position, &mut out);
    out
}

/// The field names of each level that is an object in all events of the type.
fn keys(event: &Value) -> BTreeSet<String> {
    let object = event.as_object().unwrap();
    let mut keys: BTreeSet<String> = object.keys().cloned().collect();
    for parent in ["meta", "length", "revision"] {
        let children = object.get(parent).and_then(Value::as_object).into_iter().flatten();
        keys.extend(children.map(|(name, _)| format!("{parent}.{name}")));
    }
    keys
}

#[test]
fn framing_is_as_captured() {
    for (seed, id) in [
        (
            0,
            r#"[{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":1786924800008},{"topic":"codfw.mediawiki.recentchange","partition":0,"offset":-1}]"#,
        ),
        (
            1,
            r#"[{"topic":"eqiad.mediawiki.recentchange","partition":0,"offset":-1},{"topic":"codfw.mediawiki.recentchange","partition":0,"timestamp":1786924800014}]"#,
        ),
    ] {
        let source = Source::open(&Options { seed, ..Options::default() }).unwrap();
        let mut out = Vec::new();
        source.write_event(0, "\r\n", &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!((lines[0], lines[1]), ("event: message", format!("id: {id}").as_str()));
        assert!(
            lines[2].starts_with(
                r#"data: {"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":"https://"#
            ),
            "{text}"
        );
        assert!(lines[2].ends_with("\"}") && lines[3..] == ["", ""], "{text}");
    }
}

#[test]
fn fields_are_those_of_captured_events() {
    let captured: Vec<Value> = CAPTURED
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(captured.len(), 5);
    let edit = keys(captured.iter().find(|event| event["type"] == "edit").unwrap());
    let log = keys(captured.iter().find(|event| event["type"] == "log").unwrap());
    let without = |keys: &BTreeSet<String>, gone: &[&str]| -> BTreeSet<String> {
        keys.iter().filter(|key| !gone.contains(&key.as_str())).cloned().collect()
    };
    let only_edits =
        ["minor", "length", "length.old", "length.new", "revision", "revision.old", "revision.new"];
    let generator = Generator::from(&Options { canaries: 0, ..Options::default() });
    let mut types = HashSet::new();
    for position in 0..5000 {
        let event: Value = serde_json::from_slice(&data(&generator, position)).unwrap();
        let mut found = keys(&event);
        // Redacted users are gone, and only wikis that patrol say so.
        found.insert("user".to_owned());
        found.remove("patrolled");
        let kind = event["type"].as_str().unwrap();
        match kind {
            "edit" | "new" => assert_eq!(found, edit),
            "categorize" => assert_eq!(found, without(&edit, &only_edits)),
            _ if event.get("id").is_none() => assert_eq!(found, log),
            _ => assert_eq!(without(&found, &["id", "title_url"]), log),
        }
        types.insert(kind.to_owned());
        assert_eq!(event["meta"]["uri"], *event.get("title_url").unwrap_or(&event["meta"]["uri"]));
    }
    assert_eq!(types.len(), 4);
}

#[test]
fn shares_and_sizes_are_as_measured() {
    const N: u64 = 100_000;
    let generator = Generator::from(&Options { canaries: 0, seed: 7, ..Options::default() });
    let mut sizes = Vec::new();
    let mut shares: BTreeMap<&str, u64> = BTreeMap::new();
    let signs = [
        ("edit", r#","type":"edit","#),
        ("categorize", r#","type":"categorize","#),
        ("log", r#","type":"log","#),
        ("new", r#","type":"new","#),
        ("bot", r#","bot":true,"#),
        ("commons", r#","server_name":"commons.wikimedia.org","#),
        ("wikidata", r#","server_name":"www.wikidata.org","#),
        ("english", r#","server_name":"en.wikipedia.org","#),
        ("user", r#","user":""#),
        ("id", r#"},"id":"#),
        ("empty log_params", r#","log_params":[],"#),
        ("object log_params", r#","log_params":{""#),
        ("string log_params", r#","log_params":""#),
        ("null", ":null"),
    ];
    for position in 0..N {
        let text = String::from_utf8(data(&generator, position)).unwrap();
        sizes.push(text.len());
        for (name, sign) in signs {
            *shares.entry(name).or_default() += u64::from(text.contains(sign));
        }
    }
    for (name, percent, tolerance) in [
        ("edit", 55.6, 1.0),
        ("categorize", 37.7, 1.0),
        ("log", 5.0, 0.3),
        ("new", 1.7, 0.2),
        ("bot", 41.0, 1.0),
        ("commons", 42.5, 1.0),
        ("wikidata", 16.5, 1.0),
        ("english", 9.1, 0.5),
        ("user", 99.9, 0.05),
        ("id", 97.8, 0.2),
        ("empty log_params", 0.56, 0.2),
        ("object log_params", 3.3, 0.4),
        ("string log_params", 0.56, 0.2),
        ("null", 3.5, 1.0),
    ] {
        let share = shares[name] as f64 * 100.0 / N as f64;
        assert!((share - percent).abs() < tolerance, "{name}: {share} %, measured {percent} %");
    }
    sizes.sort_unstable();
    let mean = sizes.iter().sum::<usize>() as f64 / N as f64;
    let at = |share: f64| sizes[(share * N as f64) as usize] as f64;
    for (name, size, measured) in [
        ("mean", mean, 1423.0),
        ("p50", at(0.5), 1356.0),
        ("p95", at(0.95), 2078.0),
        ("max", at(0.99999), 5582.0),
    ] {
        assert!((size / measured - 1.0).abs() < 0.03, "{name}: {size} bytes, measured {measured}");
    }
}

#[test]
fn truth_is_what_an_independent_parse_counts() {
    let mut options = Options { users: 3000, seed: 11, ..Options::default() };
    options.faults.garbage_every = Some(10);
    options.faults.invalid_utf8_every = Some(10);
    options.faults.odd_every = Some(10);
    options.faults.long_every = Some(3000);
    let generator = Generator::from(&options);
    let source = Source::open(&options).unwrap();
    let mut tally = Tally::of(&source);
    let (mut messages, mut bots) = (0, 0);
    let (mut domains, mut users) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let mut seen = HashSet::new();
    for position in 0..12_000 {
        let mut data = Vec::new();
        let event = odd::write_data(&generator, position, &mut data);
        if let Some(count) = event.count {
            tally.add(count);
        }
        let Facts { id, counted } = match data.len() {
            0..1_000_000 => facts(&data),
            _ => Facts { id: Some(position.to_string()), counted: None },
        };
        assert_eq!(event.has_id, id.is_some(), "{position}");
        assert!(id.is_none_or(|id| seen.insert(id)), "{position}");
        let Some(Counted { domain, user, bot }) = counted else {
            continue;
        };
        messages += 1;
        bots += u64::from(bot);
        *domains.entry(domain).or_default() += 1;
        if let Some(user) = user {
            *users.entry(user).or_default() += 1;
        }
    }
    let mut by_user: Vec<(String, u64)> = users.into_iter().collect();
    by_user.sort_by(|(name_a, a), (name_b, b)| b.cmp(a).then(name_a.cmp(name_b)));
    // Users with one edit each are many: there the names decide.
    for top in [1, 10, 100, 1000] {
        let truth = tally.truth(&source, top);
        assert_eq!((truth.messages, truth.bots, truth.non_bots), (messages, bots, messages - bots));
        assert_eq!(truth.distinct_users, by_user.len() as u64);
        assert_eq!(truth.by_domain, domains);
        assert_eq!(truth.by_user, by_user[..top]);
    }
    assert!(domains["unknown"] > 10 && by_user.len() > 1000);
}

#[test]
fn each_known_field_is_missing_null_and_of_another_type() {
    let mut options = Options::default();
    options.faults.odd_every = Some(1);
    let generator = Generator::from(&options);
    let mut found = BTreeSet::new();
    for position in 0..200 {
        let event: Value = serde_json::from_slice(&data(&generator, position)).unwrap();
        for pointer in [
            "/meta",
            "/meta/id",
            "/meta/domain",
            "/meta/dt",
            "/user",
            "/bot",
            "/title",
            "/server_name",
        ] {
            if !pointer.starts_with("/meta/")
                || event.get("meta").is_some_and(|meta| meta.get("stream").is_some())
            {
                let state = match (pointer, event.pointer(pointer)) {
                    (_, None) => "missing",
                    (_, Some(Value::Null)) => "null",
                    ("/meta", Some(Value::Object(meta))) if meta.contains_key("stream") => continue,
                    ("/bot", Some(Value::Bool(_))) => continue,
                    ("/meta" | "/bot", Some(_)) => "other",
                    (_, Some(Value::String(text))) => {
                        if text.is_empty() {
                            "empty"
                        } else {
                            continue;
                        }
                    }
                    (_, Some(_)) => "other",
                };
                found.insert(format!("{pointer} {state}"));
            }
        }
    }
    assert_eq!(found.len(), 3 * 8 + 1, "{found:?}");
}
