//! The connection by which lab asks a service whether it works.

use std::io::Error;
use std::io::ErrorKind;
use std::io::Result;

use tokio::net::TcpStream;
use tokio::net::ToSocketAddrs;

/// # Errors
/// Nobody listens at `address`.
pub async fn connect(address: impl ToSocketAddrs) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A port of the ephemeral range can be connected to itself, and would answer with the request.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(Error::from(ErrorKind::ConnectionRefused));
    }
    Ok(stream)
}

#[cfg(test)]
pub mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// A server that expects one `request`, and answers with `reply`.
    pub async fn server(request: &[u8], reply: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let expected = request.to_vec();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut came = vec![0; expected.len()];
            stream.read_exact(&mut came).await.unwrap();
            assert_eq!(came, expected);
            stream.write_all(reply).await.unwrap();
        });
        address
    }

    /// An address at which nobody listens.
    pub async fn closed() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }
}
