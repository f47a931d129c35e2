//! Forwarding: sends a permitted request to the upstream, and streams both bodies.
//!
//! An `upstream` is an app. Its addresses are `backend`s. A `pool` keeps a worker's connections to one of them, and `condition` has
//! its health. `request_head` is what the app gets. Over HTTP/1.1 it is written by [`http1`] and sent as `outgoing`; an `exchange`
//! is that and the head of the answer. [`http2`] does the same over HTTP/2. Bodies are streamed (`request_body`, `upstream_body`),
//! and a `101` opens a `tunnel`.

mod backend;
mod condition;
mod connection;
mod connection_limit;
mod counted;
mod downstream;
mod exchange;
mod handshake;
pub mod http1;
mod http1_body;
mod http2;
mod http2_connection;
mod identity;
mod live;
mod pace;
mod pool;
mod private_connections;
mod probe;
mod request_body;
mod request_head;
mod request_writer;
pub mod settings;
mod silence;
mod stream;
mod tunnel;
mod upstream;
mod upstream_body;
pub mod websocket;

use std::{future::poll_fn, io, pin::Pin, sync::Arc, task::Poll, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, PROXY_AUTHENTICATE,
        SEC_WEBSOCKET_ACCEPT, UPGRADE, WWW_AUTHENTICATE,
    },
};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

pub use self::{
    connection_limit::{ConnectionLimit, Wanted},
    downstream::{ClientConnection, Downstream, TunnelHold},
    identity::{AppUser, Asker, IdentityHeaders},
    tunnel::Tunnels,
    upstream::{Upstream, UpstreamTarget},
    upstream_body::UpstreamBody,
};
use self::{
    downstream::{User, binds_connection},
    exchange::{Exchange, Terms, exchange},
    handshake::HandshakeKey,
    http1::RequestBodyLength,
    http1_body::Http1Body,
    live::Life,
    pace::LeastPace,
    pool::Pool,
    request_body::{RequestBody, Source},
    request_head::RequestHead,
    request_writer::{RequestWriter, is_repeatable},
    settings::UpstreamAddress,
    tunnel::TunnelLimits,
    upstream::AllOut,
};
use crate::{
    body_error::BodyError,
    clean::{CleanRequest, identity::ReservedNames},
    decide::Permit,
    hop_by_hop,
    limits::Limits,
    observe::{Received, handover, metrics::LimitHits},
    session::{
        cookie::{Cookies, Span},
        live::{Ends, Owner},
    },
    stopping::{LONGEST_WAIT, StopWaker, Stopping},
};

/// Why the upstream gave no answer. The detail is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error("no answer from the upstream: {0}")]
    Unreachable(io::Error),
    /// The connection broke off before an answer, or what came is none.
    #[error("no answer from the upstream: {0}")]
    Broken(io::Error),
    /// The client's body broke off before there was an answer.
    #[error("no whole request: {0}")]
    Incomplete(BodyError),
    /// No answer in time.
    #[error("the upstream did not answer within its `head_timeout` (`upstream_timeout`)")]
    TimedOut,
    /// There are as many connections to apps as the limit on open files allows.
    #[error("there are as many connections to apps as the limit on open files allows")]
    NoRoom,
    /// The gate stops, and the request can be sent again.
    #[error("the gate stops, and the app did not answer before")]
    Stopping,
    /// No address of the app may get a request, for so long.
    #[error("no address of the upstream {0:?} is in service")]
    AllOut(String, Duration),
    /// The client's body is too long for the app.
    #[error("the body is longer than the upstream's `max_body`")]
    BodyTooLarge,
    /// An answer that cannot be passed on.
    #[error("the upstream switched protocols unasked, or to one that was not offered")]
    UnaskedUpgrade,
}

/// An answer of the upstream.
pub struct Forwarded {
    /// The answer, its body on its way.
    pub response: Response<UpstreamBody>,
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

/// What an app is told of whoever a permit names.
#[derive(Clone, Copy)]
pub struct Telling<'a> {
    /// By which headers.
    pub headers: &'a IdentityHeaders,
    /// What is signed of it.
    pub assertion: Option<&'a str>,
    /// By which the app asks for the session's access token.
    pub handle: Option<&'a str>,
    /// What goes into `Authorization`.
    pub exchanged: Option<&'a str>,
}

/// Forwards to the upstreams of one configuration, for one worker.
pub struct Forwarder {
    upstreams: Vec<Arc<Upstream>>,
    tunnels: Tunnels,
    stopping: Stopping,
    reserved: Arc<ReservedNames>,
    ends: Ends,
    least_pace: LeastPace,
    body_timeout: Duration,
    tunnel_limits: TunnelLimits,
}

impl Forwarder {
    /// To `upstreams`, which routes name by their places. `limits` bound what they do not bound themselves, and `hits`
    /// counts of a tunnel how often.
    pub fn new(
        upstreams: Vec<Arc<Upstream>>,
        (tunnels, stopping): (Tunnels, Stopping),
        reserved: Arc<ReservedNames>,
        ends: Ends,
        limits: &Limits,
        hits: LimitHits,
    ) -> Self {
        Self {
            upstreams,
            tunnels,
            stopping,
            reserved,
            ends,
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
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Sends `request` to the upstream of the permit's route and gives its answer. The permit is spent: it says whom the
    /// upstream is told of, and without one nothing is forwarded. `owner` is whose session the answer ends with. `downstream`
    /// is the client's side of the request, let go of with the answer's end.
    #[expect(
        clippy::too_many_lines,
        reason = "what it takes apart is let go of before it waits"
    )]
    pub fn send<'a>(
        &'a self,
        downstream: Downstream,
        permit: Permit<'_>,
        owner: Option<Owner>,
        identity: Telling<'_>,
        own: OwnCookies<'a>,
        (request, now): (Box<CleanRequest>, Instant),
    ) -> impl Future<Output = Result<Forwarded, ForwardError>> + use<'a> {
        let CleanRequest {
            mut head,
            body,
            read_body,
            upgrade,
            forwarding,
            id,
            client,
            ..
        } = *request;
        let upgrade_request = upgrade.as_ref().and_then(|protocol| {
            let client = head.extensions.remove::<OnUpgrade>()?;
            let hold = head.extensions.remove::<TunnelHold>();
            let key = (head.version == Version::HTTP_2).then(|| HandshakeKey::offer(&mut head));
            // Boxed, since few requests ask.
            Some(Box::new(UpgradeRequest {
                client,
                hold,
                offered: protocol.clone(),
                key,
            }))
        });
        let place = downstream.place_of(User::new(client.address, permit.principal()));
        let received = head.extensions.remove::<Received>();
        let upstream = &*self.upstreams[permit.route().upstream];
        let settings = &upstream.target.settings;
        upstream.target.rewrite(&mut head);
        let body = RequestBody::new(
            Source::of(body, read_body),
            &self.reserved,
            self.least_pace,
            received,
            downstream.open_body(),
            settings.max_body,
            || self.life(owner.clone()),
        );
        let upload = body.upload();
        let length = body.length();
        let is_too_large = match (length, settings.max_body) {
            (RequestBodyLength::Exactly(length), Some(most)) => length > most,
            _ => false,
        };
        let pool = if is_too_large {
            Err(ForwardError::BodyTooLarge)
        } else {
            let chosen = upstream.choose(place.as_ref(), None);
            chosen.map_err(|AllOut(time)| ForwardError::AllOut(settings.name.clone(), time))
        };
        let outgoing = RequestHead {
            head: &head,
            upgrade: upgrade.as_ref(),
            forwarding: &forwarding,
            id,
            app_user: permit.spend().map(|principal| AppUser {
                principal,
                assertion: identity.assertion,
                handle: identity.handle,
                exchanged: identity.exchanged,
            }),
            is_tls: settings.addresses.iter().any(UpstreamAddress::is_tls),
        };
        let is_private = binds_connection(&head.headers, &AUTHORIZATION);
        let wait = Wait {
            is_bounded: can_come_again(&head.method, &head.headers),
            is_own_task: downstream.connection.is_none(),
        };
        let largest_read = downstream.largest_piece();
        let terms = |pool: &Arc<Pool>| Terms {
            upstream,
            pool: Arc::clone(pool),
            has_moved: false,
            place: place.clone(),
            is_private,
            largest_read,
        };
        // What is sent is made before anything waits, so that nothing of the request is kept; in a box of its own, so that
        // the future of each request stays small.
        let channel = match pool {
            Err(error) => Err(error),
            Ok(pool) if settings.http2 => {
                let outgoing =
                    outgoing.to_http2(identity.headers, own, is_repeatable(&head.method, length));
                outgoing.map(|outgoing| {
                    let exchange = http2::exchange(terms(pool), outgoing, body, downstream.timer);
                    Channel::Http2(Box::pin(exchange))
                })
            }
            Ok(pool) => {
                let mut lease =
                    pool.checkout(place.as_ref(), is_repeatable(&head.method, length), now);
                let mut buffer = match &mut lease {
                    Some(lease) => lease.connection.take_output(),
                    None => Vec::with_capacity(USUAL_HEAD),
                };
                outgoing.write(identity.headers, own, length, &mut buffer);
                let outgoing = RequestWriter::new(&head.method, buffer, length, body);
                let exchange = exchange(terms(pool), lease, outgoing, upload, downstream.timer);
                Ok(Channel::Http1(Box::pin(exchange)))
            }
        };
        drop((head, forwarding, upgrade, place));
        let idle_timeout = settings.idle_timeout.unwrap_or(self.body_timeout);
        let client = downstream.connection;
        async move {
            let exchange = match channel? {
                Channel::Http1(exchange) => exchange,
                Channel::Http2(exchange) => {
                    let exchange = self.answered(exchange, wait).await?;
                    let is_reused = exchange.is_reused;
                    let (status, mut headers, body) =
                        exchange.begin(idle_timeout, self.life(owner));
                    own.cookies.strip_from_response(&mut headers);
                    hop_by_hop::strip(&mut headers);
                    let response = answer(status, headers, body.into());
                    return Ok(Forwarded {
                        response,
                        is_reused,
                    });
                }
            };
            let (exchange, timer) = self.answered(exchange, wait).await?;
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
                let switched = self.switch(upgrade_request, owner, head.headers, *lease.connection);
                return switched.map(|response| Forwarded {
                    response,
                    is_reused,
                });
            }
            hop_by_hop::strip_noted(&mut head.headers, head.noted);
            // The app ends its connection without having heard all. The rest goes nowhere, and the client's connection ends with it.
            let is_cut = upload.is_some() && !head.is_persistent;
            if is_cut && client.is_some_and(|client| client.has_open_body()) {
                let close = HeaderValue::from_static("close");
                head.headers.insert(CONNECTION, close);
            }
            let body = Http1Body::begin(head.body, lease, upload, (timer, idle_timeout), || {
                self.life(owner)
            });
            let mut response = answer(head.status, head.headers, body.into());
            if let Some(reason) = head.reason {
                response.extensions_mut().insert(reason);
            }
            Ok(Forwarded {
                response,
                is_reused,
            })
        }
    }

    /// What ends with the session of `owner`, if it is anybody's.
    fn life(&self, owner: Option<Owner>) -> Option<Box<Life>> {
        owner.map(|owner| Box::new(Life::new(&self.ends, owner)))
    }

    /// What `exchange` gives, unless a stop leaves it no more time.
    fn answered<T>(
        &self,
        mut exchange: Pin<Box<impl Future<Output = Result<T, ForwardError>>>>,
        wait: Wait,
    ) -> impl Future<Output = Result<T, ForwardError>> {
        let mut waker = StopWaker::default();
        poll_fn(move |context| {
            let answered = exchange.as_mut().poll(context);
            if answered.is_ready() || !wait.is_bounded {
                return answered;
            }
            let since = waker.poll_since(&self.stopping, wait.is_own_task, context);
            let Some(since) = since else {
                return Poll::Pending;
            };
            let over = waker.poll_at(since + LONGEST_WAIT, context);
            over.map(|()| Err(ForwardError::Stopping))
        })
    }

    /// A `101`, passed on where it was asked for, and to a protocol that was.
    fn switch(
        &self,
        upgrade_request: Option<Box<UpgradeRequest>>,
        owner: Option<Owner>,
        mut headers: HeaderMap,
        connection: connection::Connection,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        let mut chosen = headers.get_all(UPGRADE).iter().cloned();
        let (Some(upgrade_request), Some(protocol), None, Some(upstream)) = (
            upgrade_request,
            chosen.next(),
            chosen.next(),
            connection.into_stream(),
        ) else {
            return Err(ForwardError::UnaskedUpgrade);
        };
        drop(chosen);
        let UpgradeRequest {
            client,
            hold,
            offered,
            key,
        } = *upgrade_request;
        let is_offered = hop_by_hop::is_upgrade_offered(&protocol, &offered);
        if !is_offered
            || key
                .as_ref()
                .is_some_and(|key| !key.is_accepted_by(&headers))
        {
            return Err(ForwardError::UnaskedUpgrade);
        }
        let end = owner.map(|owner| self.ends.of(owner));
        let limits = self.tunnel_limits.clone();
        let (handover, record) = handover();
        self.tunnels
            .open((client, hold), upstream, &protocol, limits, end, record);
        hop_by_hop::strip(&mut headers);
        let status = if key.is_some() {
            // HTTP/2 has no 101, and no handshake of its own (RFC 8441 §5).
            headers.remove(SEC_WEBSOCKET_ACCEPT);
            headers.remove(CONTENT_LENGTH);
            StatusCode::OK
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
            StatusCode::SWITCHING_PROTOCOLS
        };
        let mut response = answer(status, headers, UpstreamBody::empty());
        response.extensions_mut().insert(handover);
        Ok(response)
    }
}

/// How long a request waits for its answer when the gate stops.
#[derive(Clone, Copy)]
struct Wait {
    /// It has [`LONGEST_WAIT`], and not all of the grace.
    is_bounded: bool,
    /// It is served by a task of its own.
    is_own_task: bool,
}

/// Whether nothing is lost where a request gets no answer: a long poll, which asks again; or a call of gRPC, whose clients
/// know which of theirs they may repeat. What changes something should not be told to come again while the app does it.
fn can_come_again(method: &Method, headers: &HeaderMap) -> bool {
    method.is_safe() || is_type(headers.get(CONTENT_TYPE), "application/grpc")
}

/// Whether a content type begins so, in letters of either case (RFC 9110 §8.3.1).
pub fn is_type(content_type: Option<&HeaderValue>, beginning: &str) -> bool {
    content_type
        .and_then(|kind| kind.as_bytes().get(..beginning.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(beginning.as_bytes()))
}

/// A client that wants to switch.
struct UpgradeRequest {
    client: OnUpgrade,
    hold: Option<TunnelHold>,
    /// To what.
    offered: HeaderValue,
    /// What the app has to answer; none where that is the client's to check.
    key: Option<HandshakeKey>,
}

/// One request and its answer, on their way over either protocol.
enum Channel<One, Two> {
    Http1(Pin<Box<One>>),
    Http2(Pin<Box<Two>>),
}

/// Room for the head of a request, if there is no buffer from an earlier one.
const USUAL_HEAD: usize = 2 * 1024;

fn answer(status: StatusCode, headers: HeaderMap, body: UpstreamBody) -> Response<UpstreamBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_11;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_grpc_can_come_again_however_its_type_is_written() {
        for (kind, is_call) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grp", false),
            ("text/plain", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(can_come_again(&Method::POST, &headers), is_call, "{kind}");
        }
    }
}
