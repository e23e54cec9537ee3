//! `by_user` of `/stats`, whose order counts.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;

use crate::client::Response;

/// The object `by_user` in the order that it has in the JSON text.
struct Ranking(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Ranking {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Ranking;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of names and counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ranking, A::Error> {
                let mut users = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    users.push(entry);
                }
                Ok(Ranking(users))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `by_user` of an answer to `/stats`.
pub fn of(response: &Response) -> Result<Vec<(String, u64)>> {
    #[derive(Deserialize)]
    struct Stats {
        by_user: Ranking,
    }
    response.has_status(200).context("GET /stats")?;
    let stats: Stats = serde_json::from_slice(&response.body).with_context(|| {
        let text = response.text();
        format!("no by_user of names and counts in {text}")
    })?;
    Ok(stats.by_user.0)
}

/// The first difference between two rankings.
pub fn same(came: &[(String, u64)], expected: &[(String, u64)]) -> Result<()> {
    let place =
        (0..came.len().max(expected.len())).find(|&place| came.get(place) != expected.get(place));
    if let Some(place) = place {
        bail!(
            "by_user has {:?} in place {} and not {:?}; {} users in all and not {}",
            came.get(place),
            place + 1,
            expected.get(place),
            came.len(),
            expected.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_the_text_is_kept_and_a_difference_is_named() {
        let Ranking(users) = serde_json::from_str(r#"{"b":2,"a":2,"c":1}"#).unwrap();
        let expected = [("b", 2), ("a", 2), ("c", 1)].map(|(user, count)| (user.to_owned(), count));
        assert_eq!(users, expected);
        same(&users, &expected).unwrap();
        let error = same(&users, &expected[..2]).unwrap_err().to_string();
        assert!(error.contains("place 3"), "{error}");
        let mut swapped = users.clone();
        swapped.swap(0, 1);
        assert!(same(&swapped, &expected).is_err());
        assert!(serde_json::from_str::<Ranking>("[1]").is_err());
        assert!(serde_json::from_str::<Ranking>(r#"{"a":"1"}"#).is_err());
    }
}
