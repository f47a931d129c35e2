//! Caches the keys of an issuer. They are fetched when first needed, and again for an unknown key id.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use super::keys::KeySet;

/// How a key set document is come by.
pub trait KeySource: Send + Sync {
    /// Why it cannot be had.
    type Error: Clone + Send;

    /// Fetches and reads the document at `url`.
    fn fetch(&self, url: &Url) -> impl Future<Output = Result<KeySet, Self::Error>> + Send;
}

/// One issuer's keys.
pub struct KeyCache<S: KeySource> {
    source: S,
    current: ArcSwapOption<Fetched>,
    /// What came of the last fetches. The lock makes them single file.
    tries: Mutex<Tries<S::Error>>,
}

struct Tries<E> {
    /// When the last fetch began that somebody forced who had come with a code.
    by_login: Option<Instant>,
    /// The same of those who had come with a token that anybody may have made up: they keep no login from forcing one.
    by_stranger: Option<Instant>,
    /// The last one, where it failed: when it ended, and how.
    failure: Option<(Instant, Url, E)>,
}

impl<E> Tries<E> {
    const NONE: Self = Self {
        by_login: None,
        by_stranger: None,
        failure: None,
    };

    fn last_forced(&mut self, caller: Caller) -> &mut Option<Instant> {
        match caller {
            Caller::Login => &mut self.by_login,
            Caller::Stranger => &mut self.by_stranger,
        }
    }
}

/// On whose behalf keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody whose token came from the issuer itself.
    Login,
    /// Somebody who brought a token.
    Stranger,
}

/// Keys, where they are, and when they came.
pub struct Fetched {
    url: Url,
    keys: Arc<KeySet>,
    at: Instant,
}

impl<S: KeySource> KeyCache<S> {
    /// Nothing is fetched yet.
    pub fn new(source: S) -> Self {
        Self {
            source,
            current: ArcSwapOption::empty(),
            tries: Mutex::new(Tries::NONE),
        }
    }

    /// The keys that are held, for another cache of the same issuer.
    pub fn held_now(&self) -> Option<Arc<Fetched>> {
        self.current.load_full()
    }

    /// Holds them until they are too old.
    pub fn resume(&self, fetched: Arc<Fetched>) {
        if self.current.load().is_none() {
            self.current.store(Some(fetched));
        }
    }

    /// The keys at `url`, at most about an hour old, so that a key that its issuer withdrew stops
    /// working. During an outage the last good ones serve on. Who comes while a fetch runs, or right after one that
    /// failed, shares its outcome.
    ///
    /// # Errors
    /// Where there are none at all: why they could not be fetched.
    pub async fn keys(&self, url: &Url, caller: Caller) -> Result<Arc<KeySet>, S::Error> {
        if let Some(keys) = self.fresh(url) {
            return Ok(keys);
        }
        let mut tries = self.tries.lock().await;
        if let Some(keys) = self.fresh(url) {
            return Ok(keys);
        }
        let Some(stale) = self.held(url) else {
            if let Some((at, tried, error)) = &tries.failure
                && tried == url
                && at.elapsed() < FAILURE_MEMORY
            {
                return Err(error.clone());
            }
            return self.fetch(url, &mut tries).await;
        };
        let last_forced = tries.last_forced(caller);
        if too_soon(*last_forced) {
            return Ok(stale);
        }
        *last_forced = Some(Instant::now());
        self.fetch(url, &mut tries).await.or(Ok(stale))
    }

    /// The keys anew, because `known` lacks one: an issuer that rotates its keys signs with the new
    /// one at once. None when the last such fetch was a moment ago, and brought no others.
    ///
    /// # Errors
    /// When they cannot be fetched, or could not be a moment ago: nobody knows whether there are newer ones.
    pub async fn newer(
        &self,
        url: &Url,
        known: &Arc<KeySet>,
        caller: Caller,
    ) -> Result<Option<Arc<KeySet>>, S::Error> {
        let mut tries = self.tries.lock().await;
        // Somebody else fetched while we waited.
        if let Some(keys) = self.held(url).filter(|keys| !Arc::ptr_eq(keys, known)) {
            return Ok(Some(keys));
        }
        let last_forced = tries.last_forced(caller);
        if too_soon(*last_forced) {
            return match &tries.failure {
                Some((_, tried, error)) if tried == url => Err(error.clone()),
                _ => Ok(None),
            };
        }
        *last_forced = Some(Instant::now());
        self.fetch(url, &mut tries).await.map(Some)
    }

    fn held(&self, url: &Url) -> Option<Arc<KeySet>> {
        let current = self.current.load();
        current
            .as_ref()
            .filter(|fetched| fetched.url == *url)
            .map(|fetched| fetched.keys.clone())
    }

    /// The keys at `url` that are held, where [`keys`](Self::keys) would give them without a fetch.
    pub fn fresh(&self, url: &Url) -> Option<Arc<KeySet>> {
        let current = self.current.load();
        current
            .as_ref()
            .filter(|fetched| fetched.url == *url && fetched.at.elapsed() < LIFETIME)
            .map(|fetched| fetched.keys.clone())
    }

    async fn fetch(&self, url: &Url, tries: &mut Tries<S::Error>) -> Result<Arc<KeySet>, S::Error> {
        let fetched = self.source.fetch(url).await;
        let failure = fetched.as_ref().err();
        tries.failure = failure.map(|error| (Instant::now(), url.clone(), error.clone()));
        let keys = Arc::new(fetched?);
        self.current.store(Some(Arc::new(Fetched {
            url: url.clone(),
            keys: keys.clone(),
            at: Instant::now(),
        })));
        Ok(keys)
    }
}

fn too_soon(last: Option<Instant>) -> bool {
    last.is_some_and(|last| last.elapsed() < SPACING)
}

/// How long keys are used without being fetched again.
const LIFETIME: Duration = Duration::from_hours(1);

/// Between two forced fetches: nobody can have us hammer an issuer with made-up key ids.
const SPACING: Duration = Duration::from_secs(10);

/// How long a fetch that failed stands for those who come after it.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);
