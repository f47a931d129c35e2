//! One app: its addresses, which of them gets a request, and how a request is written for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{
    HeaderName, HeaderValue, Uri,
    header::HOST,
    request::Parts,
    uri::{self, PathAndQuery},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    backend::Backend,
    condition::Standing,
    connection_limit::ConnectionLimit,
    downstream::Place,
    pool::Pool,
    probe,
    settings::{HostRule, UpstreamSettings},
};
use crate::{net::send_queue::SendQueue, observe::metrics, trust};

/// Says which part of the client's path the app does not see. No standard, and what apps know by Traefik and Spring.
static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// One app: where it is, how it is spoken to and how it behaves. All workers share it.
pub struct UpstreamTarget {
    pub(super) settings: UpstreamSettings,
    backends: Vec<Arc<Backend>>,
    /// `strip_prefix`, as a header says it.
    prefix: Option<HeaderValue>,
    /// Asks how it is, as long as this lives.
    _probes: Option<AbortOnDropHandle<()>>,
}

impl UpstreamTarget {
    /// The app of `settings`. `tls` is used for `https` addresses, unless the settings have something else in mind.
    /// Probes, where there are to be some, run on the runtime at hand. `connection_limit` bounds their connections.
    ///
    /// # Errors
    /// When an address has no host that TLS can name, or a certificate cannot be read.
    pub fn new(
        settings: UpstreamSettings,
        tls: &Arc<rustls::ClientConfig>,
        metrics: &metrics::Upstream,
        connection_limit: &Arc<ConnectionLimit>,
    ) -> io::Result<Self> {
        let certificate = settings.client_certificate.as_ref();
        let certificate = certificate.map(|files| (&*files.cert, &*files.key));
        let own = (settings.has_files() || settings.http2)
            .then(|| trust::app_config(settings.ca.as_deref(), certificate, settings.http2));
        let own = own.transpose()?;
        let tls = own.as_ref().unwrap_or(tls);
        let backends = settings.addresses.iter();
        let backends = backends
            .map(|address| {
                let connection_limit = Arc::clone(connection_limit);
                Backend::new(address, &settings, tls, metrics.clone(), connection_limit)
                    .map(Arc::new)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let prefix = settings.strip_prefix.as_deref();
        Ok(Self {
            prefix: prefix.and_then(|prefix| HeaderValue::from_str(prefix).ok()),
            _probes: probe::start(&settings, &backends),
            backends,
            settings,
        })
    }

    /// What operators call it.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether `settings` say the same, and hang on nothing else: then its connections may stay.
    pub fn is_of(&self, settings: &UpstreamSettings) -> bool {
        self.settings == *settings && !settings.has_files()
    }

    /// The addresses that can be taken out of service, and whether each is in service.
    pub fn standings(&self) -> impl Iterator<Item = (String, bool)> {
        let watched = self.backends.iter().filter(|backend| backend.is_watched());
        watched.map(|backend| {
            let is_in = matches!(backend.standing(), Standing::In);
            (backend.to_string(), is_in)
        })
    }

    /// Writes what the app is to see in the place of what the client sent.
    pub(super) fn rewrite(&self, head: &mut Parts) {
        if let HostRule::Name(name) = &self.settings.host {
            head.headers.insert(HOST, name.clone());
        }
        if let (Some(prefix), Some(value)) = (&self.settings.strip_prefix, &self.prefix)
            && let Some(uri) = without_prefix(&head.uri, prefix)
        {
            head.uri = uri;
            head.headers.insert(&X_FORWARDED_PREFIX, value.clone());
        }
    }
}

/// The address without the beginning of its path, where it begins so; a path ends or goes on with a slash there.
fn without_prefix(uri: &Uri, prefix: &str) -> Option<Uri> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = target.strip_prefix(prefix)?;
    // An app may read what begins with two slashes as another host's address (RFC 3986 §4.2).
    let target = match rest.as_bytes() {
        [b'/', b'/', ..] => PathAndQuery::try_from(format!("/{}", rest.trim_start_matches('/'))),
        [b'/', ..] => PathAndQuery::try_from(rest),
        [] | [b'?', ..] => PathAndQuery::try_from(format!("/{rest}")),
        _ => return None,
    };
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(target.ok()?);
    Uri::from_parts(parts).ok()
}

/// One worker's connections to one app.
pub struct Upstream {
    pub(super) target: Arc<UpstreamTarget>,
    pools: Vec<Arc<Pool>>,
    /// Which of several that have the same load is next.
    next: AtomicUsize,
}

/// No address may get a request, for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllOut(pub(super) Duration);

impl Upstream {
    /// One worker's connections to `target`. Small requests wait in `sends`.
    pub fn new(target: Arc<UpstreamTarget>, sends: &SendQueue) -> Self {
        let backends = target.backends.iter();
        Self {
            pools: backends
                .map(|backend| Arc::new(Pool::new(Arc::clone(backend), sends.clone())))
                .collect(),
            target,
            next: AtomicUsize::new(0),
        }
    }

    /// Whether these are connections to `target`.
    pub fn is_of(&self, target: &Arc<UpstreamTarget>) -> bool {
        Arc::ptr_eq(&self.target, target)
    }

    /// Closes what has idled for too long, is too old, or was closed at the other end. Called now and then by the
    /// worker.
    pub fn sweep(&self) {
        for pool in &self.pools {
            pool.sweep();
        }
    }

    /// Closes as many as `count` idle connections, and says how many: another app or worker needs their places.
    pub fn shed(&self, count: usize) -> usize {
        let mut left = count;
        for pool in &self.pools {
            left -= pool.shed(left);
        }
        count - left
    }

    /// Where a request goes: to where a private connection of its client leads, or else to an address that is due for a
    /// trial, or to the one with the fewest requests under way. Never to `tried`.
    pub(super) fn choose(
        &self,
        place: Option<&Place>,
        tried: Option<&Arc<Pool>>,
    ) -> Result<&Arc<Pool>, AllOut> {
        let untried = |pool: &&Arc<Pool>| tried.is_none_or(|tried| !Arc::ptr_eq(pool, tried));
        if let [pool] = &self.pools[..] {
            // Nothing else is looked at where there is nothing to choose.
            return match pool.backend.standing() {
                _ if tried.is_some() => Err(AllOut(Duration::ZERO)),
                Standing::Out(time) => Err(AllOut(time)),
                Standing::Due if !pool.backend.begin_trial() => Err(AllOut(Duration::ZERO)),
                Standing::In | Standing::Due => Ok(pool),
            };
        }
        if let Some(pool) = place.and_then(|place| self.bound(place)).filter(untried) {
            return Ok(pool);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.pools.len();
        let (before, from) = self.pools.split_at(first);
        let mut least = None;
        let mut shortest = None;
        for pool in from.iter().chain(before).filter(untried) {
            match pool.backend.standing() {
                Standing::In => {
                    let load = pool.backend.load();
                    if least.is_none_or(|(_, least)| load < least) {
                        least = Some((pool, load));
                    }
                }
                // A second try is none to find something out by.
                Standing::Due if tried.is_none() && pool.backend.begin_trial() => {
                    return Ok(pool);
                }
                Standing::Due => {}
                Standing::Out(time) => {
                    shortest = Some(shortest.map_or(time, |shortest: Duration| shortest.min(time)));
                }
            }
        }
        let least = least.map(|(pool, _)| pool);
        least.ok_or_else(|| AllOut(shortest.unwrap_or_default()))
    }

    fn bound(&self, place: &Place) -> Option<&Arc<Pool>> {
        let mut pools = self.pools.iter();
        pools.find(|pool| place.leads_to(&pool.backend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::settings::UpstreamAddress;

    #[test]
    fn a_prefix_is_cut_off_at_a_slash_alone() {
        for (target, expected) in [
            ("/wiki", Some("/")),
            ("/wiki/", Some("/")),
            ("/wiki/a/b?c=/wiki", Some("/a/b?c=/wiki")),
            ("/wiki?a", Some("/?a")),
            ("/wiki//evil.example/a//b", Some("/evil.example/a//b")),
            ("/wiki//", Some("/")),
            ("/wikis", None),
            ("/wiki%2Fa", None),
            ("/other/wiki", None),
            ("/", None),
        ] {
            let uri = without_prefix(&target.parse().unwrap(), "/wiki");
            let got = uri.map(|uri| uri.to_string());
            assert_eq!(got.as_deref(), expected, "{target}");
        }
    }

    fn upstream(addresses: u16) -> Upstream {
        let addresses = (1..=addresses).map(|port| {
            let uri = format!("http://127.0.0.1:{port}");
            UpstreamAddress::Network(uri.parse().unwrap())
        });
        let settings = UpstreamSettings::new("app", addresses.collect());
        let tls = trust::client_config();
        let target = UpstreamTarget::new(
            settings,
            &tls,
            &metrics::Upstream::default(),
            &ConnectionLimit::new(9),
        );
        Upstream::new(Arc::new(target.unwrap()), &SendQueue::default())
    }

    #[tokio::test]
    async fn the_least_busy_is_chosen_and_ties_go_in_turn() {
        let upstream = upstream(3);
        let mut counts = [0; 3];
        let mut uses = Vec::new();
        for _ in 0..30 {
            let pool = upstream.choose(None, None).unwrap();
            let place = upstream
                .pools
                .iter()
                .position(|other| Arc::ptr_eq(other, pool));
            counts[place.unwrap()] += 1;
            uses.push(pool.backend.begin_request());
        }
        assert_eq!(counts, [10; 3]);
        let idle = upstream.choose(None, None).unwrap();
        drop(uses.drain(..).nth(1));
        assert_eq!(idle.backend.load(), 0);
    }

    #[tokio::test]
    async fn one_that_failed_gets_nothing_and_where_all_did_the_wait_is_told() {
        tokio::time::pause();
        let upstream = upstream(2);
        let [one, two] = &upstream.pools[..] else {
            panic!("two addresses");
        };
        let fail = |pool: &Arc<Pool>| (0..3).for_each(|_| pool.backend.failed());
        fail(one);
        for _ in 0..4 {
            assert!(Arc::ptr_eq(upstream.choose(None, None).unwrap(), two));
        }
        assert!(upstream.choose(None, Some(two)).is_err());
        fail(two);
        let AllOut(wait) = upstream.choose(None, None).err().unwrap();
        assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(900));
        tokio::time::advance(Duration::from_millis(1_100)).await;
        // Each is tried by one request.
        assert!(upstream.choose(None, None).is_ok());
        assert!(upstream.choose(None, None).is_ok());
        assert!(upstream.choose(None, None).is_err());
        two.backend.succeeded();
        for _ in 0..4 {
            assert!(Arc::ptr_eq(upstream.choose(None, None).unwrap(), two));
        }
    }

    /// The targets are made once, at the start: no worker meets what is wrong with them.
    #[tokio::test]
    async fn an_app_that_cannot_be_reached_as_it_is_written_is_no_target() {
        let tls = trust::client_config();
        let target = |change: &dyn Fn(&mut UpstreamSettings)| {
            let address = UpstreamAddress::Network("https://app.internal".parse().unwrap());
            let mut settings = UpstreamSettings::new("app", vec![address]);
            change(&mut settings);
            let metrics = metrics::Upstream::default();
            UpstreamTarget::new(settings, &tls, &metrics, &ConnectionLimit::new(9))
        };
        assert!(target(&|_| {}).is_ok());
        let unnameable = "https://-app-.internal".parse().unwrap();
        let unnameable = UpstreamAddress::Network(unnameable);
        let error = target(&|settings| settings.addresses.push(unnameable.clone()));
        let error = error.err().unwrap().to_string();
        assert!(error.contains("-app-.internal is no name"), "{error}");
        assert!(target(&|settings| settings.ca = Some("/nowhere/ca.pem".into())).is_err());
    }

    #[tokio::test]
    async fn the_only_address_is_never_out() {
        let upstream = upstream(1);
        for _ in 0..10 {
            upstream.pools[0].backend.failed();
        }
        assert!(upstream.choose(None, None).is_ok());
    }
}
