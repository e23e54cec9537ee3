//! Odd and hostile JSON.

use std::fmt::Display;

use serde_json::Value;
use serde_json::json;

use super::*;

fn event(json: impl Display) -> Event {
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
    assert_eq!(event(whole()), expected);
}

/// Takes one field after the other, and makes it missing, null or of another type: only this field is then `None`.
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
    let names = "/meta /meta/id /meta/domain /meta/dt /user /bot /title /server_name".split(' ');
    for name in names {
        for other in others.as_array().unwrap() {
            if name != "/bot" && name != "/meta" && other.is_string() {
                continue;
            }
            let mut changed = whole();
            *changed.pointer_mut(name).unwrap() = other.clone();
            let mut expected = event(whole());
            absent(name, &mut expected);
            assert_eq!(event(changed), expected, "{name} = {other}");
        }
        let mut changed = whole();
        let (parent, field) = name.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
        let mut expected = event(whole());
        absent(name, &mut expected);
        assert_eq!(event(changed), expected, "{name} missing");
    }
}

#[test]
fn empty_user_and_domain_are_none() {
    let json =
        json!({"user": "", "server_name": "", "meta": {"domain": "", "id": ""}, "title": ""});
    let expected = Event { title: Some(String::new()), ..Event::default() };
    assert_eq!(event(json), expected);
    assert_eq!(event(json!({})), Event::default());
}

#[test]
fn long_texts_are_cut_and_stay_distinct() {
    let long = "é".repeat(TEXT_LIMIT);
    let user = |user: String| event(json!({ "user": user })).user.unwrap();
    let [one, same, other] = ["a", "a", "b"].map(|end| user(long.clone() + end));
    assert!(one == same && one != other);
    assert!(one.len() <= TEXT_LIMIT && one.starts_with("éé"));
    assert_eq!(user("x".repeat(TEXT_LIMIT)).len(), TEXT_LIMIT);
}

#[test]
fn canary_is_told_by_its_domain() {
    let json = json!({"$schema": "/mediawiki/recentchange/1.0.0", "meta": {"domain": "canary", "id": "7"}});
    assert_eq!(parse(&json.to_string()), Parsed::Canary { id: Some("7".to_owned()) });
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
    assert_eq!(event(r#"{"user":"a","user":"b"}"#).user.as_deref(), Some("b"));
    assert_eq!(event(r#"{"us\u0065r":"a"}"#).user.as_deref(), Some("a"));
    assert_eq!(event(r#"{"user":"\ud800"}"#).user, None);
    for key in [r"\ud800", r"\udc00 \u0001", r"\ud800\u0041", r"user\ud800"] {
        let json = format!(r#"{{"{key}":1,"meta":{{"{key}":2,"id":"7"}} , "user" :"a"}}"#);
        let event = event(&json);
        assert_eq!(event.user.as_deref(), Some("a"), "{json}");
        assert_eq!(event.id.as_deref(), Some("7"), "{json}");
    }
    let deep = format!("{{\"x\":{}{},\"user\":\"a\"}}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(event(deep).user.as_deref(), Some("a"));
}
