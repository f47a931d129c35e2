//! Small answers in one piece. hyper hands over head and body apart, to be gathered by the kernel; of a few hundred
//! bytes a copy costs less than that.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Up to so many bytes are copied.
const SMALL: usize = 1024;

/// A stream whose small gathered writes are plain ones.
pub struct Flat<S>(pub S);

impl<S: AsyncRead + Unpin> AsyncRead for Flat<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Flat<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut small = [0; SMALL];
        let mut length = 0;
        for slice in slices {
            let Some(room) = small.get_mut(length..length + slice.len()) else {
                return Pin::new(&mut self.0).poll_write_vectored(context, slices);
            };
            room.copy_from_slice(slice);
            length += slice.len();
        }
        Pin::new(&mut self.0).poll_write(context, &small[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_gathered_arrives_in_order_whatever_its_size() {
        for lengths in [
            [0, 0, 0],
            [3, 0, 5],
            [500, 524, 0],
            [500, 525, 0],
            [5, 2000, 9],
        ] {
            let parts = [b'a', b'b', b'c'].map(|letter| vec![letter; 2000]);
            let parts: Vec<_> = lengths
                .iter()
                .zip(&parts)
                .map(|(length, part)| &part[..*length])
                .collect();
            let (near, mut far) = duplex(8192);
            let mut near = Flat(near);
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let written = near.write_vectored(&slices).await.unwrap();
            drop(near);
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            let whole = parts.concat();
            // What is not small may take more than one write.
            assert!(written == whole.len() || whole.len() > SMALL && written > 0);
            assert_eq!(read, whole[..written]);
        }
    }
}
