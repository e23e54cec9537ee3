//! What `up` shows of a chapter from ch-3 on, as a table or as a line: each count of `/stats` beside what was sent.

use console::Alignment;
use console::pad_str;
use serde_json::Value;

use crate::broker::EMBEDDED_LIMIT;
use crate::screen::grouped;
use crate::screen::plain;
use crate::up::topic::Written;

/// How many domains are shown where they stand alone, and how many domains and users where they share the screen.
const MOST: usize = 8;
const MOST_OF_EACH: usize = 5;
/// The widths of the columns, where the terminal has room for them.
const NAME: usize = 32;
const NUMBER: usize = 14;

/// All that is shown at one moment.
pub struct Look<'a> {
    /// How many lines the table may have, and how wide it may be.
    pub rows: usize,
    pub columns: usize,
    pub stats: &'a Value,
    /// What a correct program has counted; of the live stream nobody knows it.
    pub truth: Option<&'a Value>,
    pub rate: Option<f64>,
    /// What is in the topic, from ch-5 on; an error if the broker does not answer.
    pub written: Option<&'a anyhow::Result<Written>>,
}

impl Look<'_> {
    pub fn table(&self) -> Vec<String> {
        let heading = if self.truth.is_some() { "sent" } else { "" };
        let mut lines = vec![self.cells("", "/stats", heading)];
        for (name, field) in [
            ("messages", "messages"),
            ("  bots", "bots"),
            ("  non-bots", "non_bots"),
            ("distinct users", "distinct_users"),
        ] {
            let sent = self.truth.map(|truth| number(truth, field));
            lines.push(self.row(name, number(self.stats, field), sent));
        }
        lines.push(self.cells("messages a second", &shown(self.rate), ""));
        lines.extend(self.topic());
        let has_users = self.stats["by_user"].is_object();
        // A list has an empty line and a heading, too.
        let (lists, most) = if has_users { (2, MOST_OF_EACH) } else { (1, MOST) };
        let room = self.rows.saturating_sub(lines.len()) / lists;
        let most = room.saturating_sub(2).clamp(1, most);
        let domains = self.stats["by_domain"].as_object();
        let domains = grouped(domains.map_or(0, serde_json::Map::len) as u64);
        let heading = format!("the busiest of {domains} domains");
        lines.extend(self.busiest(&heading, "by_domain", most));
        if has_users {
            lines.extend(self.busiest("the busiest users", "by_user", most));
        }
        lines
    }

    pub fn line(&self) -> String {
        let sent = |truth| format!(" of {} sent", grouped(number(truth, "messages")));
        let lag = match self.written {
            None => String::new(),
            Some(Ok(written)) => {
                let dropped = match written.dropped {
                    0 => String::new(),
                    dropped => format!(", {}", dropped_words(dropped)),
                };
                format!(", lag {}{dropped}", grouped(self.lag(written)))
            }
            Some(Err(error)) => format!(", lag unknown: {}", plain(&format!("{error:#}"))),
        };
        let mut parts = Vec::new();
        for (field, most) in [("by_domain", 3), ("by_user", 2)] {
            let top = top(self.stats, field, most).into_iter();
            let top = top.map(|(name, count)| format!("{} {}", plain(name), grouped(count)));
            parts.push(top.collect::<Vec<_>>().join(", "));
        }
        parts.retain(|part| !part.is_empty());
        let most = parts.iter().map(|part| format!("; {part}"));
        format!(
            "messages {}{}, {} a second, bots {}, non-bots {}, users {}{lag}{}\n",
            grouped(number(self.stats, "messages")),
            self.truth.map(sent).unwrap_or_default(),
            shown(self.rate),
            grouped(number(self.stats, "bots")),
            grouped(number(self.stats, "non_bots")),
            grouped(number(self.stats, "distinct_users")),
            most.collect::<String>(),
        )
    }

    /// How many records are not counted yet: the topic was empty at the start, and its consumer counts all of it.
    fn lag(&self, written: &Written) -> u64 {
        written.records.saturating_sub(number(self.stats, "messages"))
    }

    fn topic(&self) -> Vec<String> {
        let written = match self.written {
            None => return Vec::new(),
            Some(Err(error)) => {
                return vec![format!("lag unknown: {}", plain(&format!("{error:#}")))];
            }
            Some(Ok(written)) => written,
        };
        let mut lines = vec![
            self.row("written to the topic", written.records, None),
            self.row("lag: written, not counted yet", self.lag(written), None),
        ];
        if written.dropped > 0 {
            lines.push(dropped_words(written.dropped));
        }
        lines
    }

    fn busiest(&self, heading: &str, field: &str, most: usize) -> Vec<String> {
        let mut lines = vec![String::new(), heading.to_owned()];
        for (name, count) in top(self.stats, field, most) {
            // Of users, the truth too names only the first.
            let sent = self.truth.and_then(|truth| truth[field][name].as_u64());
            lines.push(self.row(&format!("  {name}"), count, sent));
        }
        lines
    }

    fn row(&self, name: &str, count: u64, sent: Option<u64>) -> String {
        let sent = sent.map(grouped).unwrap_or_default();
        self.cells(&plain(name), &grouped(count), &sent)
    }

    /// A name and two numbers. Where the terminal is narrow, the name is cut and never a number.
    fn cells(&self, name: &str, count: &str, sent: &str) -> String {
        let width = self.columns.saturating_sub(2 * NUMBER).min(NAME);
        let name = pad_str(name, width, Alignment::Left, Some("…"));
        let row = format!("{name}{count:>NUMBER$}{sent:>NUMBER$}");
        row.trim_end().to_owned()
    }
}

fn dropped_words(dropped: u64) -> String {
    let dropped = grouped(dropped);
    format!("{dropped} dropped: the broker in memory keeps {EMBEDDED_LIMIT}")
}

fn number(stats: &Value, field: &str) -> u64 {
    stats[field].as_u64().unwrap_or_default()
}

/// The names with the most events, highest first.
fn top<'a>(stats: &'a Value, field: &str, most: usize) -> Vec<(&'a str, u64)> {
    let names = stats[field].as_object().into_iter().flatten();
    let mut names: Vec<(&str, u64)> =
        names.map(|(name, count)| (name.as_str(), count.as_u64().unwrap_or_default())).collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    names.truncate(most);
    names
}

fn shown(rate: Option<f64>) -> String {
    rate.map_or_else(|| "…".to_owned(), |rate| format!("{rate:.0}"))
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use serde_json::json;

    use super::*;

    fn stats() -> Value {
        json!({
            "messages": 1234, "distinct_users": 300, "bots": 234, "non_bots": 1000,
            "by_domain": {"b.org": 17, "a.org": 17, "en.wikipedia.org": 1200},
        })
    }

    fn look(stats: &Value) -> Look<'_> {
        Look { rows: 23, columns: 80, stats, truth: None, rate: None, written: None }
    }

    fn has(lines: &[String], start: &str, end: &str) -> bool {
        let is_it = |line: &String| line.starts_with(start) && line.ends_with(end);
        lines.iter().any(is_it)
    }

    #[test]
    fn table_shows_each_count_beside_what_was_sent() {
        let truth = json!({"messages": 1240, "by_domain": {"a.org": 18}});
        let lines = Look { truth: Some(&truth), rate: Some(39.6), ..look(&stats()) }.table();
        assert!(has(&lines, "messages ", "1,234         1,240"));
        assert!(has(&lines, "messages a second", "40"));
        assert!(has(&lines, "  a.org", "17            18"));
        assert!(!has(&lines, "lag", "") && !has(&lines, "the busiest users", ""));
    }

    #[test]
    fn users_and_lag_are_shown_where_there_are_any_and_fit_a_small_terminal() {
        let mut stats = stats();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        stats["by_user"] = names.map(|name| (name, 7)).into_iter().collect();
        stats["by_domain"] = names.map(|name| (name, 8)).into_iter().collect();
        let truth = json!({"by_user": {"a": 9}});
        let written = Ok(Written { records: 1240, dropped: 10 });
        let look = Look { truth: Some(&truth), written: Some(&written), ..look(&stats) };
        let lines = look.table();
        assert!(has(&lines, "written to the topic", " 1,240"));
        assert!(has(&lines, "lag: written, not counted yet", " 6"));
        assert!(has(&lines, "10 dropped: ", "5 MiB a partition"));
        assert!(has(&lines, "  a ", "7             9"));
        assert!(has(&lines, "  b ", " 7"), "not among the truth's first");
        assert!(has(&lines, "  e ", "") && !has(&lines, "  f ", ""));
        assert!(lines.len() <= 23, "{}", lines.len());
        let line = look.line();
        assert!(
            line.contains(", lag 6, 10 dropped: ") && line.ends_with("; a 8, b 8, c 8; a 7, b 7\n")
        );
        let lines = Look { rows: 16, ..look }.table();
        assert!(has(&lines, "  a ", "7             9"));
        assert!(lines.len() <= 16, "{}", lines.len());
    }

    #[test]
    fn narrow_terminal_costs_a_name_its_end_and_no_number_a_digit() {
        let mut stats = stats();
        stats["by_domain"] = json!({"a-very-long-name-of-a-wiki.example.org": 1_234_567});
        let truth = json!({"messages": 1_234_567, "by_domain": stats["by_domain"]});
        for columns in [40, 59, 60, 80] {
            let lines = Look { columns, truth: Some(&truth), ..look(&stats) }.table();
            assert!(has(&lines, "", " 1,234     1,234,567"), "{lines:?}");
            assert!(has(&lines, "", " 1,234,567     1,234,567"), "{lines:?}");
            let widest = lines.iter().map(|line| measure_text_width(line)).max();
            assert!(widest <= Some(columns), "{lines:?}");
        }
    }

    #[test]
    fn broker_that_does_not_tell_is_said() {
        let stats = stats();
        let unknown = Err(anyhow::anyhow!("no\x1banswer"));
        let look = Look { written: Some(&unknown), ..look(&stats) };
        assert!(has(&look.table(), "lag unknown: no\\u001banswer", ""));
        assert!(look.line().contains(", lag unknown: no"));
    }

    #[test]
    fn names_come_highest_first_and_ties_by_name() {
        assert_eq!(top(&stats(), "by_domain", 2), [("en.wikipedia.org", 1200), ("a.org", 17)]);
    }

    #[test]
    fn without_a_terminal_it_is_one_line() {
        let text = look(&stats()).line();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.starts_with("messages 1,234, … a second, bots 234, non-bots 1,000, users 300; en.wikipedia.org 1,200"));
    }
}
