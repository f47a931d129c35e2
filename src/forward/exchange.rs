//! One request and its answer. If the first connection was just being closed, a second connection is used, or one to another
//! address of the app.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use tokio::{io::WriteHalf, sync::oneshot, task::JoinHandle, time::timeout};

use super::{
    ForwardError,
    connection::ReadError,
    downstream::Place,
    http1::ResponseHead,
    pool::{Lease, Pool},
    request_body::UploadProgress,
    request_writer::{RequestWriter, SendError},
    stream::Stream,
    upstream::Upstream,
};
use crate::timer::Timer;

/// A request whose answer has begun.
pub(super) struct Exchange {
    pub(super) head: ResponseHead,
    pub(super) lease: Lease,
    /// The rest of the request, where it is not sent yet.
    pub(super) upload: Option<UploadTask>,
}

/// The rest of a request, on its way while its answer is on its own. Let go of, it goes on as long as it moves.
pub(super) struct UploadTask {
    task: JoinHandle<UploadOutcome>,
    upload: Option<Arc<UploadProgress>>,
    /// Dropped with the answer's end.
    _answer: oneshot::Sender<Infallible>,
}

impl UploadTask {
    fn start(
        outgoing: RequestWriter,
        writer: WriteHalf<Stream>,
        upload: Option<Arc<UploadProgress>>,
        patience: Duration,
    ) -> Self {
        let (answer, answered) = oneshot::channel();
        if let Some(upload) = &upload {
            upload.set_answered(true);
        }
        let rest = send_rest(outgoing, writer, upload.clone(), patience, answered);
        Self {
            task: tokio::spawn(rest),
            upload,
            _answer: answer,
        }
    }

    /// How it has ended. Wakes the task of `context` when it does.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<UploadOutcome> {
        let ended = Pin::new(&mut self.task).poll(context);
        ended.map(|ended| ended.unwrap_or(UploadOutcome::BrokenOff))
    }

    /// The pieces of the body that have gone by.
    pub(super) fn frames(&self) -> u64 {
        self.upload.as_deref().map_or(0, UploadProgress::frames)
    }

    /// Ends it where it is.
    pub(super) fn abort(self) {
        self.task.abort();
    }
}

/// How a request that outlasts the beginning of its answer came to its end.
pub(super) enum UploadOutcome {
    /// All is sent. With the connection's half.
    Sent(WriteHalf<Stream>),
    /// The upstream has heard enough; what it says is still an answer.
    Refused,
    /// The client sends no more. What the upstream has is no request, and it may wait for the rest for ever.
    BrokenOff,
}

/// Why there is no answer, and whether another connection may give one.
enum Failure {
    /// Nothing has come back, nor will.
    Silent(io::Error),
    /// What has come back is no answer, or not to this request.
    NoAnswer(io::Error),
    Final(ForwardError),
}

/// How a request is sent.
pub(super) struct Terms<'a> {
    pub(super) upstream: &'a Upstream,
    /// Which of its addresses.
    pub(super) pool: Arc<Pool>,
    /// Whether it has been sent to another before. No request is to more than two.
    pub(super) has_moved: bool,
    /// Where the connection waits for the same client, if it turns out to be private.
    pub(super) place: Option<Place>,
    /// Whether the request makes it private.
    pub(super) is_private: bool,
    /// See [`Connection::largest_read`](super::connection::Connection).
    pub(super) largest_read: usize,
}

impl Terms<'_> {
    /// How long the upstream may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.upstream.target.settings.head_timeout
    }

    /// A connection to send it on: what is at hand, or a fresh one; to another address where this one gives none.
    async fn connection(
        &mut self,
        at_hand: Option<Lease>,
        timer: &mut Timer,
    ) -> Result<Lease, ForwardError> {
        let mut lease = if let Some(lease) = at_hand {
            lease
        } else {
            loop {
                // Boxed, since few requests need one.
                let mut connecting = Box::pin(self.pool.connect());
                let connected = timer.within(self.patience(), connecting.as_mut()).await;
                drop(connecting);
                let error = match connected {
                    Some(Ok(lease)) => break lease,
                    // Nothing speaks against the address.
                    Some(Err(ForwardError::NoRoom)) => return Err(ForwardError::NoRoom),
                    Some(Err(error)) => error,
                    None => ForwardError::TimedOut,
                };
                self.pool.backend.failed();
                if !self.moves_on() {
                    return Err(error);
                }
            }
        };
        lease.place.clone_from(&self.place);
        lease.connection.is_private |= self.is_private;
        lease.connection.largest_read = self.largest_read;
        Ok(lease)
    }

    /// Turns to another address, once. Whether there is one.
    pub(super) fn moves_on(&mut self) -> bool {
        if self.has_moved {
            return false;
        }
        let Ok(pool) = self.upstream.choose(None, Some(&self.pool)) else {
            return false;
        };
        pool.backend.metrics.retried();
        self.pool = Arc::clone(pool);
        self.has_moved = true;
        true
    }
}

/// An answer by which an app, or a proxy before it, says that it cannot: as a failure does.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Sends a request and reads the head of its answer. `lease` is a connection at hand. What is left of the
/// request then goes on in a task of its own; once the answer is over, as long as it moves within the patience.
///
/// On a connection that was used before, no answer, `408` or what is none may be meant for nobody: the upstream was
/// closing it. Where that does no harm, the request is sent once more, on a fresh one. A fresh one that gives no answer
/// speaks against its address, and then another is tried, once.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps what it is given twice, in each request's future"
)]
pub(super) fn exchange(
    mut terms: Terms<'_>,
    lease: Option<Lease>,
    mut outgoing: RequestWriter,
    upload: Option<Arc<UploadProgress>>,
    mut timer: Timer,
) -> impl Future<Output = Result<(Exchange, Timer), ForwardError>> + Send {
    async move {
        let mut lease = terms.connection(lease, &mut timer).await?;
        loop {
            let conversed =
                send_and_read_head(&mut lease, &mut outgoing, &mut timer, terms.patience()).await;
            timer.clear();
            match conversed {
                Ok((head, _))
                    if head.status == StatusCode::REQUEST_TIMEOUT
                        && lease.is_reused
                        && outgoing.rewind() =>
                {
                    // Its place may be the one that the next connection waits for.
                    drop(lease);
                    lease = terms.connection(None, &mut timer).await?;
                }
                Ok((head, is_sent)) => {
                    if is_failure(head.status) {
                        lease.pool.backend.failed();
                    } else {
                        lease.pool.backend.succeeded();
                    }
                    let upload = if is_sent {
                        lease.connection.leave_output(outgoing.into_buffer());
                        None
                    } else {
                        let writer = lease.connection.writer.take();
                        writer.map(|writer| {
                            UploadTask::start(outgoing, writer, upload, terms.patience())
                        })
                    };
                    let exchange = Exchange {
                        head,
                        lease,
                        upload,
                    };
                    return Ok((exchange, timer));
                }
                Err(failure @ (Failure::Silent(_) | Failure::NoAnswer(_)))
                    if lease.is_reused && outgoing.rewind() =>
                {
                    if matches!(failure, Failure::NoAnswer(_)) {
                        lease.pool.backend.distrust();
                    }
                    drop(lease);
                    lease = terms.connection(None, &mut timer).await?;
                }
                Err(Failure::Silent(error) | Failure::NoAnswer(error)) => {
                    lease.pool.backend.failed();
                    if !outgoing.is_repeatable() || !outgoing.rewind() || !terms.moves_on() {
                        return Err(ForwardError::Broken(error));
                    }
                    drop(lease);
                    lease = terms.connection(None, &mut timer).await?;
                }
                Err(Failure::Final(error)) => {
                    if matches!(error, ForwardError::TimedOut) {
                        lease.pool.backend.failed();
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// The answer's head, and whether the request was sent to its end before. An upstream may answer before,
/// and may stop listening once it has. It may be silent for `patience`, but while the client is to send more: how
/// long that may take is the body's affair.
async fn send_and_read_head(
    lease: &mut Lease,
    outgoing: &mut RequestWriter,
    timer: &mut Timer,
    patience: Duration,
) -> Result<(ResponseHead, bool), Failure> {
    let connection = &mut *lease.connection;
    let mut is_sent = false;
    let mut refused = None;
    let mut sent_before = None;
    poll_fn(|context| {
        if !is_sent
            && let Some(request) = outgoing.queueable()
            && connection.queue(request, context)
        {
            outgoing.set_queued();
            is_sent = true;
        }
        if let Poll::Ready(Err(error)) = connection.poll_queued(context) {
            refused.get_or_insert(error);
        }
        if !is_sent
            && refused.is_none()
            && let Some(writer) = &mut connection.writer
        {
            match outgoing.poll_send(writer, context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => is_sent = true,
                Poll::Ready(Err(SendError::Upstream(error))) => refused = Some(error),
                Poll::Ready(Err(SendError::Body(error))) => {
                    return Poll::Ready(Err(Failure::Final(ForwardError::Incomplete(error))));
                }
            }
        }
        if let Poll::Ready(read) = connection.poll_head(context, outgoing.is_head) {
            let read = read.map(|head| (head, is_sent));
            return Poll::Ready(read.map_err(|error| match (error, refused.take()) {
                (ReadError::Closed, Some(refused)) => Failure::Silent(refused),
                (error @ ReadError::Malformed(_), _) => Failure::NoAnswer(error.into()),
                (error, _) => Failure::Silent(error.into()),
            }));
        }
        if refused.is_none() && outgoing.waits_for_client() {
            sent_before = None;
            timer.clear();
        } else if sent_before.replace(outgoing.sent()) != Some(outgoing.sent()) {
            timer.set(patience);
        }
        let elapsed = timer.poll_elapsed(context);
        elapsed.map(|()| Err(Failure::Final(ForwardError::TimedOut)))
    })
    .await
}

async fn send_rest(
    mut outgoing: RequestWriter,
    mut writer: WriteHalf<Stream>,
    upload: Option<Arc<UploadProgress>>,
    patience: Duration,
    answered: oneshot::Receiver<Infallible>,
) -> UploadOutcome {
    let frames = || upload.as_deref().map_or(0, UploadProgress::frames);
    let mut sent = poll_fn(|context| outgoing.poll_send(&mut writer, context));
    // As long as the answer lasts, both sides may take their time: they may be talking with each other.
    let sent = tokio::select! {
        sent = &mut sent => sent,
        _ = answered => loop {
            if let Some(upload) = &upload {
                upload.set_answered(false);
            }
            let before = frames();
            match timeout(patience, &mut sent).await {
                Ok(sent) => break sent,
                Err(_) if frames() == before => return UploadOutcome::BrokenOff,
                Err(_) => {}
            }
        },
    };
    match sent {
        Ok(()) => UploadOutcome::Sent(writer),
        Err(SendError::Upstream(_)) => UploadOutcome::Refused,
        Err(SendError::Body(_)) => UploadOutcome::BrokenOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every request in flight to an app takes so much beside its own future.
    #[test]
    fn the_future_of_an_exchange_is_small() {
        fn size<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(exchange);
        assert!(size <= 960, "{size}");
    }
}
