//! Forwarding: a request that may pass goes to the upstream, its answer comes back, and both stream.

mod body;
pub mod hop;
mod identity;
mod tunnel;
mod upstream;
pub mod websocket;

use std::{io, pin::pin, sync::Arc, time::Duration};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::timeout;

use self::{
    body::Upload,
    upstream::{LONG_IDLE, Lease},
};
pub use self::{
    body::{RequestBody, UpstreamBody},
    identity::IdentityHeaders,
    tunnel::Tunnels,
    upstream::Upstream,
};
use crate::{
    body::Body,
    clean::{CleanRequest, identity::ReservedNames},
    decide::Permit,
    session::cookie::Cookies,
};

/// Why the upstream gave no answer. The detail is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection, or it broke off before an answer.
    #[error("no answer from the upstream: {0}")]
    Broken(io::Error),
    /// No answer in time.
    #[error("the upstream did not answer in time")]
    TimedOut,
    /// An answer that cannot be passed on.
    #[error("the upstream switched protocols unasked")]
    UnaskedUpgrade,
}

/// Forwards to one upstream, for one worker.
pub struct Forwarder {
    upstream: Arc<Upstream>,
    tunnels: Tunnels,
    reserved: Arc<ReservedNames>,
    timeout: Duration,
}

impl Forwarder {
    /// `timeout` bounds the wait for the head of an answer, not its body.
    pub fn new(
        upstream: Arc<Upstream>,
        tunnels: Tunnels,
        reserved: Arc<ReservedNames>,
        timeout: Duration,
    ) -> Self {
        Self {
            upstream,
            tunnels,
            reserved,
            timeout,
        }
    }

    /// Sends `request` to the upstream and gives its answer. The permit is spent: it says whom the upstream
    /// is told of, and without one nothing is forwarded.
    pub fn send<'a>(
        &'a self,
        permit: &Permit<'_>,
        identity: &IdentityHeaders,
        cookies: &'a Cookies,
        request: CleanRequest,
    ) -> impl Future<Output = Result<Response<Body>, ForwardError>> + use<'a> {
        let CleanRequest {
            mut head,
            body,
            upgrade,
            ..
        } = request;
        cookies.strip_from_request(&mut head.headers);
        if let Some(session) = permit.told() {
            identity.write(session, &mut head.headers);
        }
        let upgrade = upgrade.map(|protocol| {
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, protocol);
            head.extensions.remove::<hyper::upgrade::OnUpgrade>()
        });
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let body = RequestBody::new(body, Arc::clone(&self.reserved));
        self.exchange(cookies, Request::from_parts(head, body), upgrade.flatten())
    }

    async fn exchange(
        &self,
        cookies: &Cookies,
        request: Request<RequestBody>,
        client_upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Result<Response<Body>, ForwardError> {
        let upload = request.body().upload();
        let (response, lease) = self.answer_in_time(request, upload.as_deref()).await?;
        let (mut head, body) = response.into_parts();
        cookies.strip_from_response(&mut head.headers);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = client_upgrade else {
                return Err(ForwardError::UnaskedUpgrade);
            };
            let protocol = head.headers.get(UPGRADE).cloned();
            let Some(protocol) = protocol else {
                return Err(ForwardError::UnaskedUpgrade);
            };
            let upstream = hyper::upgrade::on(Response::from_parts(head.clone(), body));
            self.tunnels.open(client, upstream, &protocol);
            hop::strip(&mut head.headers);
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, protocol);
            return Ok(Response::from_parts(head, Body::Empty));
        }
        hop::strip(&mut head.headers);
        head.version = Version::HTTP_11;
        let body = Body::Upstream(UpstreamBody::new(body, lease, upload));
        Ok(Response::from_parts(head, body))
    }

    /// Waits for the answer's head, as long as the request's body still moves: an upload may take its time,
    /// a silence may not.
    async fn answer_in_time(
        &self,
        request: Request<RequestBody>,
        upload: Option<&Upload>,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        let mut round_trip = pin!(self.round_trip(request));
        let mut seen = 0;
        loop {
            if let Ok(answer) = timeout(self.timeout, &mut round_trip).await {
                return answer;
            }
            let now = upload.map_or(seen, Upload::frames);
            if now == seen {
                return Err(ForwardError::TimedOut);
            }
            seen = now;
        }
    }

    /// One request, one answer. What was never written is sent again on another connection. A connection
    /// that idled for long may be closed by the upstream just now: then a request that may be repeated
    /// (RFC 9110 §9.2.2) and has no body is, once.
    async fn round_trip(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        let mut lease = self.upstream.lease().await.map_err(ForwardError::Broken)?;
        loop {
            let spare = match lease.idled {
                Some(idled) if idled >= LONG_IDLE => repeatable(&request),
                _ => None,
            };
            let error = match lease.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(error) => error,
            };
            let was_fresh = lease.idled.is_none();
            request = match unsent(error) {
                Ok(unsent) if !was_fresh => unsent,
                Ok(_) => return Err(broken("the connection closed at once")),
                Err(error) => match spare {
                    Some(head) if !error.is_timeout() => head,
                    _ => return Err(ForwardError::Broken(io::Error::other(error))),
                },
            };
            lease = self
                .upstream
                .connect()
                .await
                .map_err(ForwardError::Broken)?;
        }
    }
}

fn unsent(
    mut error: TrySendError<Request<RequestBody>>,
) -> Result<Request<RequestBody>, hyper::Error> {
    match error.take_message() {
        Some(request) => Ok(request),
        None => Err(error.into_error()),
    }
}

fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        return None;
    }
    let mut copy = Request::new(request.body().empty_copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn broken(detail: &'static str) -> ForwardError {
    ForwardError::Broken(io::Error::other(detail))
}
