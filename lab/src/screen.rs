//! Output that comes bit by bit: text shown at once, and a region of the terminal that is redrawn in place.
//! Used by `check` and `up`.

use std::io::IsTerminal;
use std::io::Result;
use std::io::Write;

use rustix::termios::tcgetwinsize;

/// Writes to stdout at once. The error is that of a closed pipe: the reader has seen enough.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

pub fn is_interactive() -> bool {
    std::io::stdout().is_terminal()
}

/// Lines at the end of the terminal, drawn over each other. Dropped, it leaves the last ones and the cursor as it was.
#[derive(Debug, Default)]
pub struct Region {
    drawn: usize,
}

impl Region {
    /// Draws `lines` where the last ones stood, cut to what the terminal can show.
    pub fn draw(&mut self, lines: &[String]) -> Result<()> {
        let (rows, columns) = match tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                (size.ws_row.into(), size.ws_col.into())
            }
            _ => (24, 80),
        };
        // Hidden while it is drawn, so that the cursor does not flicker through the table.
        let mut text = String::from("\x1b[?25l");
        if self.drawn > 0 {
            text += &format!("\r\x1b[{}A", self.drawn);
        }
        // One row is left for the cursor: a region that scrolls can't be drawn over.
        let shown = lines.len().min(rows - 1);
        for line in lines.iter().take(shown) {
            text.extend(line.chars().take(columns - 1));
            text += "\x1b[K\n";
        }
        text += "\x1b[J";
        self.drawn = shown;
        print(&text)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = print("\x1b[?25h");
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
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
