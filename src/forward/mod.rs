//! Forwarding: a request that may pass goes to the upstream, its answer comes back, and both stream.

mod body;
pub mod hop;
mod identity;
mod live;
mod tunnel;
mod upstream;
pub mod websocket;

use std::{io, pin::Pin, sync::Arc, time::Duration};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use hyper::{body::Incoming, client::conn::TrySendError, upgrade::OnUpgrade};

use self::{
    body::Upload,
    live::Life,
    upstream::{Age, Lease},
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
    deadline::Wait,
    decide::Permit,
    session::{
        cookie::Cookies,
        live::{Ends, Owner},
    },
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
    ends: Ends,
    timeout: Duration,
}

impl Forwarder {
    /// `timeout` bounds the wait for the head of an answer, not its body.
    pub fn new(
        upstream: Arc<Upstream>,
        tunnels: Tunnels,
        reserved: Arc<ReservedNames>,
        ends: Ends,
        timeout: Duration,
    ) -> Self {
        Self {
            upstream,
            tunnels,
            reserved,
            ends,
            timeout,
        }
    }

    /// Sends `request` to the upstream and gives its answer. The permit is spent: it says whom the upstream
    /// is told of, and without one nothing is forwarded. `wait` is the request's, or its connection's.
    pub fn send<'a>(
        &'a self,
        wait: &'a Arc<Wait>,
        permit: &Permit<'_>,
        identity: &IdentityHeaders,
        cookies: &'a Cookies,
        request: Box<CleanRequest>,
    ) -> impl Future<Output = Result<Response<Body>, ForwardError>> + use<'a> {
        let owner = permit.told().map(Owner::of);
        let (request, upgrade) = self.prepare(wait, permit, identity, cookies, request);
        let upload = request.body().upload();
        // In a box of its own, so that the future of each request stays small.
        let mut exchange: Pin<Box<dyn Future<Output = _> + Send + 'a>> =
            match self.upstream.at_hand() {
                Some(mut lease) => {
                    let spare = (lease.age == Age::Cold).then(|| repeatable(&request));
                    // Sent before anything waits, so that nothing of the request is kept.
                    let answer = lease.sender.try_send_request(request);
                    Box::pin(self.exchange(answer, lease, spare.flatten()))
                }
                None => Box::pin(self.send_first(request)),
            };
        async move {
            let exchanged = self.in_time(wait, upload.as_deref(), exchange.as_mut());
            let (mut response, lease) = exchanged.await?;
            let headers = response.headers_mut();
            let noted = hop::Noted::of(headers);
            if noted.set_cookie() {
                cookies.strip_from_response(headers);
            }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return self.switch(upgrade, owner, response);
            }
            hop::strip_noted(response.headers_mut(), noted);
            *response.version_mut() = Version::HTTP_11;
            let life = || owner.map(|owner| Life::new(&self.ends, owner));
            Ok(response.map(|body| Body::Upstream(UpstreamBody::new(body, lease, upload, life))))
        }
    }

    /// Waits for the answer to what was sent on a connection that was at hand; sends it again where that
    /// connection is being closed.
    async fn exchange(
        &self,
        answer: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>,
        lease: Lease,
        spare: Option<Box<Request<RequestBody>>>,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        let error = match answer.await {
            Ok(response) => return Ok((response, lease)),
            Err(error) => error,
        };
        drop(lease);
        let next = another_attempt(error, spare)?;
        Box::pin(self.send_fresh(next)).await
    }

    /// Makes a cleaned request the one that the upstream gets, and what the client asks to switch to.
    fn prepare(
        &self,
        wait: &Arc<Wait>,
        permit: &Permit<'_>,
        identity: &IdentityHeaders,
        cookies: &Cookies,
        request: Box<CleanRequest>,
    ) -> (Request<RequestBody>, Option<OnUpgrade>) {
        let CleanRequest {
            mut head,
            body,
            upgrade,
            ..
        } = *request;
        cookies.strip_from_request(&mut head.headers);
        if let Some(session) = permit.told() {
            identity.write(session, &mut head.headers);
        }
        let upgrade = upgrade.and_then(|protocol| {
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, protocol);
            head.extensions.remove::<OnUpgrade>()
        });
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let owner = permit.told();
        let life = || owner.map(|session| Life::new(&self.ends, Owner::of(session)));
        let body = RequestBody::new(body, &self.reserved, wait, life);
        (Request::from_parts(head, body), upgrade)
    }

    /// A `101`, passed on where it was asked for.
    fn switch(
        &self,
        client: Option<OnUpgrade>,
        owner: Option<Owner>,
        mut response: Response<Incoming>,
    ) -> Result<Response<Body>, ForwardError> {
        let protocol = response.headers().get(UPGRADE).cloned();
        let (Some(client), Some(protocol)) = (client, protocol) else {
            return Err(ForwardError::UnaskedUpgrade);
        };
        let upstream = hyper::upgrade::on(&mut response);
        let end = owner.map(|owner| self.ends.of(owner));
        self.tunnels.open(client, upstream, &protocol, end);
        let headers = response.headers_mut();
        hop::strip(headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        Ok(response.map(|_| Body::Empty))
    }

    /// Waits for the answer's head, as long as the request's body still moves: an upload may take its time,
    /// a silence may not.
    async fn in_time<T>(
        &self,
        wait: &Wait,
        upload: Option<&Upload>,
        mut exchange: Pin<&mut (dyn Future<Output = Result<T, ForwardError>> + Send + '_)>,
    ) -> Result<T, ForwardError> {
        let mut seen = 0;
        loop {
            if let Some(exchanged) = wait.within(self.timeout, exchange.as_mut()).await {
                return exchanged;
            }
            let now = upload.map_or(seen, Upload::frames);
            if now == seen {
                return Err(ForwardError::TimedOut);
            }
            seen = now;
        }
    }

    /// Sends a request for which no connection is at hand.
    async fn send_first(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        let mut lease = self.upstream.lease().await.map_err(ForwardError::Broken)?;
        let spare = (lease.age == Age::Cold).then(|| repeatable(&request));
        let error = match lease.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, lease)),
            Err(error) => error,
        };
        if lease.age == Age::Fresh {
            return Err(broken(error));
        }
        let next = another_attempt(error, spare.flatten())?;
        self.send_fresh(next).await
    }

    /// Sends a request on a connection that has served no other.
    async fn send_fresh(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        let connected = self.upstream.connect().await;
        let mut lease = connected.map_err(ForwardError::Broken)?;
        match lease.sender.try_send_request(request).await {
            Ok(response) => Ok((response, lease)),
            Err(error) => Err(broken(error)),
        }
    }
}

/// What to send on a fresh connection, after another one failed: what was never written. A connection that
/// idled for long may be closed by the upstream just now: then a request that may be repeated (RFC 9110
/// §9.2.2) and has no body, too, for which `spare` stands.
fn another_attempt(
    mut error: TrySendError<Request<RequestBody>>,
    spare: Option<Box<Request<RequestBody>>>,
) -> Result<Request<RequestBody>, ForwardError> {
    if let Some(unsent) = error.take_message() {
        return Ok(unsent);
    }
    let error = error.into_error();
    match spare {
        Some(spare) if !error.is_timeout() => Ok(*spare),
        _ => Err(ForwardError::Broken(io::Error::other(error))),
    }
}

fn broken(mut error: TrySendError<Request<RequestBody>>) -> ForwardError {
    ForwardError::Broken(match error.take_message() {
        Some(_) => io::Error::other("the connection closed at once"),
        None => io::Error::other(error.into_error()),
    })
}

fn repeatable(request: &Request<RequestBody>) -> Option<Box<Request<RequestBody>>> {
    if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        return None;
    }
    let mut copy = Request::new(request.body().empty_copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(Box::new(copy))
}
