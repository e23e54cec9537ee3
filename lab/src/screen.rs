//! Output that must be seen at once: text, and a region of the terminal that is drawn again and again in the same
//! place. Used by `check` and `up`.

use std::fmt::Display;
use std::io::IsTerminal;
use std::io::Result;
use std::io::Write;

use console::Term;
use console::measure_text_width;
use console::truncate_str;

/// Writes to stdout at once. An error means that stdout is a pipe that its reader has closed.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

pub fn is_interactive() -> bool {
    std::io::stdout().is_terminal()
}

/// The rows of the terminal, and how many characters fit into one.
pub fn size() -> (usize, usize) {
    let (rows, columns) = Term::stdout().size();
    (rows.into(), columns.into())
}

/// Lines at the end of the terminal, each drawing over the one before. When it is dropped, the last lines stay, and the
/// cursor is shown again.
pub struct Region {
    terminal: Term,
    /// The widths of the lines that stand there.
    drawn: Vec<usize>,
}

impl Region {
    pub fn new() -> Self {
        Self { terminal: Term::buffered_stdout(), drawn: Vec::new() }
    }

    /// Draws `lines` in the place of the last ones, cut to the height and the width of the terminal.
    pub fn draw(&mut self, lines: &[String]) -> Result<()> {
        let (rows, columns) = size();
        // Hidden while it is drawn, so that the cursor does not flicker through the table.
        self.terminal.hide_cursor()?;
        self.terminal.move_cursor_up(height(&self.drawn, columns))?;
        self.terminal.clear_to_end_of_screen()?;
        self.drawn.clear();
        // One row is left for the cursor: a region that scrolls can't be drawn over.
        let lines = lines.iter().take(rows.saturating_sub(1));
        let lines: Vec<_> = lines.map(|line| truncate_str(line, columns, "…")).collect();
        self.drawn.extend(lines.iter().map(|line| measure_text_width(line)));
        self.terminal.write_str(&unwrapped(&lines))?;
        self.terminal.flush()
    }
}

/// The lines, with the order to the terminal to break none of them. A terminal may draw a script, such as that of
/// Hindi, wider than we expect, and one row too many would move all that is drawn later.
fn unwrapped(lines: &[impl Display]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("\x1b[?7l{text}\x1b[?7h")
}

/// `text` broken between words into rows of at most `columns`, and at most `rows` of them.
pub fn broken(text: &str, columns: usize, rows: usize) -> Vec<String> {
    let mut broken: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match broken.last_mut() {
            Some(row) if measure_text_width(row) + 1 + measure_text_width(word) <= columns => {
                *row += " ";
                *row += word;
            }
            _ => broken.push(word.to_owned()),
        }
    }
    broken.truncate(rows);
    broken
}

/// How many rows the lines take. A terminal that has become narrower since they were drawn breaks those that no longer
/// fit into several.
fn height(widths: &[usize], columns: usize) -> usize {
    let rows = widths.iter().map(|width| width.div_ceil(columns).max(1));
    rows.sum()
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        let _ = self.terminal.flush();
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `text` without characters that could control a terminal, change the order of the text beside them, or stay
/// invisible, because titles, users and the output of a program under test are written by strangers. As in the
/// chapters, such a character becomes `\u` and four digits.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_harmful(c) {
            plain.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            plain += &format!("\\u{unit:04x}");
        }
    }
    plain
}

/// Control characters, and what Unicode calls Default_Ignorable_Code_Point without the joiners U+200C and U+200D and the
/// variation selectors, which do no harm: names in Persian and in the scripts of India need them, and emoji do.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E00FF}' | '\u{E01F0}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_more_rows_once_the_terminal_is_narrower() {
        let drawn = [60, 0, 12, 61];
        assert_eq!(height(&drawn, 80), 4);
        assert_eq!(height(&drawn, 60), 5);
        assert_eq!(height(&drawn, 30), 2 + 1 + 1 + 3);
        assert_eq!(height(&[], 60), 0);
    }

    #[test]
    fn a_long_line_is_broken_between_words() {
        assert_eq!(broken("no way to 山山 host", 9, 4), ["no way to", "山山 host"]);
        assert_eq!(broken("a longer-than-that b", 9, 2), ["a", "longer-than-that"]);
    }

    #[test]
    fn terminal_breaks_no_line_of_a_region_and_breaks_lines_again_afterwards() {
        assert_eq!(unwrapped(&["a", "b"]), "\x1b[?7la\nb\n\x1b[?7h");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_obeyed() {
        let text = "a\x1b[31mb\tc\u{9b}\u{202e}\u{2066}\u{2028}\u{3164}\u{e0041}";
        let shown = r"a\u001b[31mb\u0009c\u009b\u202e\u2066\u2028\u3164\udb40\udc41";
        assert_eq!(plain(text), shown);
        let text = "東京 می\u{200c}خواهم 👩\u{200d}🚀";
        assert_eq!(plain(text), text);
    }
}
