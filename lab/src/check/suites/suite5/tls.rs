//! TLS towards the broker, which published images can speak: what a company's broker asks for.

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::check::runner::Check;
use crate::check::runner::PROCESS;
use crate::check::runner::Skip;
use crate::check::subject::Subject;
use crate::check::wait::SOON;
use crate::process;

pub const CHECKS: &[Check] = &[Check {
    name: "the image's program speaks TLS to the broker where REDPANDA_PROPERTIES says so",
    expected: "a TLS handshake with security.protocol=ssl; in an image only, because elsewhere the feature may be off",
    hint: "the Dockerfile builds with the cargo feature `tls`; without it librdkafka refuses the property",
    smoke: true,
    run: |subject| Box::pin(handshake(subject)),
    ..PROCESS
}];

/// The record type of a handshake, and the major version of every TLS.
const CLIENT_HELLO: [u8; 2] = [0x16, 0x03];

async fn handshake(subject: &Subject) -> Result<()> {
    if subject.image().is_none() {
        bail!(Skip("only the program of an image must do this: give --image NAME".to_owned()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let broker = listener.local_addr()?.to_string();
    let program = subject.program()?.env("REDPANDA_BROKER", broker);
    let program = program.env("REDPANDA_PROPERTIES", "security.protocol=ssl");
    let mut process = program.args(["producer"]).start()?;
    let read = async {
        let (mut connection, _) = listener.accept().await?;
        let mut begin = [0; 2];
        connection.read_exact(&mut begin).await?;
        std::io::Result::Ok(begin)
    };
    let begin = tokio::select! {
        read = read => read.ok(),
        // It has ended, or is silent.
        _ = process.wait(SOON) => None,
    };
    ensure!(
        begin == Some(CLIENT_HELLO),
        "no TLS handshake within {} s, but {begin:?}; stderr:\n{}",
        SOON.as_secs(),
        process::tail(&process.stderr.lines())
    );
    Ok(())
}
