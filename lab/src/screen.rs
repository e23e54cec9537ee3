//! Output that comes bit by bit: text shown at once, and a region of the terminal that is redrawn in place.
//! Used by `check` and `up`.

use std::io::IsTerminal;
use std::io::Result;
use std::io::Write;

use console::Term;
use console::measure_text_width;
use console::truncate_str;

/// Writes to stdout at once. The error is that of a closed pipe: the reader has seen enough.
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

/// Lines at the end of the terminal, drawn over each other. Dropped, it leaves the last ones and the cursor as it was.
pub struct Region {
    terminal: Term,
    /// The widths of the lines that stand there.
    drawn: Vec<usize>,
}

impl Region {
    pub fn new() -> Self {
        Self { terminal: Term::buffered_stdout(), drawn: Vec::new() }
    }

    /// Draws `lines` where the last ones stood, cut to what the terminal can show.
    pub fn draw(&mut self, lines: &[String]) -> Result<()> {
        let (rows, columns) = size();
        // Hidden while it is drawn, so that the cursor does not flicker through the table.
        self.terminal.hide_cursor()?;
        self.terminal.move_cursor_up(height(&self.drawn, columns))?;
        self.terminal.clear_to_end_of_screen()?;
        self.drawn.clear();
        // One row is left for the cursor: a region that scrolls can't be drawn over.
        for line in lines.iter().take(rows.saturating_sub(1)) {
            let line = truncate_str(line, columns, "…");
            self.terminal.write_line(&line)?;
            self.drawn.push(measure_text_width(&line));
        }
        self.terminal.flush()
    }
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

/// `text` without what could steer a terminal: titles and users are written by strangers.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn an_escape_sequence_loses_its_escape() {
        assert_eq!(plain("a\x1b[31mb\tc"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
