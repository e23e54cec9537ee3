//! A proxy in front of a service, which holds up what goes through it for as long as a check wants.

use anyhow::Result;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on to one address; it ends when dropped.
pub struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (open, is_open) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(service) = TcpStream::connect(&target).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_service, to_service) = service.into_split();
                connections.spawn(pass(from_client, to_service, is_open.clone()));
                connections.spawn(pass(from_service, to_client, is_open.clone()));
            }
        });
        Ok(Self { port, open, task })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Holds up what comes from now on, or lets it go on.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let opened = open.wait_for(|open| *open).await.is_ok();
        if !opened || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_held_up_comes_when_the_door_opens() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let proxy = Proxy::start(target).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut service, _) = listener.accept().await.unwrap();
        let mut letter = [0];
        client.write_all(b"a").await.unwrap();
        service.read_exact(&mut letter).await.unwrap();
        proxy.set_open(false);
        client.write_all(b"b").await.unwrap();
        let mut read = std::pin::pin!(service.read_exact(&mut letter));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut read).await;
        assert!(early.is_err(), "it came through the closed door");
        proxy.set_open(true);
        read.await.unwrap();
        assert_eq!(&letter, b"b");
    }
}
