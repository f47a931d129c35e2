//! A provider's keys, fetched when first needed and kept; an unknown key id has them fetched again.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use super::{
    super::{Call, HttpClient, ProviderError},
    keys::KeySet,
};

/// One provider's keys.
pub(super) struct KeyCache {
    http: HttpClient,
    current: ArcSwapOption<Fetched>,
    /// What came of the last fetches. The lock makes them single file.
    tries: Mutex<Tries>,
}

#[derive(Default)]
struct Tries {
    /// When the last fetch began that somebody forced who had come with a code.
    by_login: Option<Instant>,
    /// The same of those who had come with a token that anybody may have made up: they keep no login from forcing one.
    by_stranger: Option<Instant>,
    /// The last one that failed, where nothing older can serve: when it ended, and how.
    failure: Option<(Instant, Url, ProviderError)>,
}

impl Tries {
    fn last_forced(&mut self, caller: Caller) -> &mut Option<Instant> {
        match caller {
            Caller::Login => &mut self.by_login,
            Caller::Stranger => &mut self.by_stranger,
        }
    }
}

/// On whose behalf keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Somebody whose token came from the provider itself.
    Login,
    /// Somebody who brought a token.
    Stranger,
}

/// Keys, where they are, and when they came.
pub(super) struct Fetched {
    url: Url,
    keys: Arc<KeySet>,
    at: Instant,
}

impl KeyCache {
    pub(super) fn new(http: HttpClient) -> Self {
        Self {
            http,
            current: ArcSwapOption::empty(),
            tries: Mutex::default(),
        }
    }

    /// The keys that are held, for another cache of the same provider.
    pub(super) fn held_now(&self) -> Option<Arc<Fetched>> {
        self.current.load_full()
    }

    /// Holds them until they are too old.
    pub(super) fn resume(&self, fetched: Arc<Fetched>) {
        if self.current.load().is_none() {
            self.current.store(Some(fetched));
        }
    }

    /// The keys at `url`, at most about an hour old, so that a key that its provider withdrew stops
    /// working. During an outage the last good ones serve on. Who comes while a fetch runs, or right after one that
    /// failed, shares its outcome.
    pub(super) async fn keys(
        &self,
        url: &Url,
        caller: Caller,
    ) -> Result<Arc<KeySet>, ProviderError> {
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
            let outcome = self.fetch(url).await;
            let failure = outcome.as_ref().err();
            tries.failure = failure.map(|error| (Instant::now(), url.clone(), error.clone()));
            return outcome;
        };
        let last_forced = tries.last_forced(caller);
        if too_soon(*last_forced) {
            return Ok(stale);
        }
        *last_forced = Some(Instant::now());
        self.fetch(url).await.or(Ok(stale))
    }

    /// The keys anew, because `known` lacks one: a provider that rotates its keys signs with the new
    /// one at once. None when the last such fetch was a moment ago, or this one fails.
    pub(super) async fn newer(
        &self,
        url: &Url,
        known: &Arc<KeySet>,
        caller: Caller,
    ) -> Option<Arc<KeySet>> {
        let mut tries = self.tries.lock().await;
        // Somebody else fetched while we waited.
        if let Some(keys) = self.held(url).filter(|keys| !Arc::ptr_eq(keys, known)) {
            return Some(keys);
        }
        let last_forced = tries.last_forced(caller);
        if too_soon(*last_forced) {
            return None;
        }
        *last_forced = Some(Instant::now());
        self.fetch(url).await.ok()
    }

    fn held(&self, url: &Url) -> Option<Arc<KeySet>> {
        let current = self.current.load();
        current
            .as_ref()
            .filter(|fetched| fetched.url == *url)
            .map(|fetched| fetched.keys.clone())
    }

    fn fresh(&self, url: &Url) -> Option<Arc<KeySet>> {
        let current = self.current.load();
        current
            .as_ref()
            .filter(|fetched| fetched.url == *url && fetched.at.elapsed() < LIFETIME)
            .map(|fetched| fetched.keys.clone())
    }

    async fn fetch(&self, url: &Url) -> Result<Arc<KeySet>, ProviderError> {
        let call = Call::Keys;
        let outcome = match self.http.fetch_json(url, None).await {
            Ok(document) => {
                KeySet::read(&document).map_err(|problem| ProviderError::Answer { call, problem })
            }
            Err(error) => Err(ProviderError::Http { call, error }),
        };
        let keys = outcome
            .inspect_err(|error| {
                let remedy = error.remedy();
                tracing::warn!(%error, host = url.host_str(), remedy, "no new keys");
            })
            .map(Arc::new)?;
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

const LIFETIME: Duration = Duration::from_hours(1);

/// Between two forced fetches: nobody can have us hammer a provider with made-up key ids.
const SPACING: Duration = Duration::from_secs(10);

/// How long a fetch that failed stands for those who come after it.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{super::algorithm::Algorithm, *};
    use crate::provider::scripted::{Answer, Scripted, TestKey};

    #[tokio::test]
    async fn keys_are_fetched_once_and_anew_when_one_is_missing() {
        let server = Scripted::start().await;
        let (old, new) = (TestKey::ec("old"), TestKey::ec("new"));
        server.publish(&[&old]);
        let url = server.url("/keys");
        let cache = KeyCache::new(HttpClient::for_test());
        let (first, same) = tokio::join!(
            cache.keys(&url, Caller::Login),
            cache.keys(&url, Caller::Login)
        );
        let first = first.unwrap();
        assert!(Arc::ptr_eq(&first, &same.unwrap()));
        assert_eq!(server.requests("/keys").len(), 1);

        server.publish(&[&new]);
        let (one, two) = tokio::join!(
            cache.newer(&url, &first, Caller::Login),
            cache.newer(&url, &first, Caller::Login)
        );
        let newer = one.unwrap();
        assert!(Arc::ptr_eq(&newer, &two.unwrap()));
        assert_eq!(server.requests("/keys").len(), 2);
        assert!(newer.choose(Some("new"), Algorithm::ES256).is_ok());
        assert!(newer.choose(Some("old"), Algorithm::ES256).is_err());

        // Within the spacing nobody can force another.
        assert!(cache.newer(&url, &newer, Caller::Login).await.is_none());
        assert_eq!(server.requests("/keys").len(), 2);
    }

    #[tokio::test]
    async fn the_last_good_keys_are_kept() {
        let server = Scripted::start().await;
        server.publish(&[&TestKey::ec("a")]);
        let url = server.url("/keys");
        let cache = KeyCache::new(HttpClient::for_test());
        let keys = cache.keys(&url, Caller::Login).await.unwrap();
        server.answer("/keys", Answer::json("{}"));
        assert!(cache.newer(&url, &keys, Caller::Login).await.is_none());
        assert!(Arc::ptr_eq(
            &keys,
            &cache.keys(&url, Caller::Login).await.unwrap()
        ));
        // Another address is another key set.
        server.answer("/moved", Answer::json(r#"{"keys":[]}"#));
        let moved = cache
            .keys(&server.url("/moved"), Caller::Login)
            .await
            .unwrap();
        assert!(!Arc::ptr_eq(&keys, &moved));
    }

    #[tokio::test]
    async fn without_any_keys_the_failure_is_told() {
        let server = Scripted::start().await;
        let cache = KeyCache::new(HttpClient::for_test());
        assert!(
            cache
                .keys(&server.url("/keys"), Caller::Login)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_failure_is_shared_for_a_moment() {
        let server = Scripted::start().await;
        server.answer("/keys", Answer::status(503));
        let (url, cache) = (server.url("/keys"), KeyCache::new(HttpClient::for_test()));
        for caller in [Caller::Stranger, Caller::Login, Caller::Stranger] {
            assert!(cache.keys(&url, caller).await.is_err());
        }
        assert_eq!(server.requests("/keys").len(), 1);
        // Another address is another key set.
        assert!(
            cache
                .keys(&server.url("/moved"), Caller::Login)
                .await
                .is_err()
        );
        assert_eq!(server.requests("/moved").len(), 1);
    }

    #[tokio::test]
    async fn a_stranger_keeps_no_login_from_new_keys() {
        let server = Scripted::start().await;
        server.publish(&[&TestKey::ec("a")]);
        let (url, cache) = (server.url("/keys"), KeyCache::new(HttpClient::for_test()));
        let known = cache.keys(&url, Caller::Login).await.unwrap();
        let known = cache.newer(&url, &known, Caller::Stranger).await.unwrap();
        assert!(cache.newer(&url, &known, Caller::Stranger).await.is_none());
        assert!(cache.newer(&url, &known, Caller::Login).await.is_some());
    }
}
