//! Commands to a connection from outside: finish, or close.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU8, Ordering},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use super::ended::Ended;

/// What a connection should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    /// Go on.
    Serve,
    /// Answer what is under way and what is on its way, then close.
    Drain,
    /// Close now: it is idle, and its place is needed.
    Close,
}

/// One connection's channel of commands. A look costs one load.
#[derive(Default)]
pub(super) struct Control {
    command: AtomicU8,
    waker: AtomicWaker,
}

impl Control {
    /// Tells the connection. A weaker command than the last one changes nothing.
    pub(super) fn send(&self, command: Command) {
        self.command.fetch_max(command as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// The command. The task of `context` is woken when a stronger one comes.
    pub(super) fn poll(&self, context: &Context<'_>) -> Command {
        self.waker.register(context.waker());
        self.get()
    }

    /// The command.
    pub(super) fn get(&self) -> Command {
        match self.command.load(Ordering::Acquire) {
            0 => Command::Serve,
            1 => Command::Drain,
            _ => Command::Close,
        }
    }

    /// Waits for a client that has begun to speak, unless the connection's place is needed first.
    pub(super) async fn unless_evicted<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Ended> {
        let mut work = pin!(work);
        poll_fn(|context| match self.poll(context) {
            Command::Close => Poll::Ready(Err(Ended::Evicted)),
            Command::Serve | Command::Drain => work.as_mut().poll(context).map(Ok),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_command_wakes_and_is_not_taken_back() {
        let control = Arc::new(Control::default());
        let command = {
            let control = Arc::clone(&control);
            tokio::spawn(poll_fn(move |context| match control.poll(context) {
                Command::Serve => Poll::Pending,
                command => Poll::Ready(command),
            }))
        };
        tokio::task::yield_now().await;
        control.send(Command::Close);
        control.send(Command::Drain);
        assert_eq!(command.await.unwrap(), Command::Close);
    }
}
