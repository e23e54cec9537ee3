//! As much of Cassandra's native protocol as lab needs: to ask a node whether it works, and to have one statement
//! executed. It is not enough that a port accepts connections: another program may listen there, and a proxy accepts
//! them before its node does.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::ToSocketAddrs;

use crate::services::connect::connect;

const VERSION: u8 = 4;
const RESPONSE: u8 = 0x80;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const HEADER: usize = 9;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A change of the schema takes its time.
const EXECUTED_WITHIN: Duration = Duration::from_secs(60);
/// The `CQL_VERSION` of STARTUP: a map of one entry, each string behind its length.
const STARTUP_BODY: &[u8] = b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0";

/// Whether a Cassandra node at `address` answers an OPTIONS request with SUPPORTED.
pub async fn answers(address: impl ToSocketAddrs) -> bool {
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(address)).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|header| is_supported(&header)))
}

/// Has `statement`, which has no values, executed by the node at `address`.
pub async fn execute(address: impl ToSocketAddrs, statement: &str) -> Result<()> {
    let executed = async {
        let mut stream = TcpStream::connect(address).await?;
        exchange(&mut stream, STARTUP, STARTUP_BODY, READY).await?;
        let length = u32::try_from(statement.len())?.to_be_bytes();
        // After the statement: consistency ONE, and no flags.
        let body = [&length, statement.as_bytes(), &[0, 1, 0]].concat();
        exchange(&mut stream, QUERY, &body, RESULT).await
    };
    tokio::time::timeout(EXECUTED_WITHIN, executed)
        .await
        .ok()
        .context("Cassandra does not answer")?
        .with_context(|| format!("Cassandra has not executed: {statement}"))
}

async fn exchange(stream: &mut TcpStream, opcode: u8, body: &[u8], expected: u8) -> Result<()> {
    let mut frame = request(opcode).to_vec();
    frame[5..HEADER].copy_from_slice(&u32::try_from(body.len())?.to_be_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame).await?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let [.., a, b, c, d] = header;
    let mut answer = Vec::new();
    let length = u32::from_be_bytes([a, b, c, d]);
    stream.take(length.into()).read_to_end(&mut answer).await?;
    if header[0] != VERSION | RESPONSE || header[4] != expected {
        // Of an ERROR: a code of four bytes, and the message behind its length of two.
        let message = String::from_utf8_lossy(answer.get(6..).unwrap_or_default());
        bail!("answer {:#04x}: {message}", header[4]);
    }
    Ok(())
}

async fn ask(address: impl ToSocketAddrs) -> std::io::Result<[u8; HEADER]> {
    let mut stream = connect(address).await?;
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
    use std::net::SocketAddr;

    use super::*;
    use crate::services::connect::tests;

    async fn server(reply: &'static [u8]) -> SocketAddr {
        tests::server(&[4, 0, 0, 0, 5, 0, 0, 0, 0], reply).await
    }

    #[tokio::test]
    async fn only_supported_is_an_answer() {
        assert!(answers(server(&[0x84, 0, 0, 0, 6, 0, 0, 0, 0]).await).await);
        let error = server(&[0x84, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        assert!(!answers(error).await, "an ERROR frame");
        let echo = server(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).await;
        assert!(!answers(echo).await, "our own request");
        assert!(!answers(server(b"HTTP/1.1 400").await).await, "another protocol");
        assert!(!answers(server(&[0x84, 0]).await).await, "cut short");
    }

    #[tokio::test]
    async fn closed_port_does_not_answer() {
        assert!(!answers(tests::closed().await).await);
    }
}
