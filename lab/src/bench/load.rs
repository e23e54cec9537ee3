//! Sends requests at a fixed rate, whether or not the answers keep up. The time at which a request is due is fixed in
//! advance, and its latency counts from then. So a server that stands still for a second shows it in all requests of
//! that second.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

/// Kept open, each used for one request after the other.
const CONNECTIONS: u32 = 32;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What is asked for, how often, how long.
#[derive(Clone)]
pub struct Plan {
    /// `host:port`.
    pub authority: String,
    pub path: &'static str,
    pub token: String,
    pub requests_a_second: u32,
    pub time: Duration,
}

pub struct Load {
    /// Of the answers that came, ascending.
    latencies: Vec<Duration>,
    pub errors: u64,
    pub requests_a_second: f64,
}

impl Load {
    /// The latency that so many percent of the answers did not exceed.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = (self.latencies.len() as f64 * percent / 100.0).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied()
    }
}

pub async fn run(plan: &Plan) -> Result<Load> {
    let begun = Instant::now();
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        connections.spawn(connection(plan.clone(), number, begun));
    }
    let (mut latencies, mut errors) = (Vec::new(), 0);
    while let Some(ended) = connections.join_next().await {
        let (mut its_latencies, its_errors) = ended.context("a connection's task panicked")?;
        latencies.append(&mut its_latencies);
        errors += its_errors;
    }
    latencies.sort_unstable();
    Ok(Load {
        requests_a_second: latencies.len() as f64 / begun.elapsed().as_secs_f64(),
        latencies,
        errors,
    })
}

/// The requests of one connection, each `CONNECTIONS` requests after the one before.
async fn connection(plan: Plan, number: u32, begun: Instant) -> (Vec<Duration>, u64) {
    let between = Duration::from_secs(1) / plan.requests_a_second;
    let mut due = begun + between * number;
    let end = begun + plan.time;
    let (mut latencies, mut errors) = (Vec::new(), 0);
    let mut sender = None;
    while due < end {
        sleep_until(due).await;
        match timeout(ANSWER_WITHIN, ask(&plan, &mut sender)).await {
            Ok(Ok(())) => latencies.push(due.elapsed()),
            _ => {
                sender = None;
                errors += 1;
            }
        }
        due += between * CONNECTIONS;
    }
    (latencies, errors)
}

type Sender = SendRequest<Empty<Bytes>>;

async fn ask(plan: &Plan, sender: &mut Option<Sender>) -> Result<()> {
    let sender = match sender {
        Some(sender) => sender,
        None => sender.insert(connect(&plan.authority).await?),
    };
    let request = Request::get(plan.path)
        .header("host", &plan.authority)
        .header("authorization", format!("Bearer {}", plan.token))
        .body(Empty::new())?;
    sender.ready().await?;
    let (head, mut body) = sender.send_request(request).await?.into_parts();
    ensure!(head.status == 200, "status {}", head.status);
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

async fn connect(authority: &str) -> Result<Sender> {
    let tcp = TcpStream::connect(authority).await?;
    tcp.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::http::StatusCode;
    use axum::routing::get;

    use super::*;

    async fn served(router: Router) -> Plan {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Plan {
            authority,
            path: "/stats",
            token: "good".to_owned(),
            requests_a_second: 200,
            time: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_stall_is_seen_by_all_requests_that_were_due_in_it() {
        let stalled = Arc::new(AtomicBool::new(false));
        let answer = move || {
            // Blocks the one thread of this test, client and server alike.
            if !stalled.swap(true, Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(300));
            }
            async { "{}" }
        };
        let plan = served(Router::new().route("/stats", get(answer))).await;
        let load = run(&plan).await.unwrap();
        assert_eq!((load.latencies.len(), load.errors), (200, 0));
        // 60 of the 200 were due meanwhile, 40 of them at least 100 ms before its end.
        let late = Duration::from_millis(100);
        assert!(load.percentile(81.0).unwrap() >= late);
    }

    #[tokio::test]
    async fn refusals_are_errors_and_the_token_is_sent() {
        let answer = |headers: HeaderMap| async move {
            match headers["authorization"].to_str() {
                Ok("Bearer good") => StatusCode::OK,
                _ => StatusCode::UNAUTHORIZED,
            }
        };
        let plan = served(Router::new().route("/stats", get(answer))).await;
        let load = run(&plan).await.unwrap();
        assert_eq!((load.latencies.len(), load.errors), (200, 0));
        let plan = Plan { token: "bad".to_owned(), ..plan };
        let load = run(&plan).await.unwrap();
        assert_eq!((load.latencies.len(), load.errors), (0, 200));
        assert_eq!(load.percentile(99.0), None);
    }

    #[test]
    fn percentiles_are_answers_that_came() {
        let load = Load {
            latencies: (1..=100).map(Duration::from_millis).collect(),
            errors: 0,
            requests_a_second: 0.0,
        };
        let at = |percent| load.percentile(percent).unwrap().as_millis();
        assert_eq!([at(0.0), at(50.0), at(99.0), at(100.0)], [1, 50, 99, 100]);
    }
}
