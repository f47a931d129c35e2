//! A stream that fails when its peer stops reading.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::timer::Timer;

/// A stream on which a write, or a flush, fails once the peer has taken nothing for a while.
pub(super) struct WriteTimeout<S> {
    stream: S,
    patience: Duration,
    /// Set while something waits to be taken.
    timer: Timer,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            timer: Timer::default(),
        }
    }

    /// What a write came to, or that it took too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer.clear();
            return written;
        }
        if !self.timer.is_set() {
            self.timer.set(self.patience);
        }
        let elapsed = self.timer.poll_elapsed(context);
        elapsed.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::{Instant, pause},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        pause();
        let (near, _far) = duplex(16);
        let mut near = WriteTimeout::new(near, PATIENCE);
        let began = Instant::now();
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < 2 * PATIENCE);
    }

    #[tokio::test]
    async fn a_slow_peer_is_waited_for_as_long_as_it_reads() {
        pause();
        let (near, mut far) = duplex(16);
        let mut near = WriteTimeout::new(near, PATIENCE);
        let began = Instant::now();
        let (written, ()) = tokio::join!(near.write_all(&[0; 64]), async {
            let mut buffer = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(PATIENCE / 2).await;
                far.read_exact(&mut buffer).await.unwrap();
            }
        });
        written.unwrap();
        assert!(began.elapsed() >= 2 * PATIENCE);
    }
}
