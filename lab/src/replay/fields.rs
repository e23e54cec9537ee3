//! The parts of an event that differ by type: title and URL, revision and length, the log's fields.

use crate::replay::event::Kind;
use crate::replay::text;
use crate::replay::text::Random;
use crate::replay::wikis::COMMONS;
use crate::replay::wikis::WIKIDATA;
use crate::replay::wikis::Wiki;
use crate::replay::words::Title;

pub fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

pub fn put_number(out: &mut Vec<u8>, text: &str, number: u64) {
    put(out, text);
    text::number(out, number);
}

/// The number and the prefix of a title.
pub fn namespace(wiki: usize, kind: Kind) -> (&'static str, &'static str) {
    match (kind, wiki) {
        (Kind::Categorize, _) => ("14", "Category:"),
        (_, COMMONS) => ("6", "File:"),
        _ => ("0", ""),
    }
}

pub fn title(out: &mut Vec<u8>, wiki: usize, kind: Kind, title: &Title, number: u64) {
    put(out, namespace(wiki, kind).1);
    if wiki == WIKIDATA && kind != Kind::Categorize {
        return put_number(out, "Q", number + 1);
    }
    put(out, title.json);
    if !number.is_multiple_of(4) {
        put_number(out, " (", number);
        put(out, ")");
    }
}

pub fn url(
    out: &mut Vec<u8>,
    wiki: &Wiki,
    wiki_index: usize,
    kind: Kind,
    title: &Title,
    number: u64,
) {
    put(out, &wiki.url);
    put(out, "/wiki/");
    put(out, namespace(wiki_index, kind).1);
    if wiki_index == WIKIDATA && kind != Kind::Categorize {
        return put_number(out, "Q", number + 1);
    }
    put(out, &title.path);
    if !number.is_multiple_of(4) {
        put_number(out, "_(", number);
        put(out, ")");
    }
}

pub fn revision(out: &mut Vec<u8>, random: &mut Random, wiki: &Wiki, kind: Kind, position: u64) {
    let new = 1_200_000_000 + position;
    let old = new - 1 - random.below(60_000_000);
    put(out, r#","notify_url":""#);
    put(out, &wiki.url);
    put_number(
        out,
        if kind == Kind::New { "/w/index.php?oldid=" } else { "/w/index.php?diff=" },
        new,
    );
    if kind != Kind::New {
        put_number(out, "&oldid=", old);
    }
    put(out, "\"");
    if kind == Kind::Categorize {
        return;
    }
    put(out, if random.chance(3000) { r#","minor":true"# } else { r#","minor":false"# });
    if kind == Kind::New || random.chance(5000) {
        put(
            out,
            if random.chance(7000) { r#","patrolled":true"# } else { r#","patrolled":false"# },
        );
    }
    let length = 20 + random.below(90_000);
    let null_length = random.chance(30);
    match kind {
        Kind::New => put(out, r#","length":{"old":null,"new":"#),
        _ if null_length => put(out, r#","length":{"old":null,"new":"#),
        _ => put_number(out, r#","length":{"old":"#, length + random.below(300)),
    }
    match kind {
        Kind::New => {}
        _ if null_length => put(out, "null"),
        _ => put(out, r#","new":"#),
    }
    if kind == Kind::New || !null_length {
        text::number(out, length);
    }
    match kind {
        Kind::New => put(out, r#"},"revision":{"old":null"#),
        _ => put_number(out, r#"},"revision":{"old":"#, old),
    }
    put_number(out, r#","new":"#, new);
    put(out, "}");
}

/// `log_params` is an object, an array (PHP's empty one, mostly) or a string, and ids and types may be null.
pub fn log(out: &mut Vec<u8>, random: &mut Random, has_change_id: bool) {
    let log = random.below(180_000_000);
    if !has_change_id {
        put_number(
            out,
            r#","log_id":0,"log_type":"abusefilter","log_action":"hit","log_params":{"action":"edit","filter":79,"actions":"tag","log":"#,
            log,
        );
        put(
            out,
            r#"},"log_action_comment":"triggered [[Special:AbuseFilter\/79|filter 79]], performing the action \"edit\"""#,
        );
        return;
    }
    if random.chance(300) {
        put(out, r#","log_id":null"#)
    } else {
        put_number(out, r#","log_id":"#, log)
    }
    put(
        out,
        match random.below(5) {
            0 => {
                r#","log_type":"upload","log_action":"upload","log_params":{"img_sha1":"pmkfkgmv0vbyg9yiq8zsz8u8nkzmu1e","img_timestamp":"20260817090000"}"#
            }
            1 => {
                r#","log_type":"move","log_action":"move","log_params":{"target":"Café \"Nord\"","noredir":"0"}"#
            }
            2 => r#","log_type":"patrol","log_action":"patrol","log_params":[]"#,
            3 => {
                r#","log_type":"delete","log_action":"delete","log_params":"4::target\n5::noredir""#
            }
            _ => r#","log_type":null,"log_action":"thank","log_params":["a",1,null]"#,
        },
    );
    put(
        out,
        if random.chance(2000) {
            r#","log_action_comment":null"#
        } else {
            r#","log_action_comment":"uploaded a new version of \"[[File:Example.jpg]]\"""#
        },
    );
}
