//! What `up` shows. On a terminal it is a screen that is drawn again and again in the same place, and that fits into
//! the height of the terminal. Where the output is a pipe or a file, it is a line every few seconds.

use std::time::Instant;

use anyhow::Result;

use crate::chapters;
use crate::screen;
use crate::screen::Region;
use crate::screen::plain;
use crate::up::parts::Parts;
use crate::up::table::Look;

const TROUBLE_ROWS: usize = 4;
const WATCHED: usize = 12;
/// The rate that is shown is the mean of about this time, so that it does not change too much from one moment to the
/// next.
const RATE_SECONDS: f64 = 3.0;

pub struct View {
    region: Option<Region>,
    /// The first lines of the screen. The text above it, with what to try, may have scrolled away.
    title: Vec<String>,
    rate: Rate,
    asked: u64,
}

impl View {
    /// Prints what does not change: where the programs listen, and what to try.
    pub fn new(parts: &Parts) -> Result<Self> {
        let name = chapters::name(parts.chapter);
        let server = parts.server()?.authority();
        let title = match &parts.producer {
            None => format!("{name} runs on {server}"),
            Some(producer) => {
                format!("{name} runs: producer {}, consumer {server}", producer.authority())
            }
        };
        let region = screen::is_interactive().then(Region::new);
        let mut text = String::new();
        if region.is_none() {
            text += &format!("{title}\n");
        }
        if parts.chapter > 1 {
            text += &format!("stream {}\n", parts.stream);
        }
        if let Some(truth) = parts.truth_url() {
            text += &format!("truth  {truth}\n");
        }
        if let Some(topic) = &parts.topic {
            text += &format!("topic  {}\nbroker {}\n", topic.name, topic.describe());
        }
        text += "try it in another terminal:\n";
        for line in parts.curl() {
            text += &format!("  {line}\n");
        }
        text += "\n";
        let _ = screen::print(&text);
        let title = vec![title, "Ctrl-C ends it; commands to try are printed above".to_owned()];
        Ok(Self { region, title, rate: Rate::default(), asked: 0 })
    }

    /// Asks the programs and shows their answers. Returns `false` if the output is a pipe that its reader has closed.
    pub async fn update(&mut self, parts: &mut Parts) -> Result<bool> {
        // Before the counts, which are then ahead of it rather than behind: what is shown as lag is one.
        let written = match &parts.topic {
            Some(topic) => Some(topic.written().await),
            None => None,
        };
        let mut troubles: Vec<String> = parts.troubles().iter().map(|line| plain(line)).collect();
        let (rows, columns) = screen::size();
        if self.region.is_some() {
            // The reason of an error stands at its end, which would be cut.
            let broken =
                troubles.iter().flat_map(|line| screen::broken(line, columns, TROUBLE_ROWS));
            troubles = broken.collect();
        }
        // The last row is the cursor's.
        let rows = rows.saturating_sub(1 + self.title.len() + troubles.len());
        if let Some(stats) = parts.stats().await? {
            // After the counts, which it can then only be ahead of.
            let truth = parts.truth();
            let messages = stats["messages"].as_u64().unwrap_or_default();
            let look = Look {
                rows,
                columns,
                stats: &stats,
                truth: truth.as_ref(),
                rate: self.rate.update(messages),
                written: written.as_ref(),
            };
            let shown = match &mut self.region {
                Some(region) => region.draw(&[&self.title[..], &troubles, &look.table()].concat()),
                None => screen::print(&(joined(&troubles) + &look.line())),
            };
            return Ok(shown.is_ok());
        }
        let asked = Instant::now();
        let response = parts.server()?.get("/status").await?;
        self.asked += 1;
        let took = asked.elapsed().as_secs_f64() * 1000.0;
        let status =
            format!("GET /status -> {}, in {took:.1} ms, {} times", response.text(), self.asked);
        let watched = parts.watched().unwrap_or_default();
        let shown = match &mut self.region {
            Some(region) => {
                let mut lines = [&self.title[..], &troubles, &[status]].concat();
                if parts.chapter > 1 {
                    lines.extend([
                        String::new(),
                        format!("{} watch", chapters::name(parts.chapter)),
                    ]);
                }
                let room = rows.saturating_sub(3).min(WATCHED);
                let last = watched.iter().skip(watched.len().saturating_sub(room));
                lines.extend(last.map(|line| format!("  {}", plain(&line.replace('\t', "  ")))));
                region.draw(&lines)
            }
            None => {
                let last = watched
                    .last()
                    .map(|line| format!("; watch: {}", plain(&line.replace('\t', "  "))));
                let troubles = joined(&troubles);
                screen::print(&format!("{troubles}{status}{}\n", last.unwrap_or_default()))
            }
        };
        Ok(shown.is_ok())
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
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
            self.mix(now.duration_since(then).as_secs_f64(), count.saturating_sub(before));
        }
        self.smoothed
    }

    /// Takes into account that `count` events came in `seconds`.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
    fn mix(&mut self, seconds: f64, count: u64) {
        if seconds > 0.0 {
            let rate = count as f64 / seconds;
            let share = (seconds / RATE_SECONDS).min(1.0);
            self.smoothed = Some(self.smoothed.map_or(rate, |old| old + (rate - old) * share));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
