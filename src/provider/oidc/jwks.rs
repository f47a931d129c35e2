//! The source of a provider's keys.

use std::{fs, path::Path};

use url::Url;

use crate::{
    jose::{KeyCache, KeySet, KeySource},
    provider::{
        Call, HttpClient, ProviderError, bearer::SERVICE_ACCOUNT_TOKEN, settings::ProviderSettings,
    },
};

/// One provider's keys.
pub(super) type ProviderKeyCache = KeyCache<ProviderKeys>;

/// Fetches them.
pub(super) struct ProviderKeys {
    http: HttpClient,
    /// The file of the token without which a Kubernetes cluster shows its keys to nobody. It changes every hour.
    token: Option<&'static Path>,
}

impl ProviderKeys {
    pub(super) fn of(config: &ProviderSettings, http: HttpClient) -> Self {
        let bearer = config.bearer.as_ref();
        let token = bearer.is_some_and(|bearer| bearer.kubernetes);
        Self {
            http,
            token: token.then(|| Path::new(SERVICE_ACCOUNT_TOKEN)),
        }
    }
}

impl KeySource for ProviderKeys {
    type Error = ProviderError;

    async fn fetch(&self, url: &Url) -> Result<KeySet, ProviderError> {
        let call = Call::Keys;
        let token = self.token.and_then(|file| fs::read_to_string(file).ok());
        let token = token.as_deref().map(str::trim);
        let outcome = match self.http.fetch_json(url, token).await {
            Ok(document) => {
                KeySet::read(&document).map_err(|problem| ProviderError::Answer { call, problem })
            }
            Err(error) => Err(ProviderError::Http { call, error }),
        };
        outcome.inspect_err(|error| {
            let remedy = error.remedy();
            tracing::warn!(%error, host = url.host_str(), remedy, "no new keys");
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        jose::{Algorithm, Caller, TestKey},
        provider::scripted::{Answer, Scripted},
    };

    fn cache() -> KeyCache<ProviderKeys> {
        let config = ProviderSettings::for_test("corp", "");
        KeyCache::new(ProviderKeys::of(&config, HttpClient::for_test()))
    }

    #[tokio::test]
    async fn keys_are_fetched_once_and_anew_when_one_is_missing() {
        let server = Scripted::start().await;
        let (old, new) = (TestKey::ec("old"), TestKey::ec("new"));
        server.publish(&[&old]);
        let url = server.url("/keys");
        let cache = cache();
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
        let newer = one.unwrap().unwrap();
        assert!(Arc::ptr_eq(&newer, &two.unwrap().unwrap()));
        assert_eq!(server.requests("/keys").len(), 2);
        assert!(newer.has("new", Algorithm::ES256));
        assert!(!newer.has("old", Algorithm::ES256));

        // Within the spacing nobody can force another.
        let again = cache.newer(&url, &newer, Caller::Login).await;
        assert!(again.unwrap().is_none());
        assert_eq!(server.requests("/keys").len(), 2);
    }

    #[tokio::test]
    async fn the_last_good_keys_are_kept() {
        let server = Scripted::start().await;
        server.publish(&[&TestKey::ec("a")]);
        let url = server.url("/keys");
        let cache = cache();
        let keys = cache.keys(&url, Caller::Login).await.unwrap();
        server.answer("/keys", Answer::json("{}"));
        // Whether there are newer ones nobody knows, nor who asks a moment later.
        for _ in 0..2 {
            assert!(cache.newer(&url, &keys, Caller::Login).await.is_err());
        }
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
        let cache = cache();
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
        let (url, cache) = (server.url("/keys"), cache());
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
        let (url, cache) = (server.url("/keys"), cache());
        let known = cache.keys(&url, Caller::Login).await.unwrap();
        let newer = async |known, caller| cache.newer(&url, known, caller).await.unwrap();
        let known = newer(&known, Caller::Stranger).await.unwrap();
        assert!(newer(&known, Caller::Stranger).await.is_none());
        assert!(newer(&known, Caller::Login).await.is_some());
    }
}
