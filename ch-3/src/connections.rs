//! The loop that accepts connections. Unlike that of axum it has limits for clients that never finish a request, do not
//! read the answer, or open too many connections. http.rs gives it the listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::Resource;
use rustix::process::getrlimit;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;
use tracing::error;

/// The longest wait for the head of a request. It begins when the connection is opened, and after each request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// If a client reads nothing of its answer for this long, its connection is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes.
const HEADER_LIMIT: usize = 16 * 1024;

/// At most this many connections are open. Others wait in the kernel until one closes.
const CONNECTION_LIMIT: u64 = 1000;

/// The number of open files that are left for the store, the stream and the logs.
const OTHER_FILES: u64 = 64;

/// Accepting fails if the system has no files or memory left. It is tried again after this time.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Accepts connections until shutdown, then waits for the requests that have begun.
pub async fn serve(listener: TcpListener, app: Router, shutdown: &CancellationToken) {
    serve_at_most(limit(), listener, app, shutdown).await;
}

/// `limit` is the largest number of connections that are open at once.
async fn serve_at_most(
    limit: usize,
    listener: TcpListener,
    app: Router,
    shutdown: &CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_LIMIT);
    let places = Arc::new(Semaphore::new(limit));
    let open = GracefulShutdown::new();
    while let Some((stream, client, place)) =
        shutdown.run_until_cancelled(accept(&listener, &places)).await
    {
        let app = app.clone();
        let service = service_fn(move |mut request: Request<_>| {
            request.extensions_mut().insert(ConnectInfo(client));
            app.clone().oneshot(request.map(Body::new))
        });
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_write_timeout_pinned(Some(WRITE_TIMEOUT));
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%client, %error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, SocketAddr, Place) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            continue; // Only a closed semaphore refuses, and this one is never closed.
        };
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client, place),
            Err(error) => error!(%error, "cannot accept a connection"),
        }
        sleep(ACCEPT_RETRY).await;
    }
}

/// The limit of connections; it is lower if the process may not open so many files.
fn limit() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = files.saturating_sub(OTHER_FILES).clamp(1, CONNECTION_LIMIT);
    usize::try_from(limit).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    use super::*;

    async fn ask(server: SocketAddr, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(server).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_read_its_answer_gives_its_place_back() {
        let gone = CancellationToken::new();
        let was_there = gone.clone();
        let endless = async move || {
            let guard = was_there.drop_guard();
            Body::from_stream(stream::repeat_with(move || {
                let _whole = &guard;
                io::Result::Ok(&[b'x'; 8192][..])
            }))
        };
        let app = Router::new()
            .route("/endless", get(endless))
            .route("/gone", get(async move || gone.is_cancelled().to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().drop_guard();
        let client = async {
            let not_read = ask(server, "/endless").await;
            let mut waits = ask(server, "/gone").await;
            let mut answer = String::new();
            let read = waits.read_to_string(&mut answer);
            timeout(3 * WRITE_TIMEOUT, read).await.expect("the place is still taken").unwrap();
            assert!(answer.ends_with("\r\n\r\ntrue"), "{answer}");
            drop((not_read, stop));
        };
        tokio::join!(client, serve_at_most(1, listener, app, &shutdown));
    }
}
