//! `cargo lab check N`: the acceptance suites. They look at a program from outside: they give it arguments, environment
//! variables, signals and HTTP requests, and look at its output, its exit status and its answers. So they can grade a
//! program in any language. Suite N contains what chapter N adds; the program of chapter N must pass the suites 1 to N.

mod answer;
mod brokers;
mod clock;
mod log;
mod messages;
mod node;
mod progress;
mod proxy;
mod ranking;
mod refusal;
mod report;
mod roles;
mod runner;
mod server;
mod session;
mod stopping;
mod stores;
mod stream;
mod subject;
mod suites;
#[cfg(test)]
mod tests;
mod token;
mod topics;
mod truth;
mod wait;

use std::ffi::OsStr;
use std::ffi::OsString;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;

use crate::chapters;
use crate::check::node::Node;
use crate::check::report::Report;
use crate::check::runner::Check;
use crate::check::runner::Needs;
use crate::check::subject::SPLIT;
use crate::check::subject::Subject;
use crate::process;
use crate::process::Program;
use crate::services::addresses;
use crate::stop;
use crate::terminal::waiting;

/// Grades a program against everything that chapters 1 to N promise
///
/// Without a command, chapter N of this workspace is built and checked. With a command behind two hyphens, that program
/// is checked: lab appends the role (`serve`, `watch --limit 5`, …), sets the variables, and provides the stream. Build
/// the program first, and give the program itself, because a wrapper such as `cargo run` does not pass signals on. It
/// runs in an empty directory; if an argument names a file that is here, lab gives the program the absolute path.
///
/// With --image, the program inside that Docker image is checked, and then the image itself, whatever N is. The
/// container uses the network of this machine, so Docker must run on this machine too.
///
/// From chapter 5 on the program has two roles, `producer` and `consumer`, with a broker between them: the one that
/// --broker names, or else the Kafka on 127.0.0.1:9092 if it runs (`cargo lab services up kafka`), or else a small one
/// in memory that lab starts. Each check has topics of its own. With --faults, lab starts a Kafka of its own, stops and
/// kills this Kafka and the roles, and then looks whether the counts are still right.
///
///   cargo lab check 1
///   cargo lab check 2 --only healthcheck
///   cargo lab check 3 -- ./my-server
///   cargo lab check 2 -- python3 server.py
///   cargo lab check 1 --url http://127.0.0.1:7000
///   cargo lab check 4 --image ch-4
///   cargo lab check 5 --broker 127.0.0.1:9092
///   cargo lab check 5 --faults
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The chapter whose promises are checked, as in 3 or ch-3
    #[arg(value_parser = chapters::number)]
    chapter: u8,

    /// Check a server that already runs at this URL; checks that have to start the program are listed as skipped
    #[arg(long, conflicts_with = "command", value_name = "URL")]
    url: Option<String>,

    /// Check the program inside this Docker image, and the image; build it beforehand
    #[arg(long, conflicts_with_all = ["command", "url"], value_name = "NAME")]
    image: Option<String>,

    /// Only the checks whose name contains this, in upper or lower case; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Only this suite, and not all suites from 1 to N
    #[arg(long, value_name = "N")]
    suite: Option<u8>,

    /// Leave out the slow checks, which wait for a timeout of the program
    #[arg(long)]
    quick: bool,

    /// End with the first check that fails, and say how many were not run
    #[arg(long)]
    fail_fast: bool,

    /// Only the few checks which show that each role works at all, and with --image those of the image itself
    #[arg(long, conflicts_with_all = ["suite", "faults"])]
    smoke: bool,

    /// Show the checks and what each expects, and run none
    #[arg(long)]
    list: bool,

    /// Print one JSON document at the end, and nothing else on stdout
    #[arg(long, conflicts_with = "list")]
    json: bool,

    /// A Cassandra that must answer. Without this option, the one of CASSANDRA_NODES or else of 127.0.0.1:9042 is used
    /// if it answers, and if not, the checks that need Cassandra are listed as skipped
    #[arg(long, value_name = "HOST:PORT", value_parser = |text: &str| addresses(text, 9042))]
    cassandra: Option<String>,

    /// The broker between the roles of chapter 5 and later; it must answer
    #[arg(long, env = "REDPANDA_BROKER", value_name = "HOST:PORT", value_parser = |text: &str| addresses(text, 9092))]
    broker: Option<String>,

    /// Only the checks in which the broker or a role fails, on a Kafka that lab starts for this; chapter 5 and later
    #[arg(long, conflicts_with_all = ["url", "suite"])]
    faults: bool,

    /// Words that stand where no option and no command can stand.
    #[arg(hide = true)]
    misplaced: Vec<OsString>,

    /// The program to check, and its first arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    if !options.misplaced.is_empty() {
        bail!(
            "the command of your own program stands behind two hyphens: cargo lab check {} -- {}",
            options.chapter,
            options.misplaced.join(OsStr::new(" ")).display()
        );
    }
    let checks = select(&options)?;
    if options.list {
        report::list(&checks);
        return Ok(ExitCode::SUCCESS);
    }
    let mut stop = pin!(stop::signals()?);
    // When a signal comes, the futures are dropped, and with them the programs that they have started.
    let subject = tokio::select! {
        subject = subject(&options) => subject?,
        signal = &mut stop => bail!("interrupted by {signal}"),
    };
    let report = tokio::select! {
        report = examine(&options, &checks, &subject) => Ok(report),
        signal = &mut stop => Err(anyhow!("interrupted by {signal}")),
    };
    subject.clean_up().await;
    Ok(report?.finish())
}

async fn subject(options: &Options) -> Result<Subject> {
    // Before anything is built, because these may be away.
    let cassandra = stores::choose(options.cassandra.as_deref()).await?;
    let is_split = options.chapter >= SPLIT && options.url.is_none();
    let broker = if is_split && !options.faults {
        Some(brokers::choose(options.broker.as_deref()).await?)
    } else {
        None
    };
    let subject = match (&options.url, &options.image) {
        (Some(url), _) => Subject::at(options.chapter, url)?,
        (None, Some(image)) => Subject::in_image(options.chapter, image).await?,
        (None, None) if options.command.is_empty() => {
            let binary = process::build(chapters::pick(Some(options.chapter))?).await?;
            Subject::new(options.chapter, Program::new([binary])).await?
        }
        (None, None) => {
            let program = Program::new(&options.command);
            program.can_start()?;
            Subject::new(options.chapter, program).await?
        }
    };
    let subject = subject.with_cassandra(cassandra);
    match broker {
        Some(broker) => subject.with_broker(broker).await,
        None if options.faults => {
            let node = waiting("a Kafka that is started for these checks", Node::start()).await?;
            subject.with_node(node).await
        }
        None => Ok(subject),
    }
}

async fn examine(options: &Options, checks: &[(u8, &'static Check)], subject: &Subject) -> Report {
    let mut report = Report::new(options.chapter, options.json);
    if let Ok(broker) = subject.broker() {
        report.say(&brokers::describe(broker));
    }
    for (number, (suite, check)) in (1..).zip(checks) {
        report.begin(*suite, check);
        report.add(*suite, check, runner::run(check, subject, options.quick).await);
        if options.fail_fast && report.has_failed() {
            report.leave_out(checks.len() - number);
            break;
        }
    }
    report
}

/// The checks that were asked for, each with its suite.
fn select(options: &Options) -> Result<Vec<(u8, &'static Check)>> {
    let last = suites::ALL.len();
    if options.faults && options.chapter < SPLIT {
        bail!("--faults is for chapter {SPLIT} and later, which have a broker");
    }
    let chapter = options.chapter;
    if !(1..=last).contains(&usize::from(chapter)) {
        bail!("there are checks for the chapters 1 to {last}, and none for {chapter}");
    }
    // The checks of an image, in suite 4, are for every chapter.
    let most = if options.image.is_some() { last } else { chapter.into() };
    if let Some(suite) = options.suite.filter(|suite| !(1..=most).contains(&usize::from(*suite))) {
        let suites = if chapter == 1 {
            "suite 1 alone".to_owned()
        } else {
            format!("the suites 1 to {chapter}")
        };
        bail!("chapter {chapter} has {suites}, and not suite {suite}");
    }
    let only: Vec<String> = options.only.iter().map(|name| name.to_lowercase()).collect();
    let wanted = |suite: u8, check: &Check| {
        // The checks of an image are made in every chapter.
        let promised =
            suite <= options.chapter || (options.image.is_some() && check.needs == Needs::Image);
        options.suite.map_or(promised, |only| only == suite)
            && (!options.smoke || check.smoke || check.needs == Needs::Image)
            && check.changed_in.is_none_or(|(chapter, _)| options.chapter < chapter)
            && (only.is_empty() || only.iter().any(|part| check.name.to_lowercase().contains(part)))
    };
    let suites: Vec<(u8, &[&'static [Check]])> = if options.faults {
        vec![(SPLIT, suites::FAULTS)]
    } else {
        (1..).zip(suites::ALL).collect()
    };
    let checks: Vec<(u8, &'static Check)> = suites
        .into_iter()
        .flat_map(|(suite, lists)| lists.iter().copied().flatten().map(move |check| (suite, check)))
        .filter(|(suite, check)| wanted(*suite, check))
        .collect();
    if checks.is_empty() {
        bail!(
            "no check has such a name; `cargo lab check {} --list` shows the names",
            options.chapter
        );
    }
    Ok(checks)
}
