//! What a program has counted, compared with what was sent. Used by `check` and `bench`.

use anyhow::Result;
use anyhow::bail;
use serde_json::Map;
use serde_json::Value;

/// The fields of `/stats` that must be the truth's; `by_user` comes with a later chapter, and holds the first users only.
const FIELDS: [&str; 5] = ["messages", "distinct_users", "bots", "non_bots", "by_domain"];

/// # Errors
/// Names the first field that differs; of an object, the first name.
pub fn compare(stats: &Value, truth: &Value) -> Result<()> {
    for field in FIELDS {
        let (counted, expected) = (&stats[field], &truth[field]);
        if counted == expected {
            continue;
        }
        if let (Some(counted), Some(expected)) = (counted.as_object(), expected.as_object()) {
            let mut names = expected.keys().chain(counted.keys());
            let name = names.find(|name| counted.get(*name) != expected.get(*name));
            let shown = |totals: &Map<String, Value>| {
                let value = name.and_then(|name| totals.get(name));
                value.map_or("nothing".to_owned(), Value::to_string)
            };
            bail!(
                "{field}, {}: {} counted, {} sent",
                name.map_or("", String::as_str),
                shown(counted),
                shown(expected)
            );
        }
        bail!("{field}: {counted} counted, {expected} sent");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn totals() -> Value {
        json!({
            "messages": 3, "distinct_users": 2, "bots": 1, "non_bots": 2,
            "by_domain": {"a": 1, "b": 2}, "by_user": {"x": 2, "y": 1},
        })
    }

    #[test]
    fn totals_that_are_the_truth_pass_with_or_without_users() {
        let mut stats = totals();
        assert!(compare(&stats, &totals()).is_ok());
        stats.as_object_mut().unwrap().remove("by_user");
        assert!(compare(&stats, &totals()).is_ok());
    }

    #[test]
    fn any_field_that_differs_is_named() {
        for field in ["messages", "distinct_users", "bots", "non_bots"] {
            let mut stats = totals();
            stats[field] = json!(7);
            let error = compare(&stats, &totals()).unwrap_err().to_string();
            assert!(error.contains(&format!("{field}: 7 counted")), "{error}");
        }
        let mut stats = totals();
        stats["by_domain"]["c"] = json!(1);
        let error = compare(&stats, &totals()).unwrap_err().to_string();
        assert!(error.contains("c: 1 counted, nothing sent"), "{error}");
    }
}
