//! Tests with a stream whose events come late, or twice.

use super::*;

fn at(milliseconds: u64) -> String {
    format!(
        r#"[{{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":{milliseconds}}},{{"topic":"codfw.mediawiki.recentchange","partition":0,"offset":-1}}]"#
    )
}

/// What the stream sends after a reconnect, without the doubles. It begins with the first event that is not older than
/// the timestamp.
fn unread<'a>(stream: &[(u64, &'a str)], resume: &Resume) -> Vec<&'a str> {
    let from = resume.timestamp().unwrap();
    let first = stream.iter().position(|(time, _)| *time >= from).unwrap();
    let mut place = Place::new(resume.clone());
    let rest = stream[first..].iter();
    rest.filter(|(time, id)| place.advance(&at(*time), Some(id))).map(|(_, id)| *id).collect()
}

#[test]
fn resume_after_any_event_gives_the_rest_once_also_where_time_goes_back() {
    let stream = [
        (5, "a"),
        (7, "b"),
        (7, "c"),
        (6, "d"),
        (6, "e"),
        (9, "f"),
        (5, "g"),
        (8, "h"),
        (8, "i"),
        (10, "j"),
    ];
    let mut place = Place::new(Resume::default());
    for (read, (time, id)) in stream.iter().enumerate() {
        assert!(place.advance(&at(*time), Some(id)));
        let resume: Resume = place.resume().to_string().parse().unwrap();
        let rest: Vec<&str> = stream[read + 1..].iter().map(|(_, id)| *id).collect();
        assert_eq!(unread(&stream, &resume), rest, "after {id}");
    }
}

#[test]
fn what_came_before_is_a_double_and_does_not_lead_back() {
    let mut place = Place::new(Resume::default());
    assert!(place.advance(&at(1), Some("a")));
    assert!(place.advance(&at(2), Some("b")));
    let before = place.resume().clone();
    assert!(!place.advance(&at(1), Some("a")));
    assert!(place.advance(&at(1), None));
    assert_eq!(*place.resume(), before);
}

#[test]
fn event_without_an_id_line_leaves_the_place() {
    let mut place = Place::new(at(3).parse().unwrap());
    assert!(place.advance("", Some("a")));
    assert_eq!(place.resume().last_event_id, Some(at(3).into()));
}

#[test]
fn window_and_resume_are_bounded() {
    let mut place = Place::new(Resume::default());
    for number in 0..3 * WINDOW {
        place.advance(&at(1), Some(&number.to_string()));
    }
    assert_eq!((place.ids.len(), place.order.len()), (WINDOW, WINDOW));
    assert!(place.resume().seen.len() <= SEEN_LIMIT);
}

#[test]
fn timestamp_is_the_newest_of_the_topics() {
    assert_eq!(timestamp(&at(1_532_031_066_001)), Some(1_532_031_066_001));
    assert_eq!(timestamp(r#"[{"timestamp":7},{"timestamp":9},{"offset":-1}]"#), Some(9));
    assert_eq!(timestamp("no id of theirs"), None);
}

#[test]
fn hostile_id_does_not_become_the_place() {
    let mut place = Place::new(at(3).parse().unwrap());
    let long = format!("[\"{}\"]", "x".repeat(EVENT_ID_LIMIT));
    for id in ["bogus", "[4]'; echo", "[\"\u{9b}\"]", "{\"timestamp\":9}", &long] {
        place.advance(id, None);
        assert_eq!(place.resume().last_event_id, Some(at(3).into()), "{id}");
    }
}

#[test]
fn resume_that_is_none_is_refused() {
    assert!("yesterday".parse::<Resume>().is_err());
    assert!("{}".parse::<Resume>().is_err());
}
