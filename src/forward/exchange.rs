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

use tokio::{io::WriteHalf, sync::oneshot, task::JoinHandle, time::timeout};

use super::{
    ForwardError,
    body::Upload,
    connection::ReadError,
    http1::ResponseHead,
    outgoing::{Outgoing, SendError},
    stream::Stream,
    upstream::{Lease, Upstream},
};

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
        Self {
            task: tokio::spawn(send_rest(outgoing, writer, upload, patience, answered)),
            _answer: answer,
        }
    }

    /// How it has ended. Wakes the task of `context` when it does.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<UploadEnd> {
        let ended = Pin::new(&mut self.task).poll(context);
        ended.map(|ended| ended.unwrap_or(UploadEnd::BrokenOff))
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
    Final(ForwardError),
}

/// Sends a request and reads the head of its answer. `lease` is a connection at hand. What is left of the
/// request then goes on in a task of its own; once the answer is over, as long as it moves within `patience`.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps what it is given twice, in each request's future"
)]
pub(super) fn exchange(
    upstream: &Arc<Upstream>,
    lease: Option<Lease>,
    mut outgoing: Outgoing,
    upload: Option<Arc<Upload>>,
    patience: Duration,
) -> impl Future<Output = Result<Exchange, ForwardError>> + Send {
    async move {
        let mut lease = match lease {
            Some(lease) => lease,
            None => connect(upstream).await?,
        };
        loop {
            match converse(&mut lease, &mut outgoing).await {
                Ok((head, is_sent)) => {
                    let upload = if is_sent {
                        lease.connection.leave_output(outgoing.into_buffer());
                        None
                    } else {
                        let writer = lease.connection.writer.take();
                        writer
                            .map(|writer| RunningUpload::start(outgoing, writer, upload, patience))
                    };
                    return Ok(Exchange {
                        head,
                        lease,
                        upload,
                    });
                }
                Err(Failure::Silent(_)) if lease.is_reused && outgoing.rewind() => {
                    lease = connect(upstream).await?;
                }
                Err(Failure::Silent(error)) => return Err(ForwardError::Broken(error)),
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }
}

/// A fresh connection. Boxed, since few requests need one.
async fn connect(upstream: &Arc<Upstream>) -> Result<Lease, ForwardError> {
    let connected = Box::pin(upstream.connect()).await;
    connected.map_err(ForwardError::Broken)
}

/// The answer's head, and whether the request was sent to its end before. An upstream may answer before,
/// and may stop listening once it has.
async fn converse(
    lease: &mut Lease,
    outgoing: &mut Outgoing,
) -> Result<(ResponseHead, bool), Failure> {
    let connection = &mut *lease.connection;
    let mut is_sent = false;
    let mut refused = None;
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
        connection
            .poll_head(context, outgoing.is_head)
            .map_ok(|head| (head, is_sent))
            .map_err(|error| match (error, refused.take()) {
                (ReadError::Closed, Some(refused)) => Failure::Silent(refused),
                (error @ ReadError::Malformed(_), _) => {
                    Failure::Final(ForwardError::Broken(error.into()))
                }
                (error, _) => Failure::Silent(error.into()),
            })
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
