//! What the generator draws from: titles and phrases in several scripts, names, sizes. Texts stand here as they stand
//! in JSON, so that writing one is one copy.

use crate::replay::text;
use crate::replay::text::Random;

pub struct Title {
    pub json: &'static str,
    /// As in a URL: spaces are underscores, the rest is percent-encoded.
    pub path: String,
}

const TITLES: &[&str] = &[
    "Willow Smith",
    "EFL Championship",
    "Lim Sang-choon",
    "Higher",
    "List of rivers of Norway",
    "2023 in film",
    "Café de Flore",
    "Ærøskøbing",
    "Gdańsk Główny",
    "Đorđe Balašević",
    "İstanbul",
    "Sigur Rós (plötur)",
    "Nguyễn Trãi",
    "Война и мир",
    "Список городов России",
    "Київ",
    "Български език",
    "Ελληνική μυθολογία",
    "Հայաստան",
    "საქართველო",
    "القاهرة الكبرى",
    "تاریخ ایران",
    "היסטוריה של ירושלים",
    "हिन्दी साहित्य",
    "বাংলা ভাষা",
    "தமிழ் இலக்கியம்",
    "ประเทศไทย",
    "東京都立大学",
    "中華人民共和國行政區劃",
    "대한민국의 역사",
    "\\\"Heroes\\\" (David Bowie album)",
    "AC\\/DC discography",
    "C:\\\\Windows",
    "Who\\u2019s Afraid of Virginia Woolf?",
    "Rock & roll <disambiguation>",
    "🐉 (emoji)",
    "\\ud83d\\ude80 and other signs",
    "100% Wolf",
    "Tom + Jerry",
    "Back\\tup",
];

pub fn titles() -> Vec<Title> {
    TITLES.iter().map(|json| Title { json, path: path(json) }).collect()
}

fn path(json: &str) -> String {
    let title: String = serde_json::from_str(&format!("\"{json}\"")).unwrap_or_default();
    title.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b' ' => path.push('_'),
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'('
            | b')'
            | b':'
            | b'/'
            | b',' => path.push(byte as char),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

/// What comments are made of. None is longer than `FILLER`.
pub const PHRASES: &[&str] = &[
    "/* League champions, runners-up and play-off finalists */ ",
    "added to category ",
    "removed from category ",
    "Reverted 1 edit by [[Special:Contributions\\/203.0.113.7|203.0.113.7]] ",
    "copyedit, ",
    "rvv ",
    "fixing a dead link; ",
    "[[WP:AES|\\u2190]]Replaced content with '<div class=\\\"empty\\\"><\\/div>' ",
    "Cite web: |title=\\\"Untitled\\\" |date=2019 ",
    "/* wbsetclaim-create:2||1 */ [[Property:P31]]: [[Q5]], ",
    "/* wbeditentity-update:0| */ batch \\/ maintenance, ",
    "<span class=\\\"autocomment\\\">External links: <\\/span> ",
    "<a href=\\\"\\/wiki\\/Help:Contents\\\" title=\\\"Help:Contents\\\">help<\\/a> ",
    "правка орфографии; ",
    "отмена правки участника, ",
    "تصنيف آلي ",
    "修正連結與格式，",
    "テンプレートの更新 ",
    "링크 수정 ",
    "Überarbeitung der Einzelnachweise, ",
    "mise à jour de l’infobox ",
    "विकिडेटा से जोड़ा ",
    "התאמה לתבנית ",
    "😀 thanks! ",
    "\\ud83d\\udc4d ok\\n",
];
pub const FILLER: &[u8] =
    b"and some plain words at the end, so that the size of the whole comes out as drawn from the measured distribution";

/// Names of one kind each, all different; `user` numbers them further.
const BOTS: &[&str] = &[
    "SchlurcherBot",
    "InternetArchiveBot",
    "BotMultichill",
    "LargeDatasetBot",
    "Listeria Bot",
    "CommonsDelinker",
];
const PEOPLE: &[&str] = &[
    "Preferwiki",
    "Ss112",
    "J0cj0cj0c",
    "María José",
    "Ярослав",
    "王小明",
    "山田太郎",
    "Ren\\u00e9",
    "O\\\"Neill",
    "محمد",
    "Zoë 🐝",
    "Żółw",
    "Back\\\\slash",
    "Παύλος",
    "दीपक",
    "A.B.C.",
    "Müller & Söhne",
    "x",
    "Long-Name-With-Many-Parts-And-Then-Some",
    "김철수",
];

/// The name of user number `index`, of which the first `bots` are bots: a function of the number, so that a population
/// of millions costs no memory. Never the same for two numbers.
pub fn user(out: &mut Vec<u8>, index: u32, bots: u32) {
    let (list, rank) = if index < bots { (BOTS, index) } else { (PEOPLE, index - bots) };
    if let Some(name) = list.get(rank as usize) {
        return out.extend_from_slice(name.as_bytes());
    }
    let scattered = rank.wrapping_mul(0x9E37_79B1);
    let kind = if index < bots { u32::MAX } else { (scattered >> 16) % 100 };
    match kind {
        0..4 => {
            // Multiplying by an odd number is one to one on 32 bits.
            for (at, byte) in scattered.to_be_bytes().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                text::number(out, u64::from(byte));
            }
        }
        4..8 => {
            out.extend_from_slice(b"2A01:E0A:1C8:9A00:F0C3:F1E2:");
            out.extend_from_slice(format!("{:X}:{:X}", rank >> 16, rank & 0xFFFF).as_bytes());
        }
        8..14 => {
            out.extend_from_slice(b"~2026-");
            text::number(out, u64::from(rank));
        }
        _ => {
            out.extend_from_slice(list[rank as usize % list.len()].as_bytes());
            out.push(b'-');
            text::number(out, u64::from(rank));
        }
    }
}

/// Sizes in bytes, a thousand equally likely ones: what was measured (p50 1,356, p95 2,078, mean 1,423, max 5,582),
/// with straight lines between.
pub fn sizes() -> Vec<u16> {
    const CURVE: [(usize, usize); 9] = [
        (0, 760),
        (50, 930),
        (250, 1130),
        (500, 1356),
        (750, 1540),
        (950, 2078),
        (990, 2700),
        (999, 4300),
        (1000, 5582),
    ];
    let between = |pair: &[(usize, usize)]| {
        let ((from, low), (to, high)) = (pair[0], pair[1]);
        (from..to)
            .map(move |at| (low + (high - low) * (at - from + 1) / (to - from)) as u16)
            .collect::<Vec<_>>()
    };
    CURVE.windows(2).flat_map(between).collect()
}

/// Exactly `length` bytes of comment.
pub fn prose(out: &mut Vec<u8>, random: &mut Random, length: usize) {
    let end = out.len() + length;
    loop {
        let phrase = random.pick(PHRASES).as_bytes();
        if out.len() + phrase.len() > end {
            break;
        }
        out.extend_from_slice(phrase);
    }
    out.extend_from_slice(&FILLER[..end - out.len()]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_are_json_and_short_enough_to_fill_up() {
        for text in TITLES.iter().chain(PHRASES).chain(BOTS).chain(PEOPLE) {
            assert!(serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok(), "{text}");
            assert!(text.len() <= FILLER.len(), "{text}");
        }
    }

    #[test]
    fn no_two_users_have_one_name() {
        let mut names = HashSet::new();
        for index in 0..50_000 {
            let mut name = b"\"".to_vec();
            user(&mut name, index, 500);
            name.push(b'"');
            assert!(names.insert(serde_json::from_slice::<String>(&name).unwrap()), "{index}");
        }
    }
}
