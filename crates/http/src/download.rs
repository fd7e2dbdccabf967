//! A body that a blocking thread writes while a client takes it.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::Stream;

use crate::transfer::QUEUED_PIECES;

/// Size of a piece of the body, in bytes.
const PIECE: usize = 256 * 1024;

/// Both ends of a body of exactly `size` bytes; `stall` is how long the client may take nothing.
pub(crate) fn channel(size: u64, stall: Duration) -> (DownloadWriter, Download) {
    let (sender, pieces) = mpsc::channel(QUEUED_PIECES);
    let writer = DownloadWriter {
        piece: BytesMut::new(),
        pieces: sender,
        stall,
        runtime: Handle::current(),
        lost: None,
    };
    (writer, Download { pieces, left: size })
}

/// Why the client does not get the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It closed the connection.
    Gone,
    /// It took nothing for too long.
    Stalled,
}

impl From<Lost> for io::Error {
    fn from(lost: Lost) -> io::Error {
        match lost {
            Lost::Gone => io::ErrorKind::BrokenPipe.into(),
            Lost::Stalled => io::ErrorKind::TimedOut.into(),
        }
    }
}

/// The writing end, for a thread that may block. The last piece stays back until [`finish`](Self::finish).
pub(crate) struct DownloadWriter {
    piece: BytesMut,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    stall: Duration,
    runtime: Handle,
    lost: Option<Lost>,
}

impl DownloadWriter {
    /// Why the client is lost, if it is.
    pub(crate) fn lost(&self) -> Option<Lost> {
        self.lost
    }

    /// Sends what is left: everything was written and is good.
    pub(crate) fn finish(mut self) -> Result<(), Lost> {
        self.send_piece()
    }

    /// Ends the body as broken: the client must not take what it has for the whole.
    pub(crate) fn abort(mut self, error: io::Error) {
        // A client that does not even take this finds the body short, which breaks it as well.
        let _ = self.send(Err(error));
    }

    fn send_piece(&mut self) -> Result<(), Lost> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.send(Ok(piece))
    }

    fn send(&mut self, item: io::Result<Bytes>) -> Result<(), Lost> {
        let sent = self
            .runtime
            .block_on(self.pieces.send_timeout(item, self.stall));
        sent.map_err(|error| {
            let lost = match error {
                SendTimeoutError::Closed(_) => Lost::Gone,
                SendTimeoutError::Timeout(_) => Lost::Stalled,
            };
            *self.lost.insert(lost)
        })
    }
}

impl Write for DownloadWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full piece leaves only when more comes: it might be the last.
        if self.piece.len() >= PIECE {
            self.send_piece()?;
        }
        self.piece.reserve(PIECE - self.piece.len());
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: see [`finish`](Self::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end: the stream that the client gets. It yields exactly the announced bytes or an error.
pub(crate) struct Download {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Stream for Download {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        self.pieces.poll_recv(context).map(|item| match item {
            Some(Ok(piece)) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Some(Ok(piece))
                }
                None => Some(Err(io::Error::other("more bytes than announced"))),
            },
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::spawn_blocking;
    use tokio_stream::StreamExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn collect(mut download: Download) -> Result<Vec<u8>, io::ErrorKind> {
        let mut all = Vec::new();
        while let Some(piece) = download.next().await {
            all.extend_from_slice(&piece.map_err(|error| error.kind())?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn yields_what_was_written_in_bounded_pieces() {
        let content: Vec<u8> = (0..3 * PIECE + 17).map(|i| (i % 251) as u8).collect();
        let (mut writer, mut download) = channel(content.len() as u64, LONG);
        let written = content.clone();
        let thread = spawn_blocking(move || writer.write_all(&written).map(|()| writer.finish()));
        let mut received = Vec::new();
        while let Some(piece) = download.next().await {
            let piece = piece.unwrap();
            assert!(piece.len() <= PIECE);
            received.extend_from_slice(&piece);
        }
        assert!(received == content);
        assert_eq!(thread.await.unwrap().unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn the_last_piece_waits_for_finish() {
        let (mut writer, mut download) = channel(PIECE as u64, LONG);
        spawn_blocking(move || {
            writer.write_all(&vec![7; PIECE]).unwrap();
            writer.flush().unwrap();
            writer.abort(io::ErrorKind::InvalidData.into());
        });
        let first = download.next().await.unwrap();
        assert_eq!(first.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_announced_is_an_error() {
        for (announced, expected) in [(4, io::ErrorKind::UnexpectedEof), (2, io::ErrorKind::Other)]
        {
            let (mut writer, download) = channel(announced, LONG);
            spawn_blocking(move || writer.write_all(b"abc").map(|()| writer.finish()));
            assert_eq!(
                collect(download).await,
                Err(expected),
                "announced {announced}"
            );
        }
    }

    #[tokio::test]
    async fn a_client_that_is_gone_or_stalls_ends_the_writer() {
        let (mut writer, download) = channel(u64::MAX, LONG);
        drop(download);
        let gone = spawn_blocking(move || {
            let error = io::copy(&mut io::repeat(0), &mut writer).unwrap_err();
            (error.kind(), writer.lost())
        });
        assert_eq!(
            gone.await.unwrap(),
            (io::ErrorKind::BrokenPipe, Some(Lost::Gone))
        );

        let (mut writer, download) = channel(u64::MAX, Duration::from_millis(1));
        let stalled = spawn_blocking(move || {
            let error = io::copy(&mut io::repeat(0), &mut writer).unwrap_err();
            (error.kind(), writer.lost())
        });
        assert_eq!(
            stalled.await.unwrap(),
            (io::ErrorKind::TimedOut, Some(Lost::Stalled))
        );
        drop(download);
    }
}
