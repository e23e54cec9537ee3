//! As much of Kafka's protocol as lab needs to ask a broker whether it works. It does when it names itself among the
//! brokers of the cluster; while it starts, it already accepts connections, but names no broker.

use std::io::Error;
use std::io::ErrorKind;
use std::io::Result;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::ToSocketAddrs;

use crate::services::connect::connect;

const METADATA: u16 = 3;
/// The first in which "no topics" can be asked for.
const VERSION: u16 = 1;
const CORRELATION: u32 = 0x006c_6162;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Of an answer that names brokers and no topics; what is larger is none.
const LARGEST: u32 = 64 * 1024;

/// Whether a Kafka broker, or one that speaks its protocol, serves at `address`.
pub async fn answers(address: impl ToSocketAddrs) -> bool {
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(address)).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|answer| names_a_broker(&answer)))
}

async fn ask(address: impl ToSocketAddrs) -> Result<Vec<u8>> {
    let mut stream = connect(address).await?;
    stream.write_all(&request()).await?;
    let length = stream.read_u32().await?;
    if length > LARGEST {
        return Err(Error::from(ErrorKind::InvalidData));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Behind its length: the key of the request, its version, a number that comes back, a client id of length 3, and an
/// array of no topics. All numbers are big-endian.
fn request() -> Vec<u8> {
    let body = [
        &METADATA.to_be_bytes()[..],
        &VERSION.to_be_bytes(),
        &CORRELATION.to_be_bytes(),
        b"\0\x03lab",
        &[0; 4],
    ]
    .concat();
    [&[0, 0, 0, 17], &body[..]].concat()
}

/// Behind the number that came back stands how many brokers there are.
fn names_a_broker(answer: &[u8]) -> bool {
    let number = |at: usize| Some(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    number(0) == Some(CORRELATION) && number(4).is_some_and(|brokers| (1..1_000).contains(&brokers))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::services::connect::tests;

    async fn server(reply: &'static [u8]) -> SocketAddr {
        tests::server(&request(), reply).await
    }

    #[test]
    fn request_is_as_long_as_it_says() {
        let request = request();
        assert_eq!(request[..4], (request.len() as u32 - 4).to_be_bytes());
    }

    #[tokio::test]
    async fn only_a_broker_that_names_one_is_an_answer() {
        assert!(answers(server(b"\0\0\0\x0a\0lab\0\0\0\x01..").await).await);
        let none = server(b"\0\0\0\x08\0lab\0\0\0\0").await;
        assert!(!answers(none).await, "it still starts");
        let other = server(b"\0\0\0\x08\0lob\0\0\0\x01").await;
        assert!(!answers(other).await, "not to our request");
        assert!(!answers(server(b"HTTP/1.1 400").await).await, "HTTP");
        assert!(!answers(server(b"\0\0\0\x0a\0lab").await).await, "cut short");
        assert!(!answers(tests::closed().await).await, "a closed port");
    }
}
