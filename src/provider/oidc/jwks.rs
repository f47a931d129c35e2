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
    /// When the last fetch that somebody forced began. The lock makes fetches single file.
    last_forced: Mutex<Option<Instant>>,
}

struct Fetched {
    url: Url,
    keys: Arc<KeySet>,
    at: Instant,
}

impl KeyCache {
    pub(super) fn new(http: HttpClient) -> Self {
        Self {
            http,
            current: ArcSwapOption::empty(),
            last_forced: Mutex::new(None),
        }
    }

    /// The keys at `url`, at most about an hour old, so that a key that its provider withdrew stops
    /// working. During an outage the last good ones serve on.
    pub(super) async fn keys(&self, url: &Url) -> Result<Arc<KeySet>, ProviderError> {
        if let Some(keys) = self.fresh(url) {
            return Ok(keys);
        }
        let mut last_forced = self.last_forced.lock().await;
        if let Some(keys) = self.fresh(url) {
            return Ok(keys);
        }
        let Some(stale) = self.held(url) else {
            return self.fetch(url).await;
        };
        if too_soon(*last_forced) {
            return Ok(stale);
        }
        *last_forced = Some(Instant::now());
        self.fetch(url).await.or(Ok(stale))
    }

    /// The keys anew, because `known` lacks one: a provider that rotates its keys signs with the new
    /// one at once. None when the last such fetch was a moment ago, or this one fails.
    pub(super) async fn newer(&self, url: &Url, known: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let mut last_forced = self.last_forced.lock().await;
        // Somebody else fetched while we waited.
        if let Some(keys) = self.held(url).filter(|keys| !Arc::ptr_eq(keys, known)) {
            return Some(keys);
        }
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

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;

    use super::*;
    use crate::provider::scripted::{Answer, Scripted, TestKey};

    #[tokio::test]
    async fn keys_are_fetched_once_and_anew_when_one_is_missing() {
        let server = Scripted::start().await;
        let (old, new) = (TestKey::ec("old"), TestKey::ec("new"));
        server.publish(&[&old]);
        let url = server.url("/keys");
        let cache = KeyCache::new(HttpClient::for_test());
        let (first, same) = tokio::join!(cache.keys(&url), cache.keys(&url));
        let first = first.unwrap();
        assert!(Arc::ptr_eq(&first, &same.unwrap()));
        assert_eq!(server.requests("/keys").len(), 1);

        server.publish(&[&new]);
        let (one, two) = tokio::join!(cache.newer(&url, &first), cache.newer(&url, &first));
        let newer = one.unwrap();
        assert!(Arc::ptr_eq(&newer, &two.unwrap()));
        assert_eq!(server.requests("/keys").len(), 2);
        assert!(newer.choose(Some("new"), Algorithm::ES256).is_ok());
        assert!(newer.choose(Some("old"), Algorithm::ES256).is_err());

        // Within the spacing nobody can force another.
        assert!(cache.newer(&url, &newer).await.is_none());
        assert_eq!(server.requests("/keys").len(), 2);
    }

    #[tokio::test]
    async fn the_last_good_keys_are_kept() {
        let server = Scripted::start().await;
        server.publish(&[&TestKey::ec("a")]);
        let url = server.url("/keys");
        let cache = KeyCache::new(HttpClient::for_test());
        let keys = cache.keys(&url).await.unwrap();
        server.answer("/keys", Answer::json("{}"));
        assert!(cache.newer(&url, &keys).await.is_none());
        assert!(Arc::ptr_eq(&keys, &cache.keys(&url).await.unwrap()));
        // Another address is another key set.
        server.answer("/moved", Answer::json(r#"{"keys":[]}"#));
        let moved = cache.keys(&server.url("/moved")).await.unwrap();
        assert!(!Arc::ptr_eq(&keys, &moved));
    }

    #[tokio::test]
    async fn without_any_keys_the_failure_is_told() {
        let server = Scripted::start().await;
        let cache = KeyCache::new(HttpClient::for_test());
        assert!(cache.keys(&server.url("/keys")).await.is_err());
    }
}
