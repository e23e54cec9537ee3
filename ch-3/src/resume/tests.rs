//! Tests with a stream whose events come late, or twice, or from another data centre.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::*;

/// Topic, timestamp and `meta.id`.
type Event<'a> = (&'a str, u64, &'a str);

/// The `id:` of the stream after the last event of each topic. Wikimedia's server adds a millisecond.
fn event_id(latest: &BTreeMap<&str, u64>, added: u64) -> String {
    let entry = |(topic, time): (&&str, &u64)| {
        let time = time + added;
        format!(r#"{{"topic":"{topic}","partition":0,"timestamp":{time}}}"#)
    };
    let mut entries: Vec<String> = latest.iter().map(entry).collect();
    entries.push(r#"{"topic":"idle","partition":0,"offset":-1}"#.to_owned());
    format!("[{}]", entries.join(","))
}

fn at(milliseconds: u64) -> String {
    event_id(&BTreeMap::from([("eqiad", milliseconds)]), 0)
}

/// What the stream sends after `resume`, and so after the event at position `read`. Each topic begins with the first event
/// that is not older than the timestamp in `Last-Event-ID`.
fn sent<'a>(
    stream: &[Event<'a>],
    added: u64,
    read: usize,
    resume: &Resume,
) -> Vec<(String, &'a str)> {
    let last_event_id = Place::new(resume.clone()).last_event_id().unwrap();
    let from = times(&last_event_id).unwrap();
    let (mut latest, mut begun) = (BTreeMap::new(), BTreeSet::new());
    let mut sent = Vec::new();
    for (position, (topic, time, id)) in stream.iter().enumerate() {
        let from = from.iter().find(|(known, _)| known == topic);
        if from.map_or(position > read, |(_, from)| time >= from) {
            begun.insert(topic);
        }
        if position <= read || begun.contains(topic) {
            latest.insert(*topic, *time);
        }
        if begun.contains(topic) {
            sent.push((event_id(&latest, added), *id));
        }
    }
    sent
}

/// The new ones of `sent`, and the place after them.
fn unread<'a>(sent: &[(String, &'a str)], place: &mut Place) -> Vec<&'a str> {
    let new = sent.iter().filter(|(event_id, id)| place.advance(event_id, Some(id)));
    new.map(|(_, id)| *id).collect()
}

/// Reads up to each of the events that `stops` names. Then it restarts three times, and reads one event each time. The
/// stream must always have the rest for it, and each event of the rest once.
fn resumes_after(stream: &[Event], stops: &[usize]) {
    let ids: Vec<&str> = stream.iter().map(|(_, _, id)| *id).collect();
    for (added, stop) in
        [0, 1].into_iter().flat_map(|added| stops.iter().map(move |stop| (added, *stop)))
    {
        let mut place = Place::default();
        let mut latest = BTreeMap::new();
        for (topic, time, id) in &stream[..=stop] {
            latest.insert(*topic, *time);
            assert!(place.advance(&event_id(&latest, added), Some(id)));
        }
        for read in (stop..stream.len()).take(3) {
            let resume: Resume = place.resume().to_string().parse().unwrap();
            let sent = sent(stream, added, read, &resume);
            let rest = unread(&sent, &mut Place::new(resume.clone()));
            assert_eq!(rest, ids[read + 1..], "after {}, {added} added", ids[read]);
            place = Place::new(resume);
            sent.iter().find(|(event_id, id)| place.advance(event_id, Some(id)));
        }
    }
}

#[test]
fn resume_after_any_event_gives_the_rest_once_also_where_time_goes_back() {
    let times = [5, 7, 7, 6, 6, 9, 5, 8, 8, 10, 11, 11, 12];
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
    let stream: Vec<Event> =
        times.into_iter().zip(ids).map(|(time, id)| ("eqiad", time, id)).collect();
    resumes_after(&stream, &Vec::from_iter(0..stream.len()));
}

#[test]
fn change_of_the_data_centre_repeats_nothing() {
    let stream = [
        ("eqiad", 5, "a"),
        ("eqiad", 7, "b"),
        ("eqiad", 7, "c"),
        ("codfw", 8, "d"),
        ("codfw", 9, "e"),
        ("codfw", 9, "f"),
        ("eqiad", 6, "late"),
        ("codfw", 10, "g"),
        ("codfw", 11, "h"),
        ("eqiad", 12, "i"),
        ("eqiad", 13, "j"),
    ];
    resumes_after(&stream, &Vec::from_iter(0..stream.len()));
}

#[test]
fn change_of_the_data_centre_repeats_nothing_also_long_after_it() {
    let ids: Vec<String> = (0..2 * WINDOW).map(|number| number.to_string()).collect();
    let topic = |number| if number < 3 { "eqiad" } else { "codfw" };
    let events = ids.iter().zip(0..).map(|(id, number)| (topic(number), number, id.as_str()));
    let stream: Vec<Event> = events.collect();
    let (mut place, added) = (Place::default(), 1);
    let mut latest = BTreeMap::new();
    for (topic, time, id) in &stream {
        latest.insert(*topic, *time);
        assert!(place.advance(&event_id(&latest, added), Some(id)));
    }
    let again = sent(&stream, added, stream.len(), &place.resume());
    assert_eq!(again.iter().map(|(_, id)| *id).collect::<Vec<_>>(), ["2", ids.last().unwrap()]);
    assert!(unread(&again, &mut place).is_empty());
}

#[test]
fn late_event_of_the_data_centre_before_does_not_hold_the_place_up() {
    let ids: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let event = |(id, time)| match time {
        1 | 2 => ("eqiad", 10 - time, id),
        _ => ("codfw", 10 + time, id),
    };
    let stream: Vec<Event> = ids.iter().map(String::as_str).zip(0..).map(event).collect();
    resumes_after(&stream, &Vec::from_iter(2..stream.len()));
    let (mut place, mut latest) = (Place::default(), BTreeMap::new());
    for (topic, time, id) in &stream {
        latest.insert(*topic, *time);
        place.advance(&event_id(&latest, 0), Some(id));
    }
    let resume = place.resume();
    assert!(resume.seen.len() < 10, "{:?}", resume.seen);
}

#[test]
fn event_that_is_a_minute_ahead_of_the_others_doubles_nothing() {
    let ids: Vec<String> = (0..2_400).map(|number| format!("{number:036}")).collect();
    let time = |number: u64| if number == 10 { 60_000 } else { number * 25 };
    let events = ids.iter().zip(0..).map(|(id, number)| ("eqiad", time(number), id.as_str()));
    let stream: Vec<Event> = events.collect();
    resumes_after(&stream, &[10, 11, 300, 2_390, 2_399]);
}

#[test]
fn what_came_before_is_a_double_and_does_not_lead_back() {
    let mut place = Place::default();
    assert!(place.advance(&at(1), Some("a")));
    assert!(place.advance(&at(2), Some("b")));
    let before = place.resume();
    assert!(!place.advance(&at(1), Some("a")));
    assert!(place.advance(&at(1), None));
    assert_eq!(place.resume(), before);
}

#[test]
fn many_restarts_do_not_make_a_long_list_of_ids() {
    let mut resume: Resume = at(0).parse().unwrap();
    for number in 1..10 {
        let mut place = Place::new(resume);
        place.advance(&at(10 * number), Some(&number.to_string()));
        resume = place.resume();
    }
    assert_eq!(resume.seen, ["9".into()]);
}

#[test]
fn event_without_an_id_line_leaves_the_place() {
    let mut place = Place::new(at(3).parse().unwrap());
    assert!(place.advance("", Some("a")));
    assert_eq!(place.resume().last_event_id, Some(at(3).into()));
}

#[test]
fn window_and_resume_are_bounded_and_the_place_goes_on() {
    let mut place = Place::default();
    place.advance(&at(1_000_000), Some("ahead"));
    for number in 0..3 * WINDOW {
        place.advance(&at(number as u64), Some(&format!("{number:0512}")));
    }
    assert!(place.ids.len() <= WINDOW && place.order.len() <= WINDOW);
    let resume = place.resume();
    assert!(resume.to_string().len() < SEEN_LIMIT + EVENT_ID_LIMIT);
    assert_eq!(resume.seen[0].as_ref(), "ahead");
    assert_eq!(resume.last_event_id, Some(at(3 * WINDOW as u64 - 1).into()));
}

#[test]
fn timestamps_are_those_of_the_topics_however_the_id_is_written() {
    let id = r#"[{"topic":"a","timestamp":7},{ "timestamp" : 9, "topic" : "b" },{"topic":"c","offset":-1}]"#;
    assert_eq!(times(id), Some(vec![("a".into(), 7), ("b".into(), 9)]));
    assert_eq!(times("no id of theirs"), None);
}

#[test]
fn millisecond_that_the_server_adds_is_taken_away_from_each_timestamp() {
    let id =
        r#"[{"topic":"a","timestamp":7},{"topic":"b","timestamp":null},{"topic":"c","offset":-1}]"#;
    let sent =
        r#"[{"timestamp":6,"topic":"a"},{"timestamp":null,"topic":"b"},{"offset":-1,"topic":"c"}]"#;
    let place = Place::new(id.parse().unwrap());
    assert_eq!(place.last_event_id().as_deref(), Some(sent));
}

#[test]
fn hostile_id_does_not_become_the_place() {
    let mut place = Place::new(at(3).parse().unwrap());
    let long = format!("[{{\"topic\":\"{}\"}}]", "x".repeat(EVENT_ID_LIMIT));
    for id in ["bogus", "[4]'; echo", "[\"\u{9b}\"]", "[9]", "{\"timestamp\":9}", &long] {
        place.advance(id, None);
        assert_eq!(place.resume().last_event_id, Some(at(3).into()), "{id}");
    }
}

#[test]
fn resume_stands_in_single_quotes_and_steers_no_terminal_whatever_the_ids_contain() {
    let mut place = Place::default();
    let id = "'; touch /tmp/x; '\u{9b}2J\u{202e}\n\"\\";
    place.advance(&at(1), Some(id));
    let printed = place.resume().to_string();
    assert!(!printed.contains(['\'', '\u{9b}', '\u{202e}', '\n']), "{printed}");
    assert_eq!(printed.parse(), Ok(place.resume()));
    assert!(!Place::new(printed.parse().unwrap()).advance(&at(1), Some(id)));
}

#[test]
fn resume_that_is_none_is_refused() {
    for text in ["yesterday", "{}", r#"{"last_event_id":"yesterday","seen":[]}"#] {
        assert!(text.parse::<Resume>().is_err(), "{text}");
    }
}
