//! The queue between the task that reads the stream and the one that writes. Reading goes on while a slice is written,
//! and what it reads meanwhile becomes the next slice. While the queue is full, reading waits.

use std::pin::pin;

use anyhow::Result;
use futures_util::Stream;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::resume::Resume;

/// Events are passed on in pieces of at most this many. A piece has fewer if fewer have arrived.
pub const PIECE: usize = 50;

/// The most pieces in the queue, and in a slice. The texts of an event are limited, so this limits the memory too.
pub const PIECES: usize = 100;

/// Events that were read together, and the place after the last of them.
type Piece = (Vec<Event>, Resume);

pub struct Queue {
    pieces: mpsc::Receiver<Piece>,
    reading: JoinHandle<()>,
}

impl Queue {
    /// Begins to read, and ends at the shutdown.
    pub fn of(
        events: impl Stream<Item = (Event, Resume)> + Send + 'static,
        shutdown: &CancellationToken,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let events = events.take_until(shutdown.clone().cancelled_owned());
        Self { pieces, reading: tokio::spawn(read(events, sender)) }
    }

    /// All events that are in the queue, and the place after them. `None` if reading has ended, and nothing is left.
    pub async fn slice(&mut self) -> Option<(Vec<Event>, Resume)> {
        let mut slice = Vec::new();
        self.pieces.recv_many(&mut slice, PIECES).await;
        let (pieces, mut places): (Vec<Vec<Event>>, Vec<Resume>) = slice.into_iter().unzip();
        Some((pieces.into_iter().flatten().collect(), places.pop()?))
    }

    /// Throws away what is in the queue.
    ///
    /// # Errors
    /// Reading has panicked.
    pub async fn end(self) -> Result<()> {
        drop(self.pieces);
        Ok(self.reading.await?)
    }
}

async fn read(events: impl Stream<Item = (Event, Resume)>, sender: mpsc::Sender<Piece>) {
    let mut pieces = pin!(events.ready_chunks(PIECE));
    while let Some(piece) = pieces.next().await {
        let (events, mut places): (Vec<Event>, Vec<Resume>) = piece.into_iter().unzip();
        let place = places.pop().unwrap_or_default();
        if sender.send((events, place)).await.is_err() {
            return;
        }
    }
}
