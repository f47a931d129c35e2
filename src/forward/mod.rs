//! Forwarding: a request that may pass goes to the upstream, its answer comes back, and both stream.
//!
//! [`http1`] knows how both are written, `upstream` keeps the connections. A request is written whole but for its
//! body (`RequestHead`) and sent as an `outgoing`; an `exchange` is that and the head of its answer. Bodies
//! stream behind (`body`), and a `101` opens a `tunnel`.

mod body;
mod connection;
mod counted;
mod downstream;
mod exchange;
pub mod http1;
mod identity;
mod live;
mod outgoing;
mod pace;
pub mod settings;
mod stream;
mod tunnel;
mod upstream;
pub mod websocket;

use std::{io, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, Version,
    header::{AUTHORIZATION, CONNECTION, PROXY_AUTHENTICATE, UPGRADE, WWW_AUTHENTICATE},
    request::Parts,
};
use hyper::upgrade::OnUpgrade;

use self::{
    body::RequestBody,
    downstream::{User, binds_connection},
    exchange::{Exchange, Terms, exchange},
    http1::RequestBodyLength,
    live::Life,
    outgoing::{Outgoing, is_repeatable},
    pace::LeastPace,
    tunnel::TunnelLimits,
};
pub use self::{
    body::UpstreamBody,
    downstream::{ClientConnection, Downstream},
    identity::IdentityHeaders,
    tunnel::Tunnels,
    upstream::{Upstream, UpstreamTarget},
};
use crate::{
    access::Principal,
    body::{Body, BodyError},
    clean::{CleanRequest, X_REQUEST_ID, forwarding::Forwarding, identity::ReservedNames},
    decide::Permit,
    hop_by_hop,
    limits::Limits,
    observe::{Received, RequestId, handover, metrics::LimitHits},
    session::{
        cookie::{Cookies, Span},
        live::{Ends, Owner},
    },
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
    #[error("the upstream switched protocols unasked, or to one that was not offered")]
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
    least_pace: LeastPace,
    body_timeout: Duration,
    tunnel_limits: TunnelLimits,
}

impl Forwarder {
    /// `timeout` bounds the wait for the head of an answer; what follows is bounded by `limits`, and
    /// `hits` counts of a tunnel how often.
    pub fn new(
        upstream: Arc<Upstream>,
        tunnels: Tunnels,
        reserved: Arc<ReservedNames>,
        ends: Ends,
        timeout: Duration,
        limits: &Limits,
        hits: LimitHits,
    ) -> Self {
        Self {
            upstream,
            tunnels,
            reserved,
            ends,
            timeout,
            least_pace: LeastPace {
                timeout: limits.request_body_timeout,
                rate: limits.request_body_rate,
            },
            body_timeout: limits.response_body_timeout,
            tunnel_limits: TunnelLimits {
                close: limits.tunnel_close_timeout,
                write: limits.write_timeout,
                hits,
            },
        }
    }

    /// The connections it forwards over.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Sends `request` to the upstream and gives its answer. The permit is spent: it says whom the upstream
    /// is told of, and without one nothing is forwarded. `owner` is whose session the answer ends with. `downstream` is the client's side of the request, let go of
    /// with the answer's end.
    #[expect(
        clippy::too_many_lines,
        reason = "what it takes apart is let go of before it waits"
    )]
    pub fn send<'a>(
        &'a self,
        downstream: Downstream,
        permit: Permit<'_>,
        owner: Option<Owner>,
        identity: &IdentityHeaders,
        own: OwnCookies<'a>,
        request: Box<CleanRequest>,
    ) -> impl Future<Output = Result<Forwarded, ForwardError>> + use<'a> {
        let CleanRequest {
            mut head,
            body,
            upgrade,
            forwarding,
            id,
            client,
            ..
        } = *request;
        let asked = upgrade.as_ref().and_then(|protocol| {
            let client = head.extensions.remove::<OnUpgrade>()?;
            // Boxed, since few requests ask.
            Some(Box::new((client, protocol.clone())))
        });
        let place = downstream.place_of(User::new(client.address, owner.as_ref()));
        let life = || owner.clone().map(|owner| Life::new(&self.ends, owner));
        let received = head.extensions.remove::<Received>();
        let body = RequestBody::new(
            body,
            &self.reserved,
            self.least_pace,
            received,
            downstream.open_body(),
            life,
        );
        let upload = body.upload();
        let length = body.length();
        let mut lease = self
            .upstream
            .checkout(place.as_ref(), is_repeatable(&head.method, length));
        // Written before anything waits, so that nothing of the request is kept.
        let mut buffer = match &mut lease {
            Some(lease) => lease.connection.take_output(),
            None => Vec::with_capacity(USUAL_HEAD),
        };
        let told = RequestHead {
            head: &head,
            upgrade: upgrade.as_ref(),
            forwarding: &forwarding,
            id,
            principal: permit.spend(),
        };
        told.write(identity, own, length, &mut buffer);
        let outgoing = Outgoing::new(&head.method, buffer, length, body);
        let terms = Terms {
            upstream: &self.upstream,
            patience: self.timeout,
            place,
            is_private: binds_connection(&head.headers, &AUTHORIZATION),
            largest_read: downstream.largest_piece(),
        };
        drop((head, forwarding, upgrade));
        // In a box of its own, so that the future of each request stays small.
        let exchange = Box::pin(exchange(terms, lease, outgoing, upload, downstream.timer));
        async move {
            let (exchange, timer) = exchange.await?;
            let Exchange {
                mut head,
                mut lease,
                upload,
            } = exchange;
            let is_reused = lease.is_reused;
            if head.noted.authenticate() {
                lease.connection.is_private |= binds_connection(&head.headers, &WWW_AUTHENTICATE)
                    || binds_connection(&head.headers, &PROXY_AUTHENTICATE);
            }
            if head.noted.set_cookie() {
                own.cookies.strip_from_response(&mut head.headers);
            }
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                let switched = self.switch(asked, owner, head.headers, *lease.connection);
                return switched.map(|response| Forwarded {
                    response,
                    is_reused,
                });
            }
            hop_by_hop::strip_noted(&mut head.headers, head.noted);
            let life = || owner.map(|owner| Life::new(&self.ends, owner));
            let body =
                UpstreamBody::begin(head.body, lease, upload, (timer, self.body_timeout), life);
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

    /// A `101`, passed on where it was asked for, and to a protocol that was.
    fn switch(
        &self,
        asked: Option<Box<(OnUpgrade, HeaderValue)>>,
        owner: Option<Owner>,
        mut headers: HeaderMap,
        connection: connection::Connection,
    ) -> Result<Response<Body>, ForwardError> {
        let mut chosen = headers.get_all(UPGRADE).iter().cloned();
        let (Some(asked), Some(protocol), None, Some(upstream)) = (
            asked,
            chosen.next(),
            chosen.next(),
            connection.into_stream(),
        ) else {
            return Err(ForwardError::UnaskedUpgrade);
        };
        drop(chosen);
        let (client, offered) = *asked;
        if !hop_by_hop::is_upgrade_offered(&protocol, &offered) {
            return Err(ForwardError::UnaskedUpgrade);
        }
        let end = owner.map(|owner| self.ends.of(owner));
        let limits = self.tunnel_limits.clone();
        let (handover, record) = handover();
        self.tunnels
            .open(client, upstream, &protocol, limits, end, record);
        hop_by_hop::strip(&mut headers);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, headers, Body::Empty);
        response.extensions_mut().insert(handover);
        Ok(response)
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
    principal: Option<Principal<'a>>,
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
        identity.write(self.principal, into);
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
