//! The runner, the report, and suite 1 over a URL, on servers and programs of a few lines.

use std::collections::HashSet;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser;
use serde_json::json;

use super::*;
use crate::check::runner::Broken;
use crate::check::runner::HTTP;
use crate::check::runner::Needs;
use crate::check::runner::Outcome;
use crate::check::runner::PROCESS;
use crate::check::runner::Skip;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &[&str]) -> Options {
    Cli::parse_from(["check"].iter().chain(arguments)).options
}

/// Serves `routes` until the test ends.
async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn good_server() -> Router {
    let missing = async || (StatusCode::NOT_FOUND, Json(json!({"error": "no such path"})));
    let wrong = async || {
        (StatusCode::METHOD_NOT_ALLOWED, [("allow", "GET,HEAD")], Json(json!({"error": "GET it"})))
    };
    let status = get(async || Json(json!({"status": "ok"}))).fallback(wrong);
    Router::new().route("/status", status).fallback(missing)
}

async fn suite_1_of(routes: Router) -> Report {
    let url = serve(routes).await;
    let options = options(&["1", "--json", "--url", &url]);
    let subject = Subject::at(1, &url).unwrap();
    examine(&options, &select(&options).unwrap(), &subject).await
}

#[tokio::test]
async fn a_good_server_passes_over_its_url_and_what_needs_the_process_is_skipped() {
    let report = suite_1_of(good_server()).await;
    let document = report.document();
    assert_eq!(document["failed"], 0, "{document:#}");
    assert!(report.good());
    let skipped: Vec<_> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["status"] == "skipped")
        .collect();
    assert!(skipped.iter().any(|check| check["name"] == "SIGTERM ends the program"));
    assert!(skipped.iter().all(|check| check["came"].as_str().unwrap().contains("--url")));
}

#[tokio::test]
async fn each_fault_of_a_server_fails_its_own_check() {
    let status = get(async || Json(json!({"status": "ok", "more": 1})));
    let report = suite_1_of(Router::new().route("/status", status)).await;
    assert!(!report.good());
    let document = report.document();
    let checks = document["checks"].as_array().unwrap();
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check["status"] == "failed")
        .filter_map(|check| check["name"].as_str())
        .collect();
    let expected = [
        "GET /status says that the server is alive",
        "an unknown path is 404, in JSON",
        "a wrong method is 405, in JSON, and names the right ones",
    ];
    assert_eq!(failed, expected);
    assert_eq!(checks[0]["came"], "{\"more\":1,\"status\":\"ok\"}");
    assert!(!checks[0]["hint"].as_str().unwrap().is_empty());
}

/// What suite 1 says of a program of chapter 2, in shell.
async fn suite_1_of_program(script: &str) -> Report {
    let subject = Subject::new(2, Program::new(["sh", "-c", script])).await.unwrap();
    let options = options(&["2", "--suite", "1", "--json"]);
    examine(&options, &select(&options).unwrap(), &subject).await
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_one_failure_with_its_last_words() {
    let report = suite_1_of_program("echo no wheels >&2; exit 3").await;
    let document = report.document();
    assert_eq!((&document["passed"], &document["failed"]), (&json!(0), &json!(1)), "{document:#}");
    let came = document["checks"][0]["came"].as_str().unwrap();
    assert!(
        came.contains("serve does not work")
            && came.contains("exit status 3")
            && came.contains("no wheels"),
        "{came}"
    );
    let summary = report.summary();
    assert!(summary.contains("need what a failure above says"), "{summary}");
    assert!(summary.ends_with("failure: GET /status says that the server is alive\n"), "{summary}");
}

#[tokio::test]
async fn fail_fast_ends_with_the_first_failure_and_says_how_many_checks_were_not_run() {
    let subject = Subject::at(1, &serve(Router::new()).await).unwrap();
    let options = options(&["1", "--json", "--fail-fast", "--url", "http://ignored"]);
    let checks = select(&options).unwrap();
    let report = examine(&options, &checks, &subject).await;
    assert_eq!(report.document()["checks"].as_array().unwrap().len(), 1);
    let told = format!("\n{} more were not run: leave out --fail-fast", checks.len() - 1);
    assert!(report.summary().contains(&told), "{}", report.summary());
}

#[tokio::test]
async fn a_reason_that_checks_share_is_told_once_and_with_no_hint_of_a_check() {
    const CHECK: Check =
        Check { run: |_| Box::pin(async { bail!(Broken("no wheels".to_owned())) }), ..HTTP };
    let subject = Subject::at(1, "http://127.0.0.1:1").unwrap();
    let first = runner::run(&CHECK, &subject, false).await.0;
    let text = Report::new(1, false).lines(&CHECK, &first, std::time::Duration::ZERO);
    assert!(text.contains("no wheels") && text.contains("mend this first"), "{text}");
    let second = runner::run(&CHECK, &subject, false).await.0;
    assert!(matches!(second, Outcome::Down(reason) if reason == "no wheels"));
}

#[tokio::test]
async fn a_program_that_starts_in_spite_of_a_bad_value_fails() {
    // An argument that only the first `sh` sees; the role comes behind it.
    let subject = Subject::new(2, Program::new(["sh", "-c", "exit 0"])).await.unwrap();
    subject.roles.lock().await.insert("serve".to_owned(), true);
    let options = options(&["2", "--only", "a bad STORAGE", "--only", "a bad HTTP_ADDR"]);
    for (_, check) in select(&options).unwrap() {
        let (Outcome::Failed(came), _) = runner::run(check, &subject, false).await else {
            panic!("{}", check.name)
        };
        assert!(came.contains("exit status 0"), "{came}");
    }
}

#[tokio::test]
async fn outcomes_are_passed_failed_and_skipped_with_the_reason() {
    const FAILS: Check = Check { run: |_| Box::pin(async { bail!("a horse") }), ..HTTP };
    const SKIPS: Check =
        Check { run: |_| Box::pin(async { Err(Skip("no horses".to_owned()).into()) }), ..HTTP };
    const SLOW: Check = Check { slow: true, ..FAILS };
    const CASSANDRA: Check = Check { needs: Needs::Cassandra, ..PROCESS };
    let subject = Subject::at(1, "http://127.0.0.1:1").unwrap();
    let outcome = async |check: &Check, quick: bool| runner::run(check, &subject, quick).await.0;
    assert!(matches!(outcome(&HTTP, false).await, Outcome::Passed(_)));
    assert!(matches!(outcome(&FAILS, false).await, Outcome::Failed(came) if came == "a horse"));
    assert!(
        matches!(outcome(&SKIPS, false).await, Outcome::Skipped(reason) if reason == "no horses")
    );
    assert!(
        matches!(outcome(&SLOW, true).await, Outcome::Skipped(reason) if reason.contains("--quick"))
    );
    assert!(matches!(outcome(&SLOW, false).await, Outcome::Failed(_)));
    assert!(
        matches!(outcome(&PROCESS, false).await, Outcome::Skipped(reason) if reason.contains("--url"))
    );
    let subject = Subject::new(3, Program::new(["true"])).await.unwrap();
    let (outcome, _) = runner::run(&CASSANDRA, &subject, false).await;
    assert!(matches!(outcome, Outcome::Skipped(reason) if reason.contains("Cassandra")));
    const IMAGE: Check = Check { needs: Needs::Image, ..PROCESS };
    let (outcome, _) = runner::run(&IMAGE, &subject, false).await;
    assert!(matches!(outcome, Outcome::Skipped(reason) if reason.contains("--image ch-3")));
}

#[test]
fn a_failed_check_is_shown_with_what_was_expected_and_its_control_characters_are_not() {
    let check = Check { name: "a horse", expected: "four legs", hint: "count again", ..HTTP };
    let failed = Outcome::Failed("three\x1b[2J\nand a half".to_owned());
    let mut report = Report::new(1, false);
    // Also where the tests run in a terminal.
    report.colour = false;
    let text = report.lines(&check, &failed, std::time::Duration::ZERO);
    let expected = "✗ a horse\n      expected four legs\n      came     three\\u001b[2J\n               and a half\n      hint     count again\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn nothing_but_skipped_checks_is_not_good() {
    let mut report = Report::new(1, true);
    report.add(1, &HTTP, (Outcome::Skipped("no".to_owned()), std::time::Duration::ZERO));
    assert!(!report.good());
    report.add(1, &HTTP, (Outcome::Passed(None), std::time::Duration::ZERO));
    assert!(report.good());
    report.add(1, &HTTP, (Outcome::Failed("no".to_owned()), std::time::Duration::ZERO));
    assert!(!report.good());
}

#[test]
fn suites_are_chosen_by_chapter_number_and_name() {
    let suites = |arguments: &[&str]| -> HashSet<u8> {
        select(&options(arguments)).unwrap().into_iter().map(|(suite, _)| suite).collect()
    };
    assert_eq!(suites(&["1"]), HashSet::from([1]));
    assert_eq!(suites(&["3"]), HashSet::from([1, 2, 3]));
    assert_eq!(suites(&["3", "--suite", "2"]), HashSet::from([2]));
    assert_eq!(suites(&["2", "--only", "HEALTHCHECK"]), HashSet::from([2]));
    assert_eq!(suites(&["4"]), HashSet::from([1, 2, 3, 4]));
    assert_eq!(suites(&["5"]), HashSet::from([1, 2, 3, 4, 5]));
    assert_eq!(suites(&["5", "--faults"]), HashSet::from([5]));
    assert_eq!(suites(&["2", "--image", "ch-2"]), HashSet::from([1, 2, 4]));
    let of_the_workspace = ["2", "--image", "ch-2", "--only", "workflow"];
    assert!(select(&options(&of_the_workspace)).is_err());
    assert!(select(&options(&["1", "--only", "healthcheck"])).is_err());
    assert!(select(&options(&["0"])).is_err());
    assert_eq!(suites(&["2", "--suite", "4", "--image", "ch-2"]), HashSet::from([4]));
    let error = select(&options(&["1", "--suite", "3"])).err().unwrap().to_string();
    assert_eq!(error, "chapter 1 has suite 1 alone, and not suite 3");
    assert!(select(&options(&["4", "--faults"])).is_err());
}

#[test]
fn smoke_is_a_few_checks_of_each_suite_and_all_of_an_image() {
    let names = |arguments: &[&str]| -> HashSet<&str> {
        let checks = select(&options(arguments)).unwrap().into_iter();
        checks.map(|(_, check)| check.name).collect()
    };
    let server = names(&["5", "--smoke"]);
    let image = names(&["5", "--smoke", "--image", "ch-5-consumer"]);
    assert_eq!(server, image);
    assert!(server.contains("SIGTERM ends the program"));
    assert!(!server.contains("SIGINT ends the program"));
    assert!(server.contains("docker stop ends the container"));
    assert!(!server.contains("the chapter has its workflow"));
    assert!(names(&["2", "--smoke", "--image", "ch-2"]).contains("HEALTHCHECK turns healthy"));
    assert!(names(&["5"]).len() > 3 * server.len());
}

#[test]
fn what_changes_at_the_split_is_not_asked_for_after_it() {
    let kills = |chapter: &str| select(&options(&[chapter, "--only", "three kills"])).is_ok();
    assert_eq!([kills("3"), kills("4"), kills("5")], [true, true, false]);
}

#[test]
fn every_check_has_a_name_of_its_own_an_expectation_and_a_hint() {
    let mut names = HashSet::new();
    let [suites, faults] =
        [&["5"][..], &["5", "--faults"]].map(|arguments| select(&options(arguments)));
    for (_, check) in [suites.unwrap(), faults.unwrap()].concat() {
        assert!(names.insert(check.name), "two checks named {}", check.name);
        assert!(!check.expected.is_empty() && !check.hint.is_empty(), "{}", check.name);
    }
}

#[tokio::test]
async fn a_command_without_the_two_hyphens_is_told_where_they_stand() {
    let error = run(options(&["3", "./server", "--list"])).await.unwrap_err().to_string();
    assert!(error.ends_with("cargo lab check 3 -- ./server"), "{error}");
}
