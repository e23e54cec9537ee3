//! The least of Cassandra's native protocol: asks a node whether it serves. A port that merely accepts is not enough:
//! it may be somebody else's, and a proxy accepts before its node does.

use std::io::Error;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::ToSocketAddrs;

const VERSION: u8 = 4;
const RESPONSE: u8 = 0x80;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const HEADER: usize = 9;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Whether a Cassandra node at `address` answers an OPTIONS request with SUPPORTED.
pub async fn answers(address: impl ToSocketAddrs) -> bool {
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(address)).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|header| is_supported(&header)))
}

async fn ask(address: impl ToSocketAddrs) -> std::io::Result<[u8; HEADER]> {
    let mut stream = TcpStream::connect(address).await?;
    // A port of the ephemeral range can be connected to itself, and would answer with the request.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(Error::from(ErrorKind::ConnectionRefused));
    }
    stream.write_all(&request(OPTIONS)).await?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    Ok(header)
}

/// A frame without a body: version, flags, stream (two bytes), opcode, length of the body (four bytes, big-endian).
fn request(opcode: u8) -> [u8; HEADER] {
    [VERSION, 0, 0, 0, opcode, 0, 0, 0, 0]
}

fn is_supported(header: &[u8; HEADER]) -> bool {
    header[0] == VERSION | RESPONSE && header[4] == SUPPORTED
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that reads one request and answers with `reply`.
    async fn server(reply: &'static [u8]) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; HEADER];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, [4, 0, 0, 0, 5, 0, 0, 0, 0]);
            stream.write_all(reply).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_supported_is_an_answer() {
        assert!(answers(server(&[0x84, 0, 0, 0, 6, 0, 0, 0, 0]).await).await);
        let error = server(&[0x84, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        assert!(!answers(error).await, "an ERROR frame");
        let echo = server(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).await;
        assert!(!answers(echo).await, "our own request");
        assert!(
            !answers(server(b"HTTP/1.1 400").await).await,
            "another protocol"
        );
        assert!(!answers(server(&[0x84, 0]).await).await, "cut short");
    }

    #[tokio::test]
    async fn closed_port_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(!answers(address).await);
    }
}
