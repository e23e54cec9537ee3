//! A table in plain text: columns as wide as their widest cell, numbers to the right.

use std::time::Duration;

use console::Alignment;
use console::measure_text_width;
use console::pad_str;

/// The first and the last column are words, set to the left.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| measure_text_width(cell));
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let is_words = column == 0 || column + 1 == columns;
            let side = if is_words { Alignment::Left } else { Alignment::Right };
            line += &pad_str(cell, widths[column], side, None);
            line += "  ";
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number with `decimals` digits behind the point, or a dash where it is not known.
pub fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A time in milliseconds, or a dash where it is not known.
pub fn millis(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = render(&[row(["", "events", ""]), row(["reading", "7", "good"])]);
        assert_eq!(text, "         events\nreading       7  good\n");
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!(number(None, 1), "-");
        assert_eq!(number(Some(1.26), 1), "1.3");
    }
}
