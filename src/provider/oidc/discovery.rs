//! The discovery document, fetched in the background and cached. The gate starts while its provider is down, recovers by itself, and uses
//! the last document during an outage.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use url::Url;

use super::{
    super::{
        Call, HttpClient, ProviderError,
        error::printable,
        http::{HttpError, Internal, PlainHttp, endpoint_url},
    },
    metadata::{Metadata, Reader},
};
use crate::{provider::settings::ProviderSettings, random};

/// One provider's document.
pub(super) struct Discovery {
    provider: String,
    issuer: String,
    /// Whether a document of this issuer may call its issuer so.
    publishes: fn(&str, &str) -> bool,
    /// Addresses that the configuration sets by themselves.
    endpoints: Vec<(&'static str, Url)>,
    /// Where the configuration may lead in plain http, and where the document may.
    plain: [PlainHttp; 2],
    internal: Option<Internal>,
    /// Whether people sign in there.
    is_for_login: bool,
    /// The configuration says all that is needed, and nothing is fetched.
    is_configured: bool,
    http: HttpClient,
    current: ArcSwapOption<Metadata>,
    /// The last try that failed: when it ended, and how. The lock makes tries single file.
    last_failure: Mutex<Option<(Instant, ProviderError)>>,
}

/// What decides how a document is read: the issuer, the addresses of the configuration, where plain http is spoken, and
/// where the issuer is reached.
pub(super) type Terms<'a> = (
    &'a str,
    &'a [(&'static str, Url)],
    [PlainHttp; 2],
    &'a Option<Internal>,
);

impl Discovery {
    pub(super) fn new(
        config: &ProviderSettings,
        publishes: fn(&str, &str) -> bool,
        http: HttpClient,
    ) -> Self {
        let plain = config.plain_http();
        let endpoints: Vec<_> = config
            .endpoints
            .iter()
            .filter_map(|(key, url)| Some((*key, endpoint_url(url, plain)?)))
            .collect();
        let issuer = config.endpoint("issuer").unwrap_or_default();
        let configured = Metadata::configured(issuer, &endpoints, config.login).map(Arc::new);
        Self {
            provider: config.name.clone(),
            issuer: issuer.to_owned(),
            publishes,
            endpoints,
            plain: [plain, config.published_plain_http()],
            internal: config.internal(),
            is_for_login: config.login,
            is_configured: configured.is_some(),
            http,
            current: ArcSwapOption::new(configured),
            last_failure: Mutex::new(None),
        }
    }

    /// The last good document, for another that looks at the same place in the same way.
    pub(super) fn learnt(&self) -> Option<(Arc<Metadata>, Terms<'_>)> {
        Some((self.current()?, self.terms()))
    }

    /// Goes on with `metadata`, which was read on the same terms, until a fetch brings another.
    pub(super) fn resume(&self, metadata: Arc<Metadata>) {
        if self.current.load().is_none() {
            self.current.store(Some(metadata));
        }
    }

    /// What decides how a document is read.
    pub(super) fn terms(&self) -> Terms<'_> {
        (&self.issuer, &self.endpoints, self.plain, &self.internal)
    }

    /// The configured issuer.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the document is.
    pub(super) fn url(&self) -> Option<Url> {
        // §4.1: one trailing slash goes before the path is appended.
        let issuer = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        let [configured, _] = self.plain;
        // With an internal address the issuer's own is a name alone, which nobody calls.
        let plain = match self.internal {
            Some(_) => PlainHttp::Anywhere,
            None => configured,
        };
        endpoint_url(&format!("{issuer}/.well-known/openid-configuration"), plain)
    }

    /// Whether a document is fetched at all.
    pub(super) fn is_fetched(&self) -> bool {
        !self.is_configured
    }

    /// The last good document.
    pub(super) fn current(&self) -> Option<Arc<Metadata>> {
        self.current.load_full()
    }

    /// The last good document, or one fetched right now: somebody who wants to sign in need not wait
    /// for the background's next try. Those who come while a try runs, or right after, share its
    /// outcome.
    pub(super) async fn obtain(&self) -> Result<Arc<Metadata>, ProviderError> {
        if let Some(metadata) = self.current() {
            return Ok(metadata);
        }
        let mut last_failure = self.last_failure.lock().await;
        if let Some(metadata) = self.current() {
            return Ok(metadata);
        }
        match &*last_failure {
            Some((at, error)) if at.elapsed() < FIRST_PAUSE => Err(error.clone()),
            _ => self.try_once(&mut last_failure).await,
        }
    }

    /// Fetches at once, again and again until it works, and then about every hour. Never ends.
    pub(super) async fn upkeep(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.try_once(&mut *self.last_failure.lock().await).await;
            pause = if outcome.is_ok() {
                sleep(jittered(REFRESH)).await;
                FIRST_PAUSE
            } else {
                sleep(jittered(pause)).await;
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
    }

    async fn try_once(
        &self,
        last_failure: &mut Option<(Instant, ProviderError)>,
    ) -> Result<Arc<Metadata>, ProviderError> {
        match self.fetch().await {
            Ok(metadata) => {
                if last_failure.take().is_some() || self.current.load().is_none() {
                    tracing::info!(provider = self.provider, "provider is ready");
                }
                let metadata = Arc::new(metadata);
                self.current.store(Some(metadata.clone()));
                Ok(metadata)
            }
            Err(error) => {
                // Once per kind of failure, not once per try.
                if last_failure.as_ref().is_none_or(|(_, last)| *last != error) {
                    tracing::warn!(provider = self.provider, %error, remedy = error.remedy(), "provider is not ready");
                }
                *last_failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Metadata, ProviderError> {
        let call = Call::Discovery;
        let http = |error| ProviderError::Http { call, error };
        let url = self.url().ok_or_else(|| http(HttpError::ForbiddenUrl))?;
        let document = self.http.fetch_json(&url, None).await.map_err(http)?;
        let [_, published_plain] = self.plain;
        // Often a slash at the end: both are shown, since the eye misses it.
        match document.get("issuer").and_then(serde_json::Value::as_str) {
            Some(published) if !(self.publishes)(&self.issuer, published) => {
                let published = printable(published, 200).unwrap_or_default();
                return Err(ProviderError::OtherIssuer {
                    configured: self.issuer.clone(),
                    published,
                });
            }
            _ => {}
        }
        let reader = Reader {
            is_ours: &|published| (self.publishes)(&self.issuer, published),
            endpoints: &self.endpoints,
            plain: published_plain,
            is_for_login: self.is_for_login,
            internal: self.internal.as_ref(),
        };
        Metadata::read(&document, &reader)
            .map_err(|problem| ProviderError::Answer { call, problem })
    }
}

/// Between three quarters of `span` and all of it, so that replicas do not come all at once.
fn jittered(span: Duration) -> Duration {
    let [dice] = random::bytes();
    span * (1024 - u32::from(dice)) / 1024
}

/// The pause after the first attempt to read a provider's metadata that failed. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often metadata that is known is read again.
const REFRESH: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::scripted::{Answer, Scripted};

    const PATH: &str = "/.well-known/openid-configuration";

    fn discovery(server: &Scripted) -> Arc<Discovery> {
        Arc::new(Discovery::new(
            &ProviderSettings::for_test("corp", server.origin()),
            |configured, published| configured == published,
            HttpClient::for_test(),
        ))
    }

    #[tokio::test]
    async fn an_outage_at_start_heals_by_itself() {
        let server = Scripted::start().await;
        server.answer(PATH, Answer::status(503));
        let discovery = discovery(&server);
        let upkeep = tokio::spawn(discovery.clone().upkeep());
        while server.requests(PATH).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        // Who asks right after the failed try shares it.
        for _ in 0..20 {
            assert!(
                discovery
                    .obtain()
                    .await
                    .is_err_and(|error| error.is_outage())
            );
        }
        assert_eq!(server.requests(PATH).len(), 1);
        server.publish(&[]);
        let healed = async {
            while discovery.current().is_none() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3), healed)
            .await
            .unwrap();
        upkeep.abort();
    }

    #[tokio::test]
    async fn a_login_does_not_wait_for_the_next_try() {
        let server = Scripted::start().await;
        server.publish(&[]);
        let discovery = discovery(&server);
        let (one, two) = tokio::join!(discovery.obtain(), discovery.obtain());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(server.requests(PATH).len(), 1);
    }

    #[tokio::test]
    async fn the_last_good_document_is_kept() {
        let server = Scripted::start().await;
        server.publish(&[]);
        let discovery = discovery(&server);
        discovery.obtain().await.unwrap();
        let mut other = server.metadata();
        other["issuer"] = "https://evil.example".into();
        server.answer(PATH, Answer::json(&other.to_string()));
        let mut last_failure = discovery.last_failure.lock().await;
        let error = discovery.try_once(&mut last_failure).await.unwrap_err();
        assert!(!error.is_outage());
        assert!(discovery.current().is_some());
    }

    #[test]
    fn pauses_vary() {
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            let pause = jittered(second);
            assert!(pause <= second && pause >= second * 3 / 4);
        }
    }
}
