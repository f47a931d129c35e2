//! HTTP/2 with an app (RFC 9113), through hyper: one connection for each worker and address, shared by all requests. The operator
//! configures the protocol, so it is known before anything is sent.
//!
//! A request with credentials that log in a connection (NTLM, Negotiate) has one of its own, which ends with its answer. A challenge in an
//! answer logs in nobody: the request brought no such credentials, or it is on its own connection already.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header::TE};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tokio::time::Instant;

use super::{
    ForwardError,
    condition::InUse,
    exchange::{Terms, is_failure},
    http2_connection::{self, Broken, Sent, Shared},
    live::Life,
    pool::{Pool, expiry},
    request_body::{RequestBody, UploadProgress},
    silence::Silence,
};
use crate::{
    body_error::BodyError,
    hop_by_hop::{self, strip_trailers},
    timer::Timer,
};

/// The head of a request, to be sent more than once perhaps.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) method: http::Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) is_repeatable: bool,
}

impl Head {
    fn request(&self, body: Sent) -> Request<Sent> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A request whose answer has begun.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) is_reused: bool,
    pool: Arc<Pool>,
    in_use: Option<InUse>,
    upload: Option<Arc<UploadProgress>>,
    timer: Timer,
}

impl Pool {
    /// The connection that is there, or a fresh one; and whether it was there. Where `is_private`, one that serves nobody
    /// else, and ends once nobody has its sender and its answer is over.
    pub(super) async fn http2(
        self: &Arc<Self>,
        is_private: bool,
    ) -> Result<(SendRequest<Sent>, bool), ForwardError> {
        if !is_private && let Some(sender) = self.shared_http2() {
            self.backend.metrics.reused();
            return Ok((sender, true));
        }
        let stream = self.backend.connect().await?;
        let (sender, connection) = http2_connection::handshake(stream)
            .await
            .map_err(ForwardError::Unreachable)?;
        let open = self.backend.metrics.open();
        tokio::spawn(async move {
            // Its requests hear why it ended.
            let _ = connection.await;
            drop(open);
        });
        if !is_private && self.backend.trusts() {
            let shared = Shared {
                sender: sender.clone(),
                expires: expiry(),
            };
            *self.http2.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
        }
        Ok((sender, false))
    }

    /// The connection that is there for all.
    fn shared_http2(&self) -> Option<SendRequest<Sent>> {
        let now = Instant::now();
        let mut shared = self.http2.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests that it has go on.
        shared.take_if(|shared| shared.sender.is_closed() || shared.expires <= now);
        shared.as_ref().map(|shared| shared.sender.clone())
    }
}

/// Sends a request and waits for the head of its answer. What an app has not seen goes to another address of it, once,
/// and so does what may be repeated.
pub(super) async fn exchange(
    mut terms: Terms<'_>,
    head: Head,
    body: RequestBody,
    mut timer: Timer,
) -> Result<Exchange, ForwardError> {
    let upload = body.upload();
    let broken = Broken::default();
    let mut body = Some(body);
    // One that was there may be closing just now: then a fresh one to the same address is due.
    let mut may_renew = true;
    loop {
        let in_use = terms.pool.backend.begin_request();
        let pool = Arc::clone(&terms.pool);
        let mut connecting = Box::pin(pool.http2(terms.is_private));
        let connected = timer.within(terms.patience(), connecting.as_mut()).await;
        drop(connecting);
        let failure = match connected {
            None => ForwardError::TimedOut,
            Some(Err(ForwardError::NoRoom)) => return Err(ForwardError::NoRoom),
            Some(Err(error)) => error,
            Some(Ok((mut sender, is_reused))) => {
                let sent = Sent {
                    body: body.take().unwrap_or_else(RequestBody::empty),
                    broken: Arc::clone(&broken),
                };
                let answer = Box::pin(sender.try_send_request(head.request(sent)));
                match wait(answer, upload.as_deref(), &mut timer, terms.patience()).await {
                    Some(Ok(response)) => {
                        if is_failure(response.status()) {
                            pool.backend.failed();
                        } else {
                            pool.backend.succeeded();
                        }
                        if let Some(upload) = &upload {
                            upload.set_answered(true);
                        }
                        return Ok(Exchange {
                            response,
                            is_reused,
                            pool,
                            in_use,
                            upload,
                            timer,
                        });
                    }
                    None => {
                        pool.backend.failed();
                        return Err(ForwardError::TimedOut);
                    }
                    Some(Err(mut error)) => {
                        let unsent = error.take_message().map(|request| request.into_body().body);
                        let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
                        if let Some(broken) = broken {
                            return Err(ForwardError::Incomplete(broken));
                        }
                        let error =
                            ForwardError::Broken(http2_connection::broken(error.into_error()));
                        let may_repeat = unsent.is_some() || head.is_repeatable;
                        body = unsent;
                        if !may_repeat {
                            pool.backend.failed();
                            return Err(error);
                        }
                        if is_reused && std::mem::take(&mut may_renew) {
                            continue;
                        }
                        error
                    }
                }
            }
        };
        pool.backend.failed();
        if !terms.moves_on() {
            return Err(failure);
        }
    }
}

/// What `answer` gives; none where the app is silent for `patience`, the client not being waited for.
async fn wait<T>(
    mut answer: Pin<Box<impl Future<Output = T>>>,
    upload: Option<&UploadProgress>,
    timer: &mut Timer,
    patience: Duration,
) -> Option<T> {
    let frames = || upload.map_or(0, UploadProgress::frames);
    let mut seen = frames();
    loop {
        let answered = timer.within(patience, answer.as_mut()).await;
        let is_client_awaited = upload.is_some_and(UploadProgress::waits_for_client);
        if answered.is_some() || (!is_client_awaited && frames() == seen) {
            return answered;
        }
        seen = frames();
    }
}

impl Exchange {
    /// Head and body of the answer, which may be silent for `patience` and ends with `life`.
    pub(super) fn begin(
        self,
        patience: Duration,
        life: Option<Box<Life>>,
    ) -> (StatusCode, HeaderMap, Http2Body) {
        let (head, body) = self.response.into_parts();
        let body = Http2Body {
            body: Some(body),
            pool: self.pool,
            _in_use: self.in_use,
            upload: self.upload,
            life,
            silence: Silence::new(self.timer, patience),
        };
        (head.status, head.headers, body)
    }
}

/// An answer's body on its way to the client. Dropped before its end, it tells the app to stop.
pub struct Http2Body {
    /// None once it is over.
    body: Option<Incoming>,
    pool: Arc<Pool>,
    _in_use: Option<InUse>,
    upload: Option<Arc<UploadProgress>>,
    /// None where it is nobody's.
    life: Option<Box<Life>>,
    silence: Silence,
}

impl HttpBody for Http2Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if let Some(life) = &mut this.life
            && life.is_over(context, polled.is_pending())
        {
            this.body = None;
            return Poll::Ready(Some(Err(BodyError::SessionOver)));
        }
        let Poll::Ready(frame) = polled else {
            let uploaded = this.upload.as_deref().map_or(0, UploadProgress::frames);
            ready!(this.silence.poll(uploaded, context));
            this.pool.backend.failed();
            this.body = None;
            return Poll::Ready(Some(Err(BodyError::Silent(this.pool.backend.to_string()))));
        };
        this.silence.clear();
        Poll::Ready(match frame {
            None => {
                this.body = None;
                None
            }
            Some(Err(error)) => {
                this.pool.backend.failed();
                this.body = None;
                Some(Err(BodyError::Upstream(http2_connection::broken(error))))
            }
            Some(Ok(frame)) => Some(Ok(match frame.into_trailers() {
                Ok(mut trailers) => {
                    strip_trailers(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(data) => data,
            })),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// Takes out what frames an HTTP/1.1 message alone (RFC 9113 §8.2.2). `TE: trailers` may stay.
pub(super) fn strip_framing(headers: &mut HeaderMap) {
    hop_by_hop::strip(headers);
    for name in [
        http::header::HOST,
        http::header::CONTENT_LENGTH,
        http::header::COOKIE,
        http::header::EXPECT,
    ] {
        headers.remove(name);
    }
    debug_assert!(headers.get(TE).is_none_or(|te| te == "trailers"));
}
