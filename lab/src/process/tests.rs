//! Programs of a line of shell: what they print, how they end, and what they inherit.

use std::time::Duration;

use rustix::process::Pid;

use crate::process::Program;
use crate::process::Signal;
use crate::process::describe;

const SOON: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Program {
    Program::new(["sh", "-c", script])
}

#[tokio::test]
async fn both_outputs_and_the_exit_status_are_taken() {
    let finished = shell("read word; echo got $word; echo oops >&2; exit 3")
        .output(b"it\n", SOON)
        .await
        .unwrap();
    assert_eq!(finished.stdout, ["got it"]);
    assert_eq!(finished.stderr, ["oops"]);
    assert_eq!(describe(finished.status), "exit status 3");
}

#[tokio::test]
async fn a_program_that_runs_on_is_an_error_at_the_deadline() {
    let error = shell("exec sleep 600").output(b"", Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().ends_with("still runs after 0 s"));
}

#[tokio::test]
async fn last_words_are_those_of_stderr_or_else_of_stdout() {
    for (script, expected) in [
        ("echo a; echo b >&2", "; its stderr:\nb"),
        ("echo a", "; its stdout:\na"),
        ("true", ", and it printed nothing"),
    ] {
        let mut process = shell(script).start().unwrap();
        process.wait(SOON).await.unwrap();
        assert_eq!(process.last_words().await, expected);
    }
}

#[tokio::test]
async fn a_signal_reaches_the_program_and_a_later_line_is_waited_for() {
    let mut process =
        shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
            .start()
            .unwrap();
    process.stdout.line(SOON, |line| line == "ready").await.unwrap();
    process.signal(Signal::TERM).unwrap();
    process.stdout.line(SOON, |line| line == "bye").await.unwrap();
    assert!(process.wait(SOON).await.unwrap().success());
    assert!(process.signal(Signal::TERM).is_err());
}

#[tokio::test]
async fn a_dropped_process_is_gone() {
    for _ in 0..20 {
        let process = shell("exec sleep 600").start().unwrap();
        let pid = Pid::from_raw(process.id()).unwrap();
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}

#[tokio::test]
async fn a_dropped_process_takes_its_children_with_it() {
    let process = shell("sleep 600 & echo $!; wait").start().unwrap();
    let child = process.stdout.line(SOON, |_| true).await.unwrap();
    drop(process);
    let pid = Pid::from_raw(child.parse().unwrap()).unwrap();
    let gone = async {
        // A zombie that nobody reaps still takes signals, so its state is read too.
        while rustix::process::test_kill_process(pid).is_ok() && !zombie(&child) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

fn zombie(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn the_shells_own_settings_are_not_inherited_and_ours_are_set() {
    let program = shell("echo ${HTTP_ADDR-none} ${STORAGE-none}")
        .env("STORAGE", "a")
        .env("STORAGE", "memory");
    let finished = program.output(b"", SOON).await.unwrap();
    assert_eq!(finished.stdout, ["none memory"]);
}
