//! Forwarding: a request that may pass goes to the upstream, its answer comes back, and both stream.
//!
//! [`http1`] knows how both are written, `upstream` keeps the connections. A request is written whole but for its
//! body (`RequestHead`) and sent as an `outgoing`; an `exchange` is that and the head of its answer. Bodies
//! stream behind (`body`), and a `101` opens a `tunnel`.

mod body;
mod connection;
mod counted;
mod exchange;
pub mod hop;
pub mod http1;
mod identity;
mod live;
mod outgoing;
mod stream;
mod tunnel;
mod upstream;
pub mod websocket;

use std::{io, pin::Pin, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use hyper::upgrade::OnUpgrade;

pub use self::{
    body::UpstreamBody, identity::IdentityHeaders, tunnel::Tunnels, upstream::Upstream,
};
use self::{
    body::{RequestBody, Upload},
    exchange::{Exchange, exchange},
    http1::RequestBodyLength,
    live::Life,
    outgoing::Outgoing,
};
use crate::{
    body::{Body, BodyError},
    clean::{CleanRequest, X_REQUEST_ID, forwarding::Forwarding, identity::ReservedNames},
    decide::Permit,
    observe::{Received, RequestId, handover},
    session::{
        Session,
        cookie::{Cookies, Span},
        live::{Ends, Owner},
    },
    timer::Timer,
};

/// Why the upstream gave no answer. The detail is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection, or it broke off before an answer.
    #[error("no answer from the upstream: {0}")]
    Broken(io::Error),
    /// The client's body broke off before there was an answer.
    #[error("no whole request: {0}")]
    Incomplete(BodyError),
    /// No answer in time.
    #[error("the upstream did not answer within `upstream_timeout`")]
    TimedOut,
    /// An answer that cannot be passed on.
    #[error("the upstream switched protocols unasked")]
    UnaskedUpgrade,
}

/// An answer of the upstream.
pub struct Forwarded {
    /// The answer, its body on its way.
    pub response: Response<Body>,
    /// Whether the connection had served another request before.
    pub is_reused: bool,
}

/// The cookies that stay here.
#[derive(Clone, Copy)]
pub struct OwnCookies<'a> {
    /// Knows them.
    pub cookies: &'a Cookies,
    /// Where the request's only one stands.
    pub only: Option<Span>,
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
    /// is told of, and without one nothing is forwarded. `timer` bounds the wait for the answer, and is let go of
    /// with the answer's end.
    pub fn send<'a>(
        &'a self,
        mut timer: Timer,
        permit: &Permit<'_>,
        identity: &IdentityHeaders,
        own: OwnCookies<'a>,
        request: Box<CleanRequest>,
    ) -> impl Future<Output = Result<Forwarded, ForwardError>> + use<'a> {
        let owner = permit.told().map(Owner::of);
        let CleanRequest {
            mut head,
            body,
            upgrade,
            forwarding,
            id,
            ..
        } = *request;
        let client = match upgrade {
            Some(_) => head.extensions.remove::<OnUpgrade>(),
            None => None,
        };
        let received = head.extensions.remove::<Received>();
        let life = || owner.clone().map(|owner| Life::new(&self.ends, owner));
        let body = RequestBody::new(body, &self.reserved, received, life);
        let upload = body.upload();
        let mut lease = self.upstream.at_hand();
        // Written before anything waits, so that nothing of the request is kept.
        let mut buffer = match &mut lease {
            Some(lease) => lease.connection.take_output(),
            None => Vec::with_capacity(USUAL_HEAD),
        };
        let length = body.length();
        let told = RequestHead {
            head: &head,
            upgrade: upgrade.as_ref(),
            forwarding: &forwarding,
            id,
            session: permit.told(),
        };
        told.write(identity, own, length, &mut buffer);
        let outgoing = Outgoing::new(&head.method, buffer, length, body);
        drop((head, forwarding, upgrade));
        let exchange = exchange(
            &self.upstream,
            lease,
            outgoing,
            upload.clone(),
            self.timeout,
        );
        // In a box of its own, so that the future of each request stays small.
        let mut exchange = Box::pin(exchange);
        async move {
            let exchanged = self.in_time(&mut timer, upload.as_deref(), exchange.as_mut());
            let Exchange {
                mut head,
                lease,
                upload,
            } = exchanged.await?;
            let is_reused = lease.is_reused;
            if head.noted.set_cookie() {
                own.cookies.strip_from_response(&mut head.headers);
            }
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                let response = self.switch(client, owner, head.headers, *lease.connection)?;
                return Ok(Forwarded {
                    response,
                    is_reused,
                });
            }
            hop::strip_noted(&mut head.headers, head.noted);
            let life = || owner.map(|owner| Life::new(&self.ends, owner));
            let body = UpstreamBody::begin(head.body, lease, upload, timer, life);
            let mut response = answer(head.status, head.headers, body);
            if let Some(reason) = head.reason {
                response.extensions_mut().insert(reason);
            }
            Ok(Forwarded {
                response,
                is_reused,
            })
        }
    }

    /// A `101`, passed on where it was asked for.
    fn switch(
        &self,
        client: Option<OnUpgrade>,
        owner: Option<Owner>,
        mut headers: HeaderMap,
        connection: connection::Connection,
    ) -> Result<Response<Body>, ForwardError> {
        let protocol = headers.get(UPGRADE).cloned();
        let (Some(client), Some(protocol), Some(upstream)) =
            (client, protocol, connection.into_stream())
        else {
            return Err(ForwardError::UnaskedUpgrade);
        };
        let end = owner.map(|owner| self.ends.of(owner));
        let (handover, record) = handover();
        self.tunnels.open(client, upstream, &protocol, end, record);
        hop::strip(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, headers, Body::Empty);
        response.extensions_mut().insert(handover);
        Ok(response)
    }

    /// Waits for the answer's head, as long as the request's body still moves: an upload may take its time,
    /// a silence may not.
    async fn in_time<T>(
        &self,
        timer: &mut Timer,
        upload: Option<&Upload>,
        mut exchange: Pin<&mut (impl Future<Output = Result<T, ForwardError>> + Send)>,
    ) -> Result<T, ForwardError> {
        let mut seen = 0;
        loop {
            if let Some(exchanged) = timer.within(self.timeout, exchange.as_mut()).await {
                return exchanged;
            }
            let now = upload.map_or(seen, Upload::frames);
            if now == seen {
                return Err(ForwardError::TimedOut);
            }
            seen = now;
        }
    }
}

/// Room for a request's head, where there is no buffer of an earlier one.
const USUAL_HEAD: usize = 2 * 1024;

/// What the upstream is told before a request's body.
struct RequestHead<'a> {
    /// The client's own words, as far as they were left.
    head: &'a Parts,
    /// The protocol to switch to.
    upgrade: Option<&'a HeaderValue>,
    forwarding: &'a Forwarding,
    id: Option<RequestId>,
    session: Option<&'a Session>,
}

impl RequestHead<'_> {
    fn write(
        &self,
        identity: &IdentityHeaders,
        own: OwnCookies<'_>,
        length: RequestBodyLength,
        into: &mut Vec<u8>,
    ) {
        let Parts {
            method,
            uri,
            headers,
            ..
        } = self.head;
        let write_cookies = |headers: &HeaderMap, into: &mut Vec<u8>| {
            own.cookies.write_foreign(headers, own.only, into);
        };
        http1::begin_request(method, uri.path_and_query(), headers, write_cookies, into);
        for (name, value) in self.forwarding.lines() {
            http1::write_header(name, value, into);
        }
        if let Some(id) = self.id {
            http1::write_header(&X_REQUEST_ID, &id.hex(), into);
        }
        if let Some(session) = self.session {
            identity.write(session, into);
        }
        if let Some(protocol) = self.upgrade {
            http1::write_header(&CONNECTION, b"upgrade", into);
            http1::write_header(&UPGRADE, protocol.as_bytes(), into);
        }
        http1::end_request(method, length, headers, into);
    }
}

fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_11;
    *response.headers_mut() = headers;
    response
}
