//! Makes text that a stranger wrote safe to show, on a terminal and in the log.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with `\u` and four hexadecimal digits in place of each character that could steer the terminal, end the
/// line, change the order of the text beside it, or hide in it. JSON writes a character like this too, so printable
/// JSON is still the same JSON. All other text stays as it is, in any script, and so do emoji.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return text.into();
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_harmful(c) {
            printable.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String never fails.
            _ = write!(printable, "\\u{unit:04x}");
        }
    }
    printable.into()
}

/// The joiners U+200C and U+200D are not harmful: Persian and the scripts of India need them, and so do many emoji.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Invisible: the soft hyphen, the Mongolian vowel separator, the zero width space, the byte order mark.
            '\u{AD}' | '\u{180E}' | '\u{200B}' | '\u{FEFF}'
            // They change the direction of the text.
            | '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}'
            // They end a line or a paragraph.
            | '\u{2028}' | '\u{2029}'
            // Invisible, or they change the direction: the word joiner, the isolates, and others that few fonts know.
            | '\u{2060}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}'
            // Tags: invisible copies of all ASCII characters.
            | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_steer_reorder_or_hide_are_escaped() {
        let text = "a\u{1b}[31m\n\u{7f}\u{9b}2J\u{202e}b\u{2066}\u{2028}\u{200b}\u{feff}\u{e0041}";
        let expected =
            r"a\u001b[31m\u000a\u007f\u009b2J\u202eb\u2066\u2028\u200b\ufeff\udb40\udc41";
        assert_eq!(printable(text), expected);
    }

    #[test]
    fn text_in_any_script_and_emoji_stay_as_they_are() {
        for text in [
            "Köln – “¿qué?”",
            "東京都\u{3000}大阪",
            "می\u{200c}خواهم",
            "👩\u{200d}🚀 ❤\u{fe0f}",
            "e\u{301}",
            r#"\u{"}"#,
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn printable_json_is_the_same_json() {
        let text = "'\u{9b}\u{202e}\u{e0041}\u{2028}\u{7f}\n\"\\";
        let json = serde_json::to_string(text).unwrap();
        let read: String = serde_json::from_str(&printable(&json)).unwrap();
        assert_eq!(read, text);
    }
}
