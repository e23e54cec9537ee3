//! `by_user`: who has changed most.

use std::cmp::Reverse;
use std::fmt;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;

use super::super::roles::CONSUMER;
use super::super::runner::Check;
use super::super::runner::PROCESS;
use super::super::subject::Server;
use super::super::subject::Subject;
use super::super::suite1::is_error;
use super::super::suite3::session;
use super::messages;
use super::messages::PATIENCE;
use crate::client::Client;
use crate::client::Response;

pub const CHECKS: &[Check] = &[
    Check {
        name: "by_user has the first 100 users, highest first, ties by name",
        expected: "of 1,500 users the 100 with most events, in that order in the JSON object itself",
        hint: "take the top of all partitions after they are put together; an ordered map keeps its order in JSON",
        run: |subject| Box::pin(first_hundred(subject)),
        ..PROCESS
    },
    Check {
        name: "?top=N shows as many users as it says",
        expected: "1, 7 and 1,000 users in order for top=1, 7 and 1000",
        hint: "the same list, cut elsewhere; what else is in /stats does not change",
        run: |subject| Box::pin(top(subject)),
        ..PROCESS
    },
    Check {
        name: "?top=N outside 1 to 1,000 is 400",
        expected: "400 and a JSON error for top=0, 1001, abc, -1, 1.5, a number of 30 digits and nothing; 401 without a token",
        hint: "an unbounded reply is a fault; who may not see /stats need not learn what is wrong with the number",
        run: |subject| Box::pin(bad_top(subject)),
        ..PROCESS
    },
];

/// The object `by_user` in the order that it has in the JSON text.
pub struct Ranking(pub Vec<(String, u64)>);

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
pub fn ranking(response: &Response) -> Result<Vec<(String, u64)>> {
    #[derive(Deserialize)]
    struct Stats {
        by_user: Ranking,
    }
    ensure!(
        response.status == 200,
        "GET /stats: {}, {}",
        response.status,
        response.text()
    );
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

/// Users and how often each changes something: a few different counts, and many ties among upper and lower case.
fn users() -> Vec<(String, u64)> {
    let few = [
        ("zoe", 9),
        ("Zoe", 9),
        ("anna", 9),
        ("10", 8),
        ("9", 8),
        ("Éva", 8),
    ];
    let mut users: Vec<(String, u64)> = few
        .into_iter()
        .map(|(user, count)| (user.to_owned(), count))
        .collect();
    // A third of them with two events, in an order that is neither theirs nor the reverse.
    users.extend((0..1_494_u64).map(|n| {
        (
            format!("User {:04}", n * 7 % 1_494),
            1 + u64::from(n % 3 == 0),
        )
    }));
    users
}

/// A consumer that has counted what `users` have done.
async fn counted(subject: &Subject) -> Result<(Server, Vec<(String, u64)>)> {
    let topics = messages::made(subject).await?;
    let mut expected = users();
    let doers = expected
        .iter()
        .flat_map(|(user, count)| (0..*count).map(move |_| user.as_str()));
    let records: Vec<_> = (0..)
        .zip(doers)
        .map(|(number, user)| messages::event(number, user))
        .collect();
    subject.broker()?.produce(&topics.events, &records).await?;
    let server = subject
        .start_role(CONSUMER, |program| topics.set(program))
        .await?;
    has_counted(&server.client, records.len() as u64).await?;
    expected.sort_by_key(|(user, count)| (Reverse(*count), user.clone()));
    Ok((server, expected))
}

/// Waits until `/stats` has so many messages, and expects no more.
pub async fn has_counted(client: &Client, messages: u64) -> Result<()> {
    let start = Instant::now();
    let token = session::good_token()?;
    loop {
        let came = session::messages(&session::stats(client, &token).await?);
        if came == messages {
            return Ok(());
        }
        ensure!(
            came < messages && start.elapsed() < PATIENCE,
            "{came} messages and not {messages}, after {:.1} s",
            start.elapsed().as_secs_f64()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn first_hundred(subject: &Subject) -> Result<()> {
    let (server, expected) = counted(subject).await?;
    let token = session::good_token()?;
    let response = server.client.get_with_token("/stats", &token).await?;
    same(&ranking(&response)?, &expected[..100])?;
    let distinct = &response.json()?["distinct_users"];
    ensure!(
        distinct.as_u64() == Some(expected.len() as u64),
        "distinct_users {distinct} and not {}",
        expected.len()
    );
    Ok(())
}

async fn top(subject: &Subject) -> Result<()> {
    let (server, expected) = counted(subject).await?;
    let token = session::good_token()?;
    for top in [1, 7, 1_000] {
        let path = format!("/stats?top={top}");
        let response = server.client.get_with_token(&path, &token).await?;
        same(&ranking(&response)?, &expected[..top]).with_context(|| format!("GET {path}"))?;
    }
    Ok(())
}

async fn bad_top(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let token = session::good_token()?;
    let long = "1".repeat(30);
    for top in ["0", "1001", "abc", "-1", "1.5", &long, ""] {
        let path = format!("/stats?top={top}");
        let response = server.client.get_with_token(&path, &token).await?;
        ensure!(response.status == 400, "{} for GET {path}", response.status);
        is_error(&response).with_context(|| format!("GET {path}"))?;
    }
    let response = server.client.get("/stats?top=0").await?;
    ensure!(
        response.status == 401,
        "{} without a token",
        response.status
    );
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

    #[test]
    fn there_are_more_users_than_may_be_shown_and_each_is_there_once() {
        let users = users();
        let names: std::collections::HashSet<_> = users.iter().map(|(user, _)| user).collect();
        assert_eq!((names.len(), users.len()), (1_500, 1_500));
    }
}
