//! An HTTP client and an event parser for the tests, as plain as can be.

use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::replay::Options;
use crate::replay::Replay;
use crate::replay::start;

pub const STREAM: &str = "/v2/stream/recentchange";
pub const AGENT: (&str, &str) = ("user-agent", "tests");

pub async fn start_with(change: impl FnOnce(&mut Options)) -> Replay {
    let mut options =
        Options { address: ([127, 0, 0, 1], 0).into(), rate: 0, ..Options::default() };
    change(&mut options);
    start(options).await.unwrap()
}

pub async fn get(replay: &Replay, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let tcp = TcpStream::connect(replay.address()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}

pub async fn get_json(replay: &Replay, path: &str) -> Value {
    let body = get(replay, path, &[]).await.into_body().collect().await.unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

#[derive(Debug, PartialEq)]
pub enum End {
    Closed,
    Cut,
    Silent,
}

/// Everything until the end, or until `enough` says so: then nothing more may come for a moment.
pub async fn read(body: &mut Incoming, enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    loop {
        let patience =
            if enough(&bytes) { Duration::from_millis(100) } else { Duration::from_secs(20) };
        match timeout(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Ok(Some(Err(_))) => return (bytes, End::Cut),
            Ok(None) => return (bytes, End::Closed),
            Err(_) => {
                assert!(enough(&bytes), "silent after {} bytes", bytes.len());
                return (bytes, End::Silent);
            }
        }
    }
}

pub struct Message {
    pub name: String,
    pub id: String,
    pub data: Vec<u8>,
}

impl Message {
    /// The milliseconds in the id: one more than the time of the event.
    pub fn milliseconds(&self) -> u64 {
        let (_, behind) = self.id.split_once("\"timestamp\":").unwrap();
        behind.split('}').next().unwrap().parse().unwrap()
    }

    /// What to send as Last-Event-ID: the id with that millisecond taken away again, so that no event is missed.
    pub fn resume(&self) -> String {
        let came = self.milliseconds();
        self.id.replace(&came.to_string(), &(came - 1).to_string())
    }
}

/// The complete events, and what is left after the last one.
pub fn events(bytes: &[u8], eol: &str) -> (Vec<Message>, Vec<u8>) {
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let blank = eol.repeat(2);
    let (mut list, mut begin) = (Vec::new(), 0);
    let ends: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at] == blank.as_bytes()[0] && bytes[at..].starts_with(blank.as_bytes()))
        .collect();
    for at in ends {
        let mut message = Message { name: String::new(), id: String::new(), data: Vec::new() };
        for line in bytes[begin..at]
            .split(|byte| eol.as_bytes().contains(byte))
            .filter(|line| !line.is_empty())
        {
            let text = || String::from_utf8(line.to_vec()).unwrap();
            match line {
                b":ok" => {}
                [b'e', b'v', b'e', b'n', b't', b':', b' ', ..] => {
                    message.name = text()[7..].to_owned()
                }
                [b'i', b'd', b':', b' ', ..] => message.id = text()[4..].to_owned(),
                [b'd', b'a', b't', b'a', b':', b' ', data @ ..] => message.data = data.to_vec(),
                _ => panic!("no line of this stream: {}", text()),
            }
        }
        begin = at + blank.len();
        if !message.name.is_empty() {
            list.push(message);
        }
    }
    (list, bytes[begin..].to_vec())
}

pub fn offset(message: &Message) -> Option<u64> {
    let value: Value = serde_json::from_slice(&message.data).ok()?;
    Some(value.pointer("/meta/offset")?.as_u64()? - 5_100_000_000)
}
