//! The loop that accepts connections. Unlike that of axum it has limits for clients that never finish a request, or open
//! too many connections. http.rs gives it the listener.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;
use tracing::error;

use crate::limit::network;

/// The longest wait for the head of a request. It begins when the connection is opened, and after each request. A proxy
/// must be the first to close a connection that it keeps for later requests, and most do so after 60 s.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// The largest head of a request, in bytes.
const HEADER_LIMIT: usize = 16 * 1024;

/// At most this many connections are open, or fewer if the process may not open so many files.
const CONNECTION_LIMIT: u64 = 1000;

/// The number of open files that are left for the store, the stream and the logs. Connections need as many at least.
const OTHER_FILES: u64 = 64;

/// Accepting fails if the system has no files or memory left. It is tried again after this time.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// The open connections of each client, the oldest first.
type Clients = HashMap<IpAddr, Vec<JoinHandle<()>>>;

/// The largest number of connections that may be open at once, in a process that may open so many `files`.
///
/// # Errors
/// `files` are too few.
pub fn limit(files: u64) -> Result<usize> {
    let least = 2 * OTHER_FILES;
    ensure!(files >= least, "{files} open files are too few: ulimit -n {least}");
    Ok(usize::try_from((files - OTHER_FILES).min(CONNECTION_LIMIT))?)
}

/// Accepts connections until shutdown, then waits for the requests that have begun. Nobody waits for a place: if `limit`
/// connections are open, the client with the most of them loses its oldest one. So one client cannot shut others out.
pub async fn serve(limit: usize, listener: TcpListener, app: Router, shutdown: &CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_LIMIT);
    // A client that has sent its request may close its half of the connection, and wait for the answer.
    http.half_close(true);
    let mut clients = Clients::new();
    let open = GracefulShutdown::new();
    while let Some((stream, client)) = shutdown.run_until_cancelled(accept(&listener)).await {
        make_room(&mut clients, limit).await;
        let app = app.clone();
        let service = service_fn(move |mut request: Request<_>| {
            request.extensions_mut().insert(ConnectInfo(client));
            app.clone().oneshot(request.map(Body::new))
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%client, %error, "connection ended");
            }
        });
        clients.entry(network(client.ip())).or_default().push(connection);
    }
    drop(listener);
    open.shutdown().await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => error!(%error, "cannot accept a connection"),
        }
        sleep(ACCEPT_RETRY).await;
    }
}

/// Forgets the connections that have ended, and closes one if there are still `limit` of them.
async fn make_room(clients: &mut Clients, limit: usize) {
    clients.retain(|_, connections| {
        connections.retain(|connection| !connection.is_finished());
        !connections.is_empty()
    });
    if clients.values().map(Vec::len).sum::<usize>() < limit {
        return;
    }
    if let Some(connections) = clients.values_mut().max_by_key(|connections| connections.len()) {
        let oldest = connections.remove(0);
        oldest.abort();
        // Only then its file is closed. A flood of connections must not use up the files of others.
        let _ = oldest.await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::iter::repeat_with;
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    async fn open(server: SocketAddr, request: &str) -> TcpStream {
        let mut client = TcpStream::connect(server).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// What comes until the server closes the connection.
    async fn rest(mut client: TcpStream, patience: Duration) -> String {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        timeout(patience, read).await.expect("still open").unwrap();
        answer
    }

    /// Serves `app` on two places while `client` runs.
    async fn with_server<T>(app: Router, client: impl AsyncFnOnce(SocketAddr) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().drop_guard();
        let client = async {
            let _stop = stop;
            client(server).await
        };
        tokio::join!(client, serve(2, listener, app, &shutdown)).0
    }

    #[test]
    fn files_that_are_too_few_are_refused() {
        assert_eq!(limit(u64::MAX).unwrap(), 1000);
        assert_eq!(limit(256).unwrap(), 192);
        let refused = limit(127).unwrap_err().to_string();
        assert_eq!(refused, "127 open files are too few: ulimit -n 128");
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_never_comes_is_given_up() {
        for half in ["", "GET / HTTP/1.1\r\n"] {
            let client = async |server| rest(open(server, half).await, 2 * HEADER_TIMEOUT).await;
            assert_eq!(with_server(Router::new(), client).await, "");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_will_send_nothing_more_gets_its_answer() {
        let app = Router::new().route("/", get(async || sleep(ACCEPT_RETRY).await));
        let answer = with_server(app, async |server| {
            let mut client = open(server, "GET / HTTP/1.1\r\n\r\n").await;
            client.shutdown().await.unwrap();
            rest(client, HEADER_TIMEOUT).await
        });
        let answer = answer.await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn clients_that_finish_no_request_or_read_no_answer_do_not_shut_others_out() {
        let endless = async || Body::from_stream(stream::repeat(Ok::<_, Infallible>("and so on")));
        let app = Router::new().route("/", get(async || "here")).route("/endless", get(endless));
        let answer = with_server(app, async |server| {
            let mut held = Vec::new();
            for request in ["", "GET / HTTP/1.1\r\n", "GET /endless HTTP/1.1\r\n\r\n", "GET /"] {
                held.push(open(server, request).await);
            }
            rest(open(server, "GET / HTTP/1.0\r\n\r\n").await, HEADER_TIMEOUT / 2).await
        });
        let answer = answer.await;
        assert!(answer.ends_with("\r\n\r\nhere"), "{answer}");
    }

    #[tokio::test]
    async fn client_with_the_most_connections_loses_its_oldest_one() {
        let connections = |count| repeat_with(|| tokio::spawn(pending())).take(count).collect();
        let [few, many] = [1, 2].map(|last| Ipv4Addr::new(192, 0, 2, last).into());
        let mut clients = Clients::from([(few, connections(2)), (many, connections(4))]);
        let oldest = clients[&many][0].abort_handle();
        make_room(&mut clients, 7).await;
        assert_eq!((clients[&few].len(), clients[&many].len()), (2, 4));
        make_room(&mut clients, 6).await;
        assert_eq!((clients[&few].len(), clients[&many].len()), (2, 3));
        assert!(oldest.is_finished());
        clients[&few][0].abort();
        while !clients[&few][0].is_finished() {
            yield_now().await;
        }
        make_room(&mut clients, 5).await;
        assert_eq!((clients[&few].len(), clients[&many].len()), (1, 3));
    }
}
