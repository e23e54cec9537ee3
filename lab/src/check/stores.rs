//! Chooses the Cassandra for the checks that need one.

use anyhow::Result;
use anyhow::bail;

use crate::services::cassandra_answers;
use crate::services::first_of;
use crate::terminal::waiting;

/// The nodes that `--cassandra` names, else those of `CASSANDRA_NODES`, else the one of `cargo lab services`; `None` if
/// no Cassandra was named and none answers.
///
/// # Errors
/// One was named, and does not answer.
pub async fn choose(named: Option<&str>) -> Result<Option<String>> {
    let usual = std::env::var("CASSANDRA_NODES").ok().filter(|nodes| !nodes.is_empty());
    let usual = usual.as_deref().unwrap_or("127.0.0.1:9042");
    let nodes = named.unwrap_or(usual);
    let first = first_of(nodes);
    if waiting(&format!("Cassandra at {first}"), cassandra_answers(first)).await {
        return Ok(Some(nodes.to_owned()));
    }
    if named.is_some() {
        bail!(
            "no Cassandra answers at {first}, which --cassandra names; `cargo lab services up cassandra` starts one at \
             127.0.0.1:9042"
        );
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cassandra_that_was_named_and_is_away_is_an_error_that_names_it() {
        let nobody = format!("127.0.0.1:{}", crate::ports::free_port().unwrap());
        let error = choose(Some(&nobody)).await.unwrap_err().to_string();
        assert!(error.contains(&nobody), "{error}");
    }
}
