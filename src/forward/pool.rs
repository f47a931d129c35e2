//! Connections to one address of an app, kept alive and used again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ForwardError,
    backend::Backend,
    connection::{Connection, Idleness, Settled},
    downstream::Place,
    http2_connection,
    private_connections::PrivateConnections,
};
use crate::{
    net::send_queue::{QueuedSocket, SendQueue},
    random,
};

/// An older idle connection is closed. This is longer than the pauses of a burst, and shorter than the timeouts of most servers
/// and firewalls.
const IDLE_LIFETIME: Duration = Duration::from_mins(1);
/// An older connection, with up to a tenth more at random, serves no new request: the app's name may resolve to another address
/// by now, and not all connections should be reopened at once.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Idle connections of one worker to one address. It bounds leaks; a smaller number would reopen connections in each burst.
const IDLE_CAPACITY: usize = 1024;

/// One worker's connections to one address of an app. Workers share none, so nothing here is contended.
pub(super) struct Pool {
    pub(super) backend: Arc<Backend>,
    idle: Mutex<Vec<Idle>>,
    private: Arc<PrivateConnections>,
    /// The worker's sends.
    sends: SendQueue,
    /// The one over which HTTP/2 is spoken, where it is.
    pub(super) http2: Mutex<Option<http2_connection::Shared>>,
}

/// When a connection that is made now is too old for another request.
pub(super) fn expiry() -> Instant {
    let part = u32::from(u8::from_ne_bytes(random::bytes()));
    Instant::now() + MAX_AGE + MAX_AGE / 10 * part / 255
}

struct Idle {
    connection: Box<Connection>,
    /// As far as was looked: none until the first sweep, so that no request asks the clock for it.
    since: Option<Instant>,
}

/// A connection in use. Given back with [`Lease::give_back`] once its answer was read to the end; dropped
/// otherwise, which closes it.
pub(super) struct Lease {
    pub(super) connection: Box<Connection>,
    /// Whether it has served another request before: then the upstream may be closing it at this very moment.
    pub(super) is_reused: bool,
    pub(super) pool: Arc<Pool>,
    /// Where it waits if it is private. None where private ones are not kept.
    pub(super) place: Option<Place>,
}

impl Pool {
    /// One worker's connections to `backend`. Small requests wait in `sends`.
    pub(super) fn new(backend: Arc<Backend>, sends: SendQueue) -> Self {
        Self {
            private: PrivateConnections::new(Arc::clone(&backend)),
            backend,
            idle: Mutex::default(),
            sends,
            http2: Mutex::default(),
        }
    }

    /// A connection that idles: the private one at `place`, or else one of all. One for a request that cannot be sent
    /// again is looked at twice.
    pub(super) fn checkout(
        self: &Arc<Self>,
        place: Option<&Place>,
        is_repeatable: bool,
        now: Instant,
    ) -> Option<Lease> {
        let private = place.and_then(|place| place.take(&self.backend));
        if !self.backend.trusts() {
            return None;
        }
        let shared = std::iter::from_fn(|| {
            let idle = self.lock().pop()?;
            self.backend.metrics.stirs();
            Some(idle.connection)
        });
        for mut connection in private.into_iter().chain(shared) {
            if connection.is_expired(now) {
                continue;
            }
            let idleness = if is_repeatable {
                connection.idleness()
            } else {
                let idleness;
                (connection, idleness) = connection.idleness_now();
                idleness
            };
            match idleness {
                Idleness::Quiet => {
                    self.backend.metrics.reused();
                    connection.in_use = self.backend.begin_request();
                    return Some(Lease {
                        connection,
                        is_reused: true,
                        pool: Arc::clone(self),
                        place: None,
                    });
                }
                Idleness::Closed => {}
                Idleness::Unsolicited => {
                    self.backend.distrust();
                    return None;
                }
            }
        }
        None
    }

    /// A fresh connection.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Lease, ForwardError> {
        let in_use = self.backend.begin_request();
        let stream = self.backend.connect().await?;
        let expires = expiry();
        let queued = stream
            .tcp_socket()
            .map(|socket| QueuedSocket::new(socket.clone(), self.sends.clone()));
        let open = self.backend.metrics.open();
        let mut connection = Connection::new(stream, queued, expires, open);
        connection.in_use = in_use;
        Ok(Lease {
            connection: Box::new(connection),
            is_reused: false,
            pool: Arc::clone(self),
            place: None,
        })
    }

    /// Closes what has idled for too long, is too old, or was closed at the other end; what has idled since the last
    /// time keeps no buffers. Called now and then by the worker.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        if !self.backend.trusts() {
            for _ in self.lock().drain(..) {
                self.backend.metrics.stirs();
            }
            return;
        }
        let mut has_unsolicited = false;
        self.lock().retain_mut(|idle| {
            if idle.since.is_some() {
                idle.connection.rest();
            }
            let since = *idle.since.get_or_insert(now);
            let is_young =
                now.duration_since(since) < IDLE_LIFETIME && !idle.connection.is_expired(now);
            let idleness = idle.connection.idleness();
            has_unsolicited |= idleness == Idleness::Unsolicited;
            let stays = is_young && idleness == Idleness::Quiet;
            if !stays {
                self.backend.metrics.stirs();
            }
            stays
        });
        if has_unsolicited {
            self.backend.distrust();
        }
    }

    /// Closes as many as `count` idle connections, those that have idled for longest, and says how many. Private ones only
    /// where there are no others: whoever has logged in on one has to do so again.
    pub(super) fn shed(&self, count: usize) -> usize {
        let mut idle = self.lock();
        let shared = count.min(idle.len());
        for _ in idle.drain(..shared) {
            self.backend.metrics.stirs();
        }
        drop(idle);
        shared + self.private.shed(count - shared)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for the next request, if it can serve one: a private one for the same client alone.
    pub(super) fn give_back(mut self) {
        self.connection.in_use = None;
        match self.connection.settle() {
            Settled::Ready => {}
            Settled::Spent => return,
            Settled::Unsolicited => return self.pool.backend.distrust(),
        }
        if !self.pool.backend.trusts() {
            return;
        }
        if self.pool.backend.is_crowded() {
            return;
        }
        if self.connection.is_private {
            if let Some(place) = self.place {
                place.keep(self.pool.private.keep(self.connection));
            }
            return;
        }
        let mut idle = self.pool.lock();
        if idle.len() < IDLE_CAPACITY {
            self.pool.backend.metrics.rests();
            idle.push(Idle {
                connection: self.connection,
                since: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::UnixListener;

    use super::*;
    use crate::{
        forward::{
            connection_limit::ConnectionLimit,
            settings::{UpstreamAddress, UpstreamSettings},
        },
        observe::metrics,
        trust,
    };

    /// Connections to an app at a path, which may lead elsewhere later, as a name may.
    fn pool(path: &Path) -> Arc<Pool> {
        let address = UpstreamAddress::Unix(path.to_owned());
        let settings = UpstreamSettings::new("app", vec![address.clone()]);
        let tls = trust::client_config();
        let metrics = metrics::Upstream::default();
        let backend = Backend::new(&address, &settings, &tls, metrics, ConnectionLimit::new(9));
        Arc::new(Pool::new(Arc::new(backend.unwrap()), SendQueue::default()))
    }

    fn listen(path: &Path) -> UnixListener {
        let _ = std::fs::remove_file(path);
        UnixListener::bind(path).unwrap()
    }

    const OLD: Duration = MAX_AGE.saturating_add(Duration::from_mins(1));

    #[tokio::test]
    async fn a_connection_that_is_too_old_serves_no_more_and_the_next_goes_where_the_app_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let before = listen(&path);
        let pool = pool(&path);
        let [used, unused] = [pool.connect().await.unwrap(), pool.connect().await.unwrap()];
        let (_peers, after) = (
            [
                before.accept().await.unwrap(),
                before.accept().await.unwrap(),
            ],
            listen(&path),
        );
        tokio::time::pause();
        used.give_back();
        for _ in 0..9 {
            tokio::time::advance(MAX_AGE / 10).await;
            let lease = pool.checkout(None, true, Instant::now());
            lease.expect("one that is young enough").give_back();
        }
        unused.give_back();
        tokio::time::advance(OLD / 5).await;
        assert!(pool.checkout(None, true, Instant::now()).is_none());
        assert!(pool.lock().is_empty(), "each that is too old is closed");
        tokio::time::resume();
        let fresh = pool.connect().await.unwrap();
        after.accept().await.unwrap();
        // The worker closes those that nobody asks for.
        fresh.give_back();
        tokio::time::pause();
        tokio::time::advance(OLD).await;
        pool.sweep();
        assert!(pool.lock().is_empty());
    }

    #[tokio::test]
    async fn so_it_is_with_the_one_of_http2() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let pool = pool(&path);
        let before = listen(&path);
        let serve = |listener: UnixListener| {
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = |_| async { Err::<hyper::Response<String>, _>("none is awaited") };
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let served = builder.serve_connection(TokioIo::new(stream), service_fn(answer));
                let _ = served.await;
            })
        };
        let served = serve(before);
        assert!(!pool.http2(false).await.unwrap().1);
        assert!(pool.http2(false).await.unwrap().1);
        // One that is private leads to nobody's, and is nobody's.
        let after = listen(&path);
        let other = serve(after);
        assert!(!pool.http2(true).await.unwrap().1);
        assert!(pool.http2(false).await.unwrap().1);
        other.await.unwrap();
        assert!(!served.is_finished());
        let last = serve(listen(&path));
        pool.http2.lock().unwrap().as_mut().unwrap().expires = Instant::now();
        assert!(!pool.http2(false).await.unwrap().1);
        // The old one ends, now that it has nobody.
        served.await.unwrap();
        assert!(!last.is_finished());
    }
}
