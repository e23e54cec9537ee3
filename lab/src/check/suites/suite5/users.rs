//! `by_user`: who has changed most.

use std::cmp::Reverse;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::check::answer::is_error;
use crate::check::messages;
use crate::check::progress;
use crate::check::ranking;
use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::server::Server;
use crate::check::session;
use crate::check::subject::CONSUMER;
use crate::check::subject::Subject;
use crate::check::token;

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
        expected: "1, 7, 10 and 1,000 users in order for top=1, 7, %31%30 and 1000",
        hint: "it is the same list with another length; a query may be percent-encoded, so read it with the extractor of your framework",
        run: |subject| Box::pin(top(subject)),
        ..PROCESS
    },
    Check {
        name: "?top=N outside 1 to 1,000 is 400",
        expected: "400 and a JSON error for top=0, 1001, abc, -1, 1.5, +5 (which is a space and a 5), a number of 30 digits and nothing; 401 without a token",
        hint: "the answer must have a limit; and whoever may not see /stats does not need to learn what is wrong with the number",
        run: |subject| Box::pin(bad_top(subject)),
        ..PROCESS
    },
];

/// Users and how often each changes something: a few different counts, and many ties among upper and lower case.
fn users() -> Vec<(String, u64)> {
    let few = [("zoe", 9), ("Zoe", 9), ("anna", 9), ("10", 8), ("9", 8), ("Éva", 8)];
    let mut users: Vec<(String, u64)> =
        few.into_iter().map(|(user, count)| (user.to_owned(), count)).collect();
    // A third of them with two events, in an order that is neither theirs nor the reverse.
    users.extend(
        (0..1_494_u64).map(|n| (format!("User {:04}", n * 7 % 1_494), 1 + u64::from(n % 3 == 0))),
    );
    users
}

/// A consumer that has counted what `users` have done.
async fn counted(subject: &Subject) -> Result<(Server, Vec<(String, u64)>)> {
    let topics = progress::topics_to_write_to(subject).await?;
    let mut expected = users();
    let doers = expected.iter().flat_map(|(user, count)| (0..*count).map(move |_| user.as_str()));
    let records: Vec<_> =
        (0..).zip(doers).map(|(number, user)| messages::event(number, user)).collect();
    subject.broker()?.produce(&topics.events, &records).await?;
    let server = subject.start_role(CONSUMER, |program| topics.set(program)).await?;
    session::has_counted(&server.client, records.len() as u64).await?;
    expected.sort_by_key(|(user, count)| (Reverse(*count), user.clone()));
    Ok((server, expected))
}

async fn first_hundred(subject: &Subject) -> Result<()> {
    let (server, expected) = counted(subject).await?;
    let token = token::good()?;
    let response = server.client.get_with_token("/stats", &token).await?;
    ranking::same(&ranking::of(&response)?, &expected[..100])?;
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
    let token = token::good()?;
    for (top, count) in [("1", 1), ("7", 7), ("%31%30", 10), ("1000", 1_000)] {
        let path = format!("/stats?top={top}");
        let response = server.client.get_with_token(&path, &token).await?;
        ranking::same(&ranking::of(&response)?, &expected[..count])
            .with_context(|| format!("GET {path}"))?;
    }
    Ok(())
}

async fn bad_top(subject: &Subject) -> Result<()> {
    let server = subject.serve().await?;
    let token = token::good()?;
    let long = "1".repeat(30);
    for top in ["0", "1001", "abc", "-1", "1.5", "+5", &long, ""] {
        let path = format!("/stats?top={top}");
        let response = server.client.get_with_token(&path, &token).await?;
        ensure!(response.status == 400, "{} for GET {path}", response.status);
        is_error(&response).with_context(|| format!("GET {path}"))?;
    }
    let response = server.client.get("/stats?top=0").await?;
    ensure!(response.status == 401, "{} without a token", response.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_users_than_may_be_shown_and_each_is_there_once() {
        let users = users();
        let names: std::collections::HashSet<_> = users.iter().map(|(user, _)| user).collect();
        assert_eq!((names.len(), users.len()), (1_500, 1_500));
    }
}
