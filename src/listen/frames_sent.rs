//! Follows what is sent on an HTTP/2 connection. h2 itself resets a stream whose request is malformed, and nobody is asked: the
//! frames alone tell of it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

// The bytes before a frame's payload (RFC 9113 §4.1), and with an error code behind them.
const FRAME_HEAD: usize = 9;
const RESET: usize = FRAME_HEAD + 4;
// Of RFC 9113 §6 and §7.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
const PROTOCOL_ERROR: u32 = 1;

/// Counts the malformed requests of one connection that nobody has told of yet.
#[derive(Default)]
pub(super) struct MalformedRequests(AtomicU32);

impl MalformedRequests {
    /// How many there were, since the last call.
    pub(super) fn take(&self) -> u32 {
        // Nearly always there is none, and a load costs less than an exchange.
        match self.0.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.0.swap(0, Ordering::Relaxed),
        }
    }
}

/// A server's end of an HTTP/2 connection.
pub(super) struct FramesSent<S> {
    stream: S,
    frames: Frames,
}

impl<S> FramesSent<S> {
    pub(super) fn new(stream: S, malformed: Arc<MalformedRequests>) -> Self {
        let frames = Frames {
            malformed,
            head: [0; RESET],
            have: 0,
            payload: 0,
            answered: 0,
        };
        Self { stream, frames }
    }
}

/// Where in which frame the next byte stands.
struct Frames {
    malformed: Arc<MalformedRequests>,
    head: [u8; RESET],
    have: usize,
    /// What is left of the frame behind its head.
    payload: usize,
    /// The stream that was answered last, and without a body.
    answered: u32,
}

impl Frames {
    /// These `bytes` were sent next.
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let is_reset = self.have >= FRAME_HEAD && self.head[3] == RST_STREAM;
            let wanted = if is_reset { RESET } else { FRAME_HEAD };
            let taken = (wanted - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            self.read_head();
        }
    }

    /// Reads the head once all of it is there.
    fn read_head(&mut self) {
        let number = |at: usize| {
            let bytes = &self.head[at..];
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let (kind, flags) = (self.head[3], self.head[4]);
        let (length, stream, code) = (number(0) >> 8, number(5), number(FRAME_HEAD));
        match (self.have, kind) {
            (RESET, _) => {
                // To too large fields h2 gives an answer before it resets their stream.
                if code == PROTOCOL_ERROR && self.answered != stream {
                    self.malformed.0.fetch_add(1, Ordering::Relaxed);
                }
                self.have = 0;
            }
            (FRAME_HEAD..RESET, RST_STREAM) | (..FRAME_HEAD, _) => {}
            _ => {
                if kind == HEADERS && flags & END_STREAM != 0 {
                    self.answered = stream;
                }
                self.payload = length as usize;
                self.have = 0;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramesSent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FramesSent<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.frames.follow(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        let mut left = length;
        for slice in slices {
            let sent = left.min(slice.len());
            self.frames.follow(&slice[..sent]);
            left -= sent;
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
        [&head[..], payload].concat()
    }

    #[tokio::test]
    async fn malformed_requests_are_counted_however_the_frames_are_cut() {
        let reset = |stream, code| frame(RST_STREAM, 0, stream, &[0, 0, 0, code]);
        let sent = [
            frame(4, 0, 0, &[0; 12]),
            // Malformed, twice; given up by the gate; answered.
            reset(1, 1),
            frame(HEADERS, 4, 3, b"fields"),
            frame(0, 1, 3, &[3; 200]),
            reset(5, 8),
            reset(7, 1),
            frame(HEADERS, 4 | END_STREAM, 9, b"431"),
            reset(9, 1),
            frame(4, 1, 0, &[]),
        ];
        let sent = sent.concat();
        for piece in [1, 2, 7, 13, 50, sent.len()] {
            let malformed = Arc::<MalformedRequests>::default();
            let mut stream = FramesSent::new(tokio::io::sink(), Arc::clone(&malformed));
            for (number, piece) in sent.chunks(piece).enumerate() {
                if number % 2 == 0 {
                    stream.write_all(piece).await.unwrap();
                } else {
                    let (first, second) = piece.split_at(piece.len() / 2);
                    let slices = [IoSlice::new(first), IoSlice::new(second)];
                    let length = stream.write_vectored(&slices).await.unwrap();
                    assert_eq!(length, piece.len());
                }
            }
            assert_eq!((malformed.take(), malformed.take()), (2, 0), "{piece}");
        }
    }
}
