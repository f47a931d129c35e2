//! One request and its answer, on one connection or, where that one was being closed, on a second.

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
    body::Upload,
    connection::ReadError,
    downstream::Place,
    http1::ResponseHead,
    outgoing::{Outgoing, SendError},
    stream::Stream,
    upstream::{Lease, Upstream},
};
use crate::timer::Timer;

/// A request whose answer has begun.
pub(super) struct Exchange {
    pub(super) head: ResponseHead,
    pub(super) lease: Lease,
    /// The rest of the request, where it is not sent yet.
    pub(super) upload: Option<RunningUpload>,
}

/// The rest of a request, on its way while its answer is on its own. Let go of, it goes on as long as it moves.
pub(super) struct RunningUpload {
    task: JoinHandle<UploadEnd>,
    upload: Option<Arc<Upload>>,
    /// Dropped with the answer's end.
    _answer: oneshot::Sender<Infallible>,
}

impl RunningUpload {
    fn start(
        outgoing: Outgoing,
        writer: WriteHalf<Stream>,
        upload: Option<Arc<Upload>>,
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
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<UploadEnd> {
        let ended = Pin::new(&mut self.task).poll(context);
        ended.map(|ended| ended.unwrap_or(UploadEnd::BrokenOff))
    }

    /// The pieces of the body that have gone by.
    pub(super) fn frames(&self) -> u64 {
        self.upload.as_deref().map_or(0, Upload::frames)
    }

    /// Ends it where it is.
    pub(super) fn abort(self) {
        self.task.abort();
    }
}

/// How a request that outlasts the beginning of its answer came to its end.
pub(super) enum UploadEnd {
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
    pub(super) upstream: &'a Arc<Upstream>,
    /// How long the upstream may be silent.
    pub(super) patience: Duration,
    /// Where the connection waits for the same client, if it turns out to be private.
    pub(super) place: Option<Place>,
    /// Whether the request makes it private.
    pub(super) is_private: bool,
    /// See [`Connection::largest_read`](super::connection::Connection).
    pub(super) largest_read: usize,
}

impl Terms<'_> {
    /// A connection to send it on: what is at hand, or a fresh one.
    async fn connection(
        &self,
        at_hand: Option<Lease>,
        timer: &mut Timer,
    ) -> Result<Lease, ForwardError> {
        let mut lease = if let Some(lease) = at_hand {
            lease
        } else {
            // Boxed, since few requests need one.
            let mut connecting = Box::pin(self.upstream.connect());
            let connected = timer.within(self.patience, connecting.as_mut()).await;
            let connected = connected.ok_or(ForwardError::TimedOut)?;
            connected.map_err(ForwardError::Broken)?
        };
        lease.place.clone_from(&self.place);
        lease.connection.is_private |= self.is_private;
        lease.connection.largest_read = self.largest_read;
        Ok(lease)
    }
}

/// Sends a request and reads the head of its answer. `lease` is a connection at hand. What is left of the
/// request then goes on in a task of its own; once the answer is over, as long as it moves within the patience.
///
/// On a connection that was used before, no answer, `408` or what is none may be meant for nobody: the upstream was
/// closing it. Where that does no harm, the request is sent once more, on a fresh one.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps what it is given twice, in each request's future"
)]
pub(super) fn exchange(
    terms: Terms<'_>,
    lease: Option<Lease>,
    mut outgoing: Outgoing,
    upload: Option<Arc<Upload>>,
    mut timer: Timer,
) -> impl Future<Output = Result<(Exchange, Timer), ForwardError>> + Send {
    async move {
        let mut lease = terms.connection(lease, &mut timer).await?;
        loop {
            let conversed = converse(&mut lease, &mut outgoing, &mut timer, terms.patience).await;
            timer.clear();
            match conversed {
                Ok((head, _))
                    if head.status == StatusCode::REQUEST_TIMEOUT
                        && lease.is_reused
                        && outgoing.rewind() =>
                {
                    lease = terms.connection(None, &mut timer).await?;
                }
                Ok((head, is_sent)) => {
                    let upload = if is_sent {
                        lease.connection.leave_output(outgoing.into_buffer());
                        None
                    } else {
                        let writer = lease.connection.writer.take();
                        writer.map(|writer| {
                            RunningUpload::start(outgoing, writer, upload, terms.patience)
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
                        terms.upstream.target.distrust();
                    }
                    lease = terms.connection(None, &mut timer).await?;
                }
                Err(Failure::Silent(error) | Failure::NoAnswer(error)) => {
                    return Err(ForwardError::Broken(error));
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }
}

/// The answer's head, and whether the request was sent to its end before. An upstream may answer before,
/// and may stop listening once it has. It may be silent for `patience`, but while the client is to send more: how
/// long that may take is the body's affair.
async fn converse(
    lease: &mut Lease,
    outgoing: &mut Outgoing,
    timer: &mut Timer,
    patience: Duration,
) -> Result<(ResponseHead, bool), Failure> {
    let connection = &mut *lease.connection;
    let mut is_sent = false;
    let mut refused = None;
    let mut sent_before = None;
    poll_fn(|context| {
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
    mut outgoing: Outgoing,
    mut writer: WriteHalf<Stream>,
    upload: Option<Arc<Upload>>,
    patience: Duration,
    answered: oneshot::Receiver<Infallible>,
) -> UploadEnd {
    let frames = || upload.as_deref().map_or(0, Upload::frames);
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
                Err(_) if frames() == before => return UploadEnd::BrokenOff,
                Err(_) => {}
            }
        },
    };
    match sent {
        Ok(()) => UploadEnd::Sent(writer),
        Err(SendError::Upstream(_)) => UploadEnd::Refused,
        Err(SendError::Body(_)) => UploadEnd::BrokenOff,
    }
}
