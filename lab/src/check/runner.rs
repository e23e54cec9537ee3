//! What a check is, and how it is run. The suites are lists of checks.

use std::fmt;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;

use crate::check::subject::Subject;
use crate::docker;

/// A check that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// Something that a program must do, and the way to find out whether it does.
pub struct Check {
    /// A sentence that says what a good program does.
    pub name: &'static str,
    pub expected: &'static str,
    /// Where a learner should look if it fails.
    pub hint: &'static str,
    pub needs: Needs,
    /// The check waits for a timeout of the program, which takes tens of seconds at least.
    pub slow: bool,
    /// `--smoke` runs this check: it is one of the few which show that each role works at all.
    pub smoke: bool,
    /// From which chapter on this is no longer so, and why.
    pub changed_in: Option<(u8, &'static str)>,
    /// Why this can't be seen from outside a container.
    pub not_in_image: Option<&'static str>,
    pub run: for<'a> fn(&'a Subject) -> LocalBoxFuture<'a, Result<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A server that answers is enough.
    Http,
    /// The program must be started, signalled or configured.
    Process,
    /// As `Process`, and a Cassandra that answers.
    Cassandra,
    /// The program must be in a Docker image.
    Image,
    /// As `Process`, and a broker that can be made to fail.
    Faults,
    FaultsAndCassandra,
}

impl Needs {
    pub fn cassandra(self) -> bool {
        matches!(self, Self::Cassandra | Self::FaultsAndCassandra)
    }

    pub fn faults(self) -> bool {
        matches!(self, Self::Faults | Self::FaultsAndCassandra)
    }
}

/// What most checks have in common. A list of checks says only the rest, as in `Check { name: …, ..HTTP }`.
pub const HTTP: Check = Check {
    name: "",
    expected: "",
    hint: "",
    needs: Needs::Http,
    slow: false,
    smoke: false,
    changed_in: None,
    not_in_image: None,
    run: |_| Box::pin(std::future::ready(Ok(()))),
};
pub const PROCESS: Check = Check { needs: Needs::Process, ..HTTP };
pub const CASSANDRA: Check = Check { needs: Needs::Cassandra, ..HTTP };
pub const IMAGE: Check = Check { needs: Needs::Image, ..HTTP };
pub const KAFKA: Check = Check { needs: Needs::Faults, ..HTTP };

/// The error of a check that can't run here, with the reason.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// The error of a check that fails for a reason which many checks share, such as a role that does not start. The
/// sentence says what is missing; the first check that meets it has failed, and the others are not looked at.
#[derive(Clone, Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

#[derive(Debug)]
pub enum Outcome {
    /// Some checks also say what they have measured.
    Passed(Option<String>),
    Skipped(String),
    /// The first failure for a reason that many checks share. What the check itself is about was not seen.
    Broken(String),
    /// Not looked at for such a reason, which was told before.
    Down(String),
    /// What came instead of what was expected.
    Failed(String),
}

/// Runs one check, and tells how long it took.
pub async fn run(check: &Check, subject: &Subject, quick: bool) -> (Outcome, Duration) {
    let start = Instant::now();
    let outcome = match not_here(check, subject, quick) {
        Some(reason) => Outcome::Skipped(reason),
        None => outcome(check, subject).await,
    };
    (outcome, start.elapsed())
}

async fn outcome(check: &Check, subject: &Subject) -> Outcome {
    if let Ok(node) = subject.node()
        && let Err(error) = node.is_there().await
    {
        return Outcome::Failed(format!("{error:#}"));
    }
    let evicted = subject.evicted();
    let result = tokio::time::timeout(LIMIT, (check.run)(subject)).await;
    let note = subject.take_note();
    let came = match result {
        Ok(Ok(())) => return Outcome::Passed(note),
        Ok(Err(error)) if error.is::<Broken>() => {
            let reason = error.downcast_ref().map_or_else(String::new, |Broken(why)| why.clone());
            return if subject.tells_first(&reason) {
                Outcome::Broken(format!("{error:#}"))
            } else {
                Outcome::Down(reason)
            };
        }
        Ok(Err(error)) => match error.downcast::<Skip>() {
            Ok(skip) => return Outcome::Skipped(skip.0),
            Err(error) => format!("{error:#}"),
        },
        Err(_) => format!("the check did not end within {} s", LIMIT.as_secs()),
    };
    // If messages were dropped before the program could read them, a wrong count is not the program's fault.
    Outcome::Failed(match subject.evicted() {
        now if now == evicted => came,
        Some(sentence) => sentence,
        None => came,
    })
}

fn not_here(check: &Check, subject: &Subject, quick: bool) -> Option<String> {
    if check.needs == Needs::Image && subject.image().is_none() {
        let (image, build) = docker::image(subject.chapter());
        return Some(format!("needs the image: build it with `{build}`, then add --image {image}"));
    }
    if let (Some(reason), Some(_)) = (check.not_in_image, subject.image()) {
        return Some(format!("can't be seen from outside a container: {reason}"));
    }
    if check.needs != Needs::Http && !subject.has_program() {
        return Some("needs the program itself, and --url gives only its address".to_owned());
    }
    if check.needs.cassandra() && subject.cassandra().is_none() {
        return Some(
            "needs Cassandra: `cargo lab services up` starts one, or name it with --cassandra"
                .to_owned(),
        );
    }
    (quick && check.slow).then(|| "slow, and --quick was given".to_owned())
}
