//! What `up` shows: a table that grows in place on a terminal, else a line every few seconds.

use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::parts::Parts;
use crate::chapters;
use crate::screen;
use crate::screen::Region;
use crate::screen::grouped;
use crate::screen::plain;

const DOMAINS: usize = 8;
const WATCHED: usize = 12;
/// The rate shown is the mean of about this long, so that it does not dance.
const RATE_SECONDS: f64 = 3.0;

pub struct View {
    region: Option<Region>,
    rate: Rate,
    asked: u64,
}

impl View {
    /// Prints what does not change: where it runs, and what to try.
    pub fn new(parts: &Parts) -> Result<Self> {
        let name = chapters::name(parts.chapter);
        let mut text = format!("{name} runs on {}\n", parts.client.base());
        if parts.chapter > 1 {
            text += &format!("stream {}\n", parts.stream);
        }
        if let Some(truth) = parts.truth_url() {
            text += &format!("truth  {truth}\n");
        }
        text += "try it in another terminal:\n";
        for line in parts.curl() {
            text += &format!("  {line}\n");
        }
        text += "Ctrl-C ends all of it.\n\n";
        let _ = screen::print(&text);
        Ok(Self {
            region: screen::is_interactive().then(Region::default),
            rate: Rate::default(),
            asked: 0,
        })
    }

    /// Asks and shows. The inner result is that of printing: an error there is a closed pipe.
    pub async fn update(&mut self, parts: &mut Parts) -> Result<std::io::Result<()>> {
        if let Some(stats) = parts.stats().await? {
            // After the counts, which it can then only be ahead of.
            let truth = parts.truth();
            let rate = self.rate.update(number(&stats, "messages"));
            return Ok(match &mut self.region {
                Some(region) => region.draw(&table(&stats, truth.as_ref(), rate)),
                None => screen::print(&line(&stats, truth.as_ref(), rate)),
            });
        }
        let asked = Instant::now();
        let response = parts.client.get("/status").await?;
        self.asked += 1;
        let took = asked.elapsed().as_secs_f64() * 1000.0;
        let status = format!(
            "GET /status -> {}, in {took:.1} ms, {} times",
            response.text(),
            self.asked
        );
        let watched = parts.watched().unwrap_or_default();
        Ok(match &mut self.region {
            Some(region) => {
                let mut lines = vec![status];
                if parts.chapter > 1 {
                    lines.extend([
                        String::new(),
                        format!("{} watch", chapters::name(parts.chapter)),
                    ]);
                }
                let last = watched.iter().skip(watched.len().saturating_sub(WATCHED));
                lines.extend(last.map(|line| format!("  {}", plain(&line.replace('\t', "  ")))));
                region.draw(&lines)
            }
            None => {
                let last = watched
                    .last()
                    .map(|line| format!("; watch: {}", plain(&line.replace('\t', "  "))));
                screen::print(&format!("{status}{}\n", last.unwrap_or_default()))
            }
        })
    }
}

/// Events a second, smoothed.
#[derive(Default)]
struct Rate {
    last: Option<(Instant, u64)>,
    smoothed: Option<f64>,
}

impl Rate {
    fn update(&mut self, count: u64) -> Option<f64> {
        let now = Instant::now();
        if let Some((then, before)) = self.last.replace((now, count)) {
            self.mix(
                now.duration_since(then).as_secs_f64(),
                count.saturating_sub(before),
            );
        }
        self.smoothed
    }

    /// Takes in that `count` events came in `seconds`.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
    fn mix(&mut self, seconds: f64, count: u64) {
        if seconds > 0.0 {
            let rate = count as f64 / seconds;
            let share = (seconds / RATE_SECONDS).min(1.0);
            self.smoothed = Some(self.smoothed.map_or(rate, |old| old + (rate - old) * share));
        }
    }
}

fn number(stats: &Value, field: &str) -> u64 {
    stats[field].as_u64().unwrap_or_default()
}

/// The domains with the most events, highest first.
fn top_domains(stats: &Value) -> Vec<(&str, u64)> {
    let domains = stats["by_domain"].as_object().into_iter().flatten();
    let mut domains: Vec<(&str, u64)> = domains
        .map(|(domain, count)| (domain.as_str(), count.as_u64().unwrap_or_default()))
        .collect();
    domains.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    domains.truncate(DOMAINS);
    domains
}

fn shown(rate: Option<f64>) -> String {
    rate.map_or_else(|| "…".to_owned(), |rate| format!("{rate:.0}"))
}

fn table(stats: &Value, truth: Option<&Value>, rate: Option<f64>) -> Vec<String> {
    let row = |name: &str, count: u64, sent: Option<u64>| {
        let sent = sent.map(grouped).unwrap_or_default();
        format!("{:<32}{:>14}{sent:>14}", plain(name), grouped(count))
    };
    let heading = if truth.is_some() { "sent" } else { "" };
    let mut lines = vec![format!("{:<32}{:>14}{heading:>14}", "", "/stats")];
    for (name, field) in [
        ("messages", "messages"),
        ("  bots", "bots"),
        ("  non-bots", "non_bots"),
        ("distinct users", "distinct_users"),
    ] {
        lines.push(row(
            name,
            number(stats, field),
            truth.map(|truth| number(truth, field)),
        ));
    }
    lines.push(format!("{:<32}{:>14}", "messages a second", shown(rate)));
    let domains = stats["by_domain"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    lines.push(String::new());
    lines.push(format!(
        "the busiest of {} domains",
        grouped(domains as u64)
    ));
    for (domain, count) in top_domains(stats) {
        let sent = truth.map(|truth| number(&truth["by_domain"], domain));
        lines.push(row(&format!("  {domain}"), count, sent));
    }
    lines
}

fn line(stats: &Value, truth: Option<&Value>, rate: Option<f64>) -> String {
    let sent = truth.map(|truth| format!(" of {} sent", grouped(number(truth, "messages"))));
    let domains: Vec<String> = top_domains(stats)
        .iter()
        .take(3)
        .map(|(domain, count)| format!("{} {}", plain(domain), grouped(*count)))
        .collect();
    format!(
        "messages {}{}, {} a second, bots {}, non-bots {}, users {}; {}\n",
        grouped(number(stats, "messages")),
        sent.unwrap_or_default(),
        shown(rate),
        grouped(number(stats, "bots")),
        grouped(number(stats, "non_bots")),
        grouped(number(stats, "distinct_users")),
        domains.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats() -> Value {
        json!({
            "messages": 1234, "distinct_users": 300, "bots": 234, "non_bots": 1000,
            "by_domain": {"b.org": 17, "a.org": 17, "en.wikipedia.org": 1200},
        })
    }

    #[test]
    fn the_table_shows_each_count_beside_what_was_sent() {
        let lines = table(
            &stats(),
            Some(&json!({"messages": 1240, "by_domain": {"a.org": 18}})),
            Some(39.6),
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("messages ") && line.ends_with("1,234         1,240"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("messages a second") && line.ends_with("40"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("  a.org") && line.ends_with("17            18"))
        );
    }

    #[test]
    fn domains_come_highest_first_and_ties_by_name() {
        assert_eq!(
            top_domains(&stats()),
            [("en.wikipedia.org", 1200), ("a.org", 17), ("b.org", 17)]
        );
    }

    #[test]
    fn without_a_terminal_it_is_one_line() {
        let text = line(&stats(), None, None);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.starts_with("messages 1,234, … a second, bots 234, non-bots 1,000, users 300; en.wikipedia.org 1,200"));
    }

    #[test]
    fn the_rate_follows_what_comes() {
        let mut rate = Rate::default();
        rate.mix(0.5, 50);
        assert_eq!(rate.smoothed, Some(100.0));
        for _ in 0..100 {
            rate.mix(0.5, 0);
        }
        assert!(rate.smoothed.unwrap() < 0.001);
    }
}
