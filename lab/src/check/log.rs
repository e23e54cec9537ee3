//! Finds out what a line of a program's log says, whatever words and whatever format the program uses.

/// Whether `line` names the topic, and has all of `wanted` among its other numbers.
pub fn names(line: &str, topic: &str, wanted: &[u64]) -> bool {
    let rest = line.replace(topic, " ");
    let found = numbers(&rest);
    rest != line && wanted.iter().all(|number| found.contains(number))
}

/// Whether a line tells that `count` messages were passed over.
pub fn tells_skipped(line: &str, count: u64) -> bool {
    let words = ["skip", "reject", "bad", "invalid", "malformed", "decod", "undecodable", "poison"];
    let lower = line.to_lowercase();
    words.iter().any(|word| lower.contains(word)) && numbers(line).contains(&count)
}

/// Whether a line tells that `count` messages were gone before they were read.
pub fn tells_gone(line: &str, count: u64) -> bool {
    let words = ["gone", "deleted", "missed", "lost"];
    let lower = line.to_lowercase();
    words.iter().any(|word| lower.contains(word)) && numbers(line).contains(&count)
}

/// The whole numbers in a text; those of a clock, as `09`, are none.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| *digits == "0" || !digits.starts_with('0'))
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_any_form_of_log_and_only_whole() {
        let topic = "lab-check-5-1234";
        let lines = [
            r#"2026-01-01T09:00:05Z  WARN topic="lab-check-5-1234" partition=5 offset=1234 cannot decode"#,
            r#"{"msg":"skipped","topic":"lab-check-5-1234","partition":5,"offset":1234}"#,
            "skipping lab-check-5-1234 [5] at offset 1234",
            "bad message lab-check-5-1234/5@1234",
        ];
        for line in lines {
            assert!(names(line, topic, &[5, 1234]), "{line}");
        }
        let lines = [
            r#"topic="lab-check-5-1234" cannot decode"#,
            r#"topic="lab-check-5-1234" partition=5 offset=12345"#,
            "partition=5 offset=1234",
            "2026-01-01T09:00:05Z lab-check-5-1234 offset=1234",
        ];
        for line in lines {
            assert!(!names(line, topic, &[5, 1234]), "{line}");
        }
    }
}
