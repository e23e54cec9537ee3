//! A keyspace for one check, dropped when the check has passed. Speaks just enough of Cassandra's native protocol
//! (version 4) to say DROP KEYSPACE, so that lab needs no driver.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::subject::Subject;

const STARTUP: u8 = 0x01;
const QUERY: u8 = 0x07;
const ERROR: u8 = 0x00;
const LOCAL_ONE: u16 = 0x000A;

pub struct Keyspace {
    nodes: String,
    name: String,
}

impl Keyspace {
    /// A name that no other check and no other run has; the program creates it.
    pub fn new(subject: &Subject) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let nodes = subject.cassandra().context("no Cassandra")?.to_owned();
        Ok(Self {
            nodes,
            name: format!("lab_check_{}_{number}", std::process::id()),
        })
    }

    pub fn nodes(&self) -> &str {
        &self.nodes
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Drops it. After a failed check it stays, to be looked at.
    pub async fn remove(self) -> Result<()> {
        let dropped = drop_keyspace(&self.nodes, &self.name);
        tokio::time::timeout(Duration::from_secs(60), dropped)
            .await
            .with_context(|| format!("DROP KEYSPACE {} took longer than 60 s", self.name))?
            .with_context(|| format!("cannot drop the keyspace {}", self.name))
    }
}

async fn drop_keyspace(nodes: &str, name: &str) -> Result<()> {
    let node = nodes.split(',').next().unwrap_or(nodes).trim();
    let mut stream = TcpStream::connect(node)
        .await
        .with_context(|| format!("cannot connect to {node}"))?;
    let mut options = 1_u16.to_be_bytes().to_vec();
    for text in ["CQL_VERSION", "3.0.0"] {
        options.extend(u16::try_from(text.len())?.to_be_bytes());
        options.extend(text.as_bytes());
    }
    call(&mut stream, STARTUP, &options).await?;
    let statement = format!("DROP KEYSPACE IF EXISTS {name}");
    let mut query = u32::try_from(statement.len())?.to_be_bytes().to_vec();
    query.extend(statement.as_bytes());
    query.extend(LOCAL_ONE.to_be_bytes());
    query.push(0);
    call(&mut stream, QUERY, &query).await
}

/// Sends a frame and reads its answer: version, flags, stream (2 bytes), opcode, length (4 bytes), body.
async fn call(stream: &mut TcpStream, opcode: u8, body: &[u8]) -> Result<()> {
    let mut frame = vec![0x04, 0, 0, 0, opcode];
    frame.extend(u32::try_from(body.len())?.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).await?;
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut answer = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut answer).await?;
    // The text of an error stands behind its code and length.
    let text = String::from_utf8_lossy(answer.get(6..).unwrap_or_default()).into_owned();
    ensure!(head[4] != ERROR, "Cassandra answers: {text}");
    Ok(())
}
