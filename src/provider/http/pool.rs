//! Connections to a provider that are kept for the next call. Only for calls that may be made twice: a provider may close
//! an idle connection at the very moment at which it is used again.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// A connection, and what drives it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) _driver: AbortOnDropHandle<hyper::Result<()>>,
    pub(super) made: Instant,
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

struct Idle {
    place: String,
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// One that leads to `place` and is open, as far as can be known.
    pub(super) fn take(&self, place: &Url) -> Option<Connection> {
        let place = place.origin().ascii_serialization();
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| {
            let connection = &idle.connection;
            let is_young = now < idle.since + IDLE_LIFETIME && now < connection.made + MAX_AGE;
            is_young && !connection.sender.is_closed()
        });
        // The one that was used last: the others grow old.
        let found = all.iter().rposition(|idle| idle.place == place)?;
        Some(all.swap_remove(found).connection)
    }

    /// Keeps one whose answer was read to its end.
    pub(super) fn give_back(&self, place: &Url, connection: Connection) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < IDLE_CAPACITY {
            all.push(Idle {
                place: place.origin().ascii_serialization(),
                connection,
                since: Instant::now(),
            });
        }
    }
}

/// The age at which an idle connection to a provider is closed.
const IDLE_LIFETIME: Duration = Duration::from_secs(50);
/// The age at which a connection serves no new call. The name may have another address by then.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Idle connections to one provider.
const IDLE_CAPACITY: usize = 32;
