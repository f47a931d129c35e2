//! What forwarding knows about the client connection of a request.

use std::{
    any::Any,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{backend::Backend, connection::Connection, private_connections::Reserved};
use crate::{access::Principal, timer::Timer};

/// The largest piece of a body that is read at once, for a client with one answer at a time.
const LARGEST_PIECE: usize = 128 * 1024;
/// The same for a client that may request many answers and read none.
const LARGEST_MULTIPLEXED_PIECE: usize = 16 * 1024;

/// What a tunnel keeps for as long as it is open, besides its two ends; whoever has the client's side knows what that is.
#[derive(Clone)]
pub struct TunnelHold {
    _what: Arc<dyn Any + Send + Sync>,
}

impl TunnelHold {
    /// Keeps `what`.
    pub fn new(what: impl Any + Send + Sync) -> Self {
        Self {
            _what: Arc::new(what),
        }
    }
}

/// The client's side of one request.
pub struct Downstream {
    /// Bounds what is waited for.
    pub timer: Timer,
    /// The connection, where it has one request at a time.
    pub(super) connection: Option<Arc<ClientConnection>>,
}

impl Downstream {
    /// A request over HTTP/1: the only one of its connection at this time.
    pub fn http1(timer: Timer, connection: Arc<ClientConnection>) -> Self {
        Self {
            timer,
            connection: Some(connection),
        }
    }

    /// A request over HTTP/2: one among many.
    pub fn http2(timer: Timer) -> Self {
        Self {
            timer,
            connection: None,
        }
    }

    /// What is read of an answer's body at most at one go.
    pub(super) fn largest_piece(&self) -> usize {
        if self.connection.is_some() {
            // What is larger no longer lies in a core's own cache when it is written: where that has 512 KiB, 1 GiB costs
            // 0.85 s of CPU in pieces of 16 KiB, 0.70 s of 64 KiB, 0.66 s of 128 KiB, and 1.1 s of 160 KiB and more.
            LARGEST_PIECE
        } else {
            LARGEST_MULTIPLEXED_PIECE
        }
    }

    /// What is to be told when all of the request's body was read.
    pub(super) fn open_body(&self) -> Option<OpenBody> {
        let connection = self.connection.as_ref()?;
        Some(OpenBody {
            number: connection.open_body.load(Ordering::Relaxed),
            connection: Arc::clone(connection),
        })
    }

    /// Where a private connection to the upstream may wait for the next request of `user`.
    pub(super) fn place_of(&self, user: User) -> Option<Place> {
        let connection = Arc::clone(self.connection.as_ref()?);
        Some(Place { connection, user })
    }
}

/// One HTTP/1 connection of a client, of which there is one for as long as that is open. It keeps the one upstream
/// connection that is its own, and closes it with itself.
///
/// NTLM and Negotiate (RFC 4559) authenticate a connection and not a request: whoever comes next on it is taken for
/// the one who logged in.
#[derive(Default)]
pub struct ClientConnection {
    bound: Mutex<Option<Bound>>,
    /// The number of the request whose body has not been read to its end, as far as is known; 0 where there is none.
    open_body: AtomicU64,
    requests: AtomicU64,
}

impl ClientConnection {
    /// Whether an upstream connection waits here, which would be lost with this.
    pub fn is_bound(&self) -> bool {
        let bound = self.lock();
        bound.as_ref().is_some_and(|bound| bound.waits.is_there())
    }

    /// A request has come; `is_empty` where it has no body.
    pub fn begin_request(&self, is_empty: bool) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let open = if is_empty { 0 } else { number };
        self.open_body.store(open, Ordering::Relaxed);
    }

    /// Whether more of a request's body may come. True, too, where somebody else than the forwarder has read it, or
    /// nobody has: when in doubt, what comes next is not a request.
    pub fn has_open_body(&self) -> bool {
        self.open_body.load(Ordering::Relaxed) != 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Bound>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A private connection that waits, and whose it is.
struct Bound {
    user: User,
    waits: Reserved,
}

/// The body of one request, not read to its end.
pub(super) struct OpenBody {
    connection: Arc<ClientConnection>,
    number: u64,
}

impl OpenBody {
    /// It was read to its end. The next request may have come meanwhile, with a body of its own.
    pub(super) fn end(self) {
        let body = &self.connection.open_body;
        let _ = body.compare_exchange(self.number, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Who a request is from, as far as the gate knows. A proxy in front may send requests of many people over one
/// connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    address: Option<IpAddr>,
    /// Whom the permit names, and how that was proven; or nobody. A keyed hash, since each request has one, and its
    /// names are not kept as long as the request is.
    person: u64,
}

impl User {
    pub(super) fn new(address: Option<IpAddr>, principal: Option<Principal<'_>>) -> Self {
        // Who does not know the keys cannot make up two names that are alike in it.
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = KEYS.build_hasher();
        if let Some(principal) = principal {
            let provider = principal.identity.provider.bytes();
            hasher.write(provider);
            hasher.write(principal.identity.subject.bytes());
            // Where one ends and the other begins. Few and large writes, for each costs the same.
            hasher.write_u64((provider.len() as u64) << 8 | principal.proof as u64);
        }
        Self {
            address,
            person: hasher.finish(),
        }
    }
}

/// Where one user's private connection waits.
#[derive(Clone)]
pub(super) struct Place {
    connection: Arc<ClientConnection>,
    user: User,
}

impl Place {
    /// The connection that waits here, if it leads to `backend`. Another user's is closed.
    pub(super) fn take(&self, backend: &Arc<Backend>) -> Option<Box<Connection>> {
        let mut place = self.connection.lock();
        let bound =
            place.take_if(|bound| bound.user != self.user || bound.waits.leads_to(backend))?;
        let is_own = bound.user == self.user;
        is_own.then(|| bound.waits.take()).flatten()
    }

    /// Whether a connection to `backend` waits here.
    pub(super) fn leads_to(&self, backend: &Arc<Backend>) -> bool {
        let place = self.connection.lock();
        let bound = place.as_ref();
        bound.is_some_and(|bound| bound.user == self.user && bound.waits.leads_to(backend))
    }

    /// Keeps the one that waits for its client.
    pub(super) fn keep(self, waits: Reserved) {
        *self.connection.lock() = Some(Bound {
            user: self.user,
            waits,
        });
    }
}

/// Whether a field `name` of `headers` speaks of an authentication that holds for the connection and not for the
/// request: `Authorization`, `WWW-Authenticate` and their like for proxies.
pub(super) fn binds_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().any(names_bound_scheme)
}

/// A challenge's scheme stands at its beginning, and several may stand in one field (RFC 9110 §11.6.1). Where a comma
/// is part of a quoted text, one scheme too many is found, which does no harm.
fn names_bound_scheme(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|challenge| {
            let scheme = challenge
                .trim_ascii_start()
                .split(u8::is_ascii_whitespace)
                .next()
                .unwrap_or_default();
            [&b"ntlm"[..], b"negotiate"]
                .iter()
                .any(|bound| scheme.eq_ignore_ascii_case(bound))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::Proof, identity::Identity, tokens::Tokens};

    #[test]
    fn who_is_named_otherwise_or_has_proven_it_otherwise_is_another() {
        let (ada, bob) = (Identity::of("corp", "ada"), Identity::of("corp", "bob"));
        let (again, other) = (Identity::of("corp", "ada"), Identity::of("other", "ada"));
        let shifted = Identity::of("corpa", "da");
        let tokens = Tokens::default();
        let user = |address: u8, identity, proof| {
            let session = Principal::of_session(identity, &tokens);
            User::new(
                Some([192, 0, 2, address].into()),
                Some(Principal { proof, ..session }),
            )
        };
        let hers = user(1, &ada, Proof::Bearer);
        assert!(hers == user(1, &again, Proof::Bearer));
        for stranger in [
            user(2, &ada, Proof::Bearer),
            user(1, &bob, Proof::Bearer),
            user(1, &other, Proof::Bearer),
            user(1, &shifted, Proof::Bearer),
            user(1, &ada, Proof::Session),
            User::new(Some([192, 0, 2, 1].into()), None),
        ] {
            assert!(hers != stranger);
        }
    }

    #[test]
    fn schemes_of_connections_are_told_from_those_of_requests() {
        for (value, is_bound) in [
            ("NTLM", true),
            ("ntlm TlRMTVNTUAAB", true),
            ("Negotiate YII=", true),
            ("  negotiate", true),
            ("Basic realm=\"a\", NTLM", true),
            ("Basic realm=\"a, Negotiate b\"", true),
            ("Basic realm=\"Negotiate\"", false),
            ("Bearer ntlm", false),
            ("NTLMv2", false),
            ("", false),
        ] {
            assert_eq!(
                names_bound_scheme(&HeaderValue::from_static(value)),
                is_bound,
                "{value}"
            );
        }
        let mut headers = HeaderMap::new();
        let name = http::header::WWW_AUTHENTICATE;
        assert!(!binds_connection(&headers, &name));
        headers.append(&name, HeaderValue::from_static("Basic realm=a"));
        headers.append(&name, HeaderValue::from_static("NTLM"));
        assert!(binds_connection(&headers, &name));
    }
}
