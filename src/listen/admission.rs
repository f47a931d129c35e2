//! How many client connections there may be, in all and for each client, and which one is closed at the limit.
//!
//! A client can reopen an idle connection at no cost. So the connection that was idle for longest is closed: the client's own
//! if that client has too many, else anybody's. If all are busy, the new one is refused. The lock is taken when a
//! connection opens, becomes idle, becomes busy or closes, and not while it is busy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::{sync::Notify, time::timeout};

use super::{
    capacity::Capacity,
    control::{Command, Control},
    ended::Ended,
};
use crate::observe::metrics::{Connections, Shortage};

/// How long a new connection waits for one of those to close. A working worker closes one within a moment. So a burst of silent
/// connections is replaced as fast as it can be closed, and clients that send something get in.
const CLOSE_PATIENCE: Duration = Duration::from_millis(50);

/// What one configuration says of connections.
pub struct Bounds {
    /// How many there may be.
    pub capacity: Capacity,
    /// They stand for many clients, and are bounded in all only.
    pub trusted_proxies: Vec<IpNet>,
}

/// The connections of the process.
pub struct Admission {
    bounds: ArcSwap<Bounds>,
    metrics: Connections,
    book: Mutex<Book>,
    /// A connection that was told to close has closed.
    closed: Notify,
    /// Nothing closed when that was last waited for: it is not waited for again until something has.
    is_stuck: AtomicBool,
}

#[derive(Default)]
struct Book {
    most_closing: usize,
    metrics: Connections,
    open: usize,
    closing: usize,
    clients: HashMap<IpAddr, Client>,
    /// By the order in which they fell silent.
    idle: BTreeMap<u64, (Option<IpAddr>, Arc<Control>)>,
    idle_of_clients: BTreeSet<(IpAddr, u64)>,
    next: u64,
}

struct Client {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many connections as there may be, and none is idle.
    Gate,
    /// As many as one client may have, and none of them is idle.
    Client,
}

impl Full {
    /// The key that sets the bound.
    pub fn key(self) -> &'static str {
        match self {
            Self::Gate => "limits.connections",
            Self::Client => "limits.connections_per_client",
        }
    }

    fn shortage(self) -> Shortage {
        match self {
            Self::Gate => Shortage::Connections,
            Self::Client => Shortage::ConnectionsPerClient,
        }
    }
}

/// Why no connection makes room.
enum NoRoom {
    /// None is idle.
    Busy(Full),
    /// Too many are closing for others already.
    Closing(Full),
}

impl NoRoom {
    fn whose(self) -> Full {
        let (Self::Busy(whose) | Self::Closing(whose)) = self;
        whose
    }
}

/// What admitting a connection came to.
pub struct Admitted {
    /// The place of the new connection.
    pub place: Place,
    /// Whether an idle connection had to close for it, and whose limit was met.
    pub evicted: Option<Full>,
}

/// The place of one connection; given back when whatever shares it has dropped it: its task, or a tunnel that its
/// socket has gone to.
#[derive(Clone)]
pub struct Place(Arc<Held>);

struct Held {
    admission: Arc<Admission>,
    /// Whose it is, where a bound of one client holds; a proxy may tell it after the connection was admitted.
    client: OnceLock<(IpAddr, Arc<AtomicUsize>)>,
    control: Arc<Control>,
    /// Where it stands among the idle ones; [`BUSY`] where it does not. The connection's task alone changes it.
    idle: AtomicU64,
}

const BUSY: u64 = u64::MAX;

/// How many connections there are.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    open: usize,
    /// Of these, without a request under way for a while.
    idle: usize,
}

impl Admission {
    /// Room for as many as `bounds` say.
    pub fn new(bounds: Bounds, metrics: Connections) -> Arc<Self> {
        let book = Book {
            most_closing: bounds.capacity.closing,
            metrics: metrics.clone(),
            ..Book::default()
        };
        Arc::new(Self {
            bounds: ArcSwap::from_pointee(bounds),
            metrics,
            book: Mutex::new(book),
            closed: Notify::new(),
            is_stuck: AtomicBool::new(false),
        })
    }

    /// Admits by `bounds` from here on. Nobody who was admitted is closed for that.
    pub fn adopt(&self, bounds: Bounds) {
        self.lock().most_closing = bounds.capacity.closing;
        self.bounds.store(Arc::new(bounds));
    }

    /// Admits a connection from `peer` (none for a Unix socket's), which is idle until it says something. Waits a moment
    /// where others are closing.
    pub async fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Admitted, Full> {
        let mut admitted = self.try_admit(peer);
        while matches!(admitted, Err(NoRoom::Closing(_))) && self.sees_a_close().await {
            admitted = self.try_admit(peer);
        }
        let admitted = admitted.map_err(NoRoom::whose);
        match &admitted {
            Ok(admitted) => {
                if let Some(whose) = admitted.evicted {
                    self.metrics.evicted(whose.shortage());
                }
            }
            Err(whose) => self.metrics.refused(whose.shortage()),
        }
        admitted
    }

    /// Waits until a connection that was told to close has closed, but not for long. Whether one has.
    async fn sees_a_close(&self) -> bool {
        if self.is_stuck.load(Ordering::Relaxed) {
            return false;
        }
        let is_seen = timeout(CLOSE_PATIENCE, self.closed.notified())
            .await
            .is_ok();
        if !is_seen {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        is_seen
    }

    fn try_admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Admitted, NoRoom> {
        let client = peer.and_then(|peer| self.client(peer));
        let capacity = self.bounds.load().capacity;
        let mut book = self.lock();
        let mut evicted = None;
        if let (Some(client), Some(peer)) = (client, peer)
            && book.connections_of(client) >= capacity.of_client(peer)
        {
            book.close_idle_of(client)
                .map_err(|why| why(Full::Client))?;
            evicted = Some(Full::Client);
        }
        if book.open >= capacity.connections {
            book.close_idle().map_err(|why| why(Full::Gate))?;
            evicted = Some(Full::Gate);
        }
        book.open += 1;
        self.metrics.opened();
        let counted = OnceLock::new();
        if let Some(client) = client {
            _ = counted.set((client, book.count(client)));
        }
        let control = Arc::<Control>::default();
        let idle = book.add_idle(client, &control);
        drop(book);
        Ok(Admitted {
            place: Place(Arc::new(Held {
                admission: Arc::clone(self),
                client: counted,
                control,
                idle: AtomicU64::new(idle),
            })),
            evicted,
        })
    }

    /// Closes the connection that was idle for longest, where there is one: there are no more open files.
    pub fn close_longest_idle(&self) {
        if self.lock().close_idle().is_ok() {
            self.metrics.evicted(Shortage::OpenFiles);
        }
    }

    /// Closes all that are idle, be it in the middle of a request's head: the gate stops.
    pub fn close_all_idle(&self) {
        let mut book = self.lock();
        book.most_closing = usize::MAX;
        while book.close_idle().is_ok() {}
    }

    /// How many connections there are.
    #[cfg(test)]
    fn count(&self) -> Count {
        let book = self.lock();
        Count {
            open: book.open,
            idle: book.idle.len(),
        }
    }

    /// Who shares a bound with `peer`: an IPv4 address, or an IPv6 network of the size that one subscriber has at
    /// least (RFC 6177 §2). None for whom no bound of one client holds.
    fn client(&self, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let bounds = self.bounds.load();
        let mut proxies = bounds.trusted_proxies.iter();
        let is_exempt = proxies.any(|net| net.contains(&peer))
            || peer.is_loopback() && !bounds.capacity.counts_loopback;
        if is_exempt {
            return None;
        }
        Some(match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn connections_of(&self, client: IpAddr) -> usize {
        self.clients
            .get(&client)
            .map_or(0, |client| client.connections)
    }

    /// One more connection of `client`. What counts their requests.
    fn count(&mut self, client: IpAddr) -> Arc<AtomicUsize> {
        let client = self.clients.entry(client).or_insert_with(|| Client {
            connections: 0,
            requests: Arc::default(),
        });
        client.connections += 1;
        Arc::clone(&client.requests)
    }

    fn add_idle(&mut self, client: Option<IpAddr>, control: &Arc<Control>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.idle.insert(number, (client, Arc::clone(control)));
        self.metrics.rests();
        if let Some(client) = client {
            self.idle_of_clients.insert((client, number));
        }
        number
    }

    /// Takes a connection off the list of idle ones, where it is on it.
    fn remove_idle(&mut self, number: u64) -> Option<Arc<Control>> {
        let (client, control) = self.idle.remove(&number)?;
        self.metrics.stirs();
        if let Some(client) = client {
            self.idle_of_clients.remove(&(client, number));
        }
        Some(control)
    }

    fn close_idle(&mut self) -> Result<(), fn(Full) -> NoRoom> {
        let Some((&number, &(client, _))) = self.idle.first_key_value() else {
            return Err(NoRoom::Busy);
        };
        self.close(number, client)
    }

    fn close_idle_of(&mut self, client: IpAddr) -> Result<(), fn(Full) -> NoRoom> {
        let mut of_client = self.idle_of_clients.range((client, 0)..=(client, u64::MAX));
        let Some(&(_, number)) = of_client.next() else {
            return Err(NoRoom::Busy);
        };
        self.close(number, Some(client))
    }

    /// Tells an idle connection to close. Its place is free from now on.
    fn close(&mut self, number: u64, client: Option<IpAddr>) -> Result<(), fn(Full) -> NoRoom> {
        if self.closing >= self.most_closing {
            return Err(NoRoom::Closing);
        }
        if let Some(control) = self.remove_idle(number) {
            self.release(client);
            self.closing += 1;
            control.send(Command::Close);
        }
        Ok(())
    }

    fn release(&mut self, client: Option<IpAddr>) {
        self.open -= 1;
        let Some(client) = client else { return };
        if let Entry::Occupied(mut entry) = self.clients.entry(client) {
            entry.get_mut().connections -= 1;
            if entry.get().connections == 0 {
                entry.remove();
            }
        }
    }
}

/// One request of a client, under way; counted down when it is dropped.
pub(super) struct RequestPlace(Option<Arc<AtomicUsize>>);

impl Place {
    pub(super) fn control(&self) -> &Arc<Control> {
        &self.0.control
    }

    /// What counts the requests of the connection's client.
    pub(super) fn requests(&self) -> RequestCounter {
        RequestCounter {
            requests: self
                .0
                .client
                .get()
                .map(|(_, requests)| Arc::clone(requests)),
            most: self.0.admission.bounds.load().capacity.requests_per_client,
        }
    }

    /// A connection that was admitted as nobody's is `peer`'s, as a proxy says, and counts as theirs from here on.
    pub(super) fn count_as(&self, peer: IpAddr) -> Result<(), Ended> {
        let admission = &self.0.admission;
        let Some(client) = admission.client(peer) else {
            return Ok(());
        };
        if !self.set_busy() {
            return Err(Ended::Evicted);
        }
        let capacity = admission.bounds.load().capacity;
        let mut book = admission.lock();
        if book.connections_of(client) >= capacity.of_client(peer) {
            let shortage = Full::Client.shortage();
            if book.close_idle_of(client).is_err() {
                admission.metrics.refused(shortage);
                return Err(Ended::Crowded);
            }
            admission.metrics.evicted(shortage);
        }
        let requests = book.count(client);
        drop(book);
        _ = self.0.client.set((client, requests));
        self.set_idle();
        Ok(())
    }

    /// The connection has a request under way, so that it makes no room for others. Whether it still has its place:
    /// one that was told to close meanwhile has none.
    pub(super) fn set_busy(&self) -> bool {
        let number = self.0.idle.load(Ordering::Relaxed);
        if number == BUSY {
            return true;
        }
        let is_left = self.0.admission.lock().remove_idle(number).is_some();
        if is_left {
            self.0.idle.store(BUSY, Ordering::Relaxed);
        }
        is_left
    }

    /// The connection fell silent.
    pub(super) fn set_idle(&self) {
        if self.0.idle.load(Ordering::Relaxed) == BUSY {
            let mut book = self.0.admission.lock();
            let number = book.add_idle(self.0.client(), &self.0.control);
            self.0.idle.store(number, Ordering::Relaxed);
        }
    }
}

impl Held {
    fn client(&self) -> Option<IpAddr> {
        self.client.get().map(|(client, _)| *client)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let number = *self.idle.get_mut();
        self.admission.metrics.closed();
        let mut book = self.admission.lock();
        if number != BUSY && book.remove_idle(number).is_none() {
            book.closing -= 1;
            self.admission.is_stuck.store(false, Ordering::Relaxed);
            self.admission.closed.notify_one();
        } else {
            book.release(self.client());
        }
    }
}

/// Counts the requests of one client.
#[derive(Clone)]
pub(super) struct RequestCounter {
    requests: Option<Arc<AtomicUsize>>,
    most: usize,
}

impl RequestCounter {
    /// A place for one more request. None where the client has as many under way as it may.
    pub(super) fn take(&self) -> Option<RequestPlace> {
        let Some(requests) = &self.requests else {
            return Some(RequestPlace(None));
        };
        let place = RequestPlace(Some(Arc::clone(requests)));
        let before = requests.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(place)
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        if let Some(requests) = &self.0 {
            requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
