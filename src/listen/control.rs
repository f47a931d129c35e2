//! What a connection is told from outside: to finish, or to close.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    task::Context,
};

use futures_util::task::AtomicWaker;

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
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, task::Poll};

    use super::*;

    #[tokio::test]
    async fn a_command_wakes_and_is_not_taken_back() {
        let control = Arc::new(Control::default());
        let told = {
            let control = Arc::clone(&control);
            tokio::spawn(poll_fn(move |context| match control.poll(context) {
                Command::Serve => Poll::Pending,
                command => Poll::Ready(command),
            }))
        };
        tokio::task::yield_now().await;
        control.send(Command::Close);
        control.send(Command::Drain);
        assert_eq!(told.await.unwrap(), Command::Close);
    }
}
