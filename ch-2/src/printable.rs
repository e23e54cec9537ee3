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

/// Control characters, what ends a line or a paragraph, marks of annotations, and what Unicode calls
/// Default_Ignorable_Code_Point: it is invisible, or it changes the direction of the text. Of these, the joiners U+200C and
/// U+200D and the variation selectors are not harmful: Persian and the scripts of India, of Mongolia and of Japan need them,
/// and so do many emoji.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}' | '\u{FFF9}'..='\u{FFFB}'
            // The rest is from DerivedCoreProperties.txt, with all that is reserved for the future.
            | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E00FF}' | '\u{E01F0}'..='\u{E0FFF}')
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
    fn invisible_characters_are_escaped() {
        for c in "\u{ad}\u{34f}\u{115f}\u{1160}\u{17b4}\u{180e}\u{3164}\u{ffa0}\u{fff0}\u{1bca0}\u{1d173}\u{e0fff}".chars() {
            assert!(printable(&c.to_string()).starts_with("\\u"), "{c:?}");
        }
    }

    #[test]
    fn text_in_any_script_and_emoji_stay_as_they_are() {
        for text in [
            "Köln – “¿qué?”",
            "東京都\u{3000}大阪",
            "می\u{200c}خواهم",
            "👩\u{200d}🚀 ❤\u{fe0f}",
            "e\u{301} 葛\u{e0100} ᠭ\u{180b}",
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
