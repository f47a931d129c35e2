//! A gate's logins beside a scripted provider, and what a browser does between them.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::*;
use crate::{
    access::Allow,
    clock,
    identity::Identity,
    identity_headers::HeaderSettings,
    jose::TestKey,
    kv,
    login::return_to::HostPattern,
    provider::{
        HttpClient,
        scripted::{Answer, Scripted},
        settings::ProviderSettings,
    },
    secret::Secret,
};

pub(super) struct House {
    pub(super) server: Scripted,
    pub(super) key: TestKey,
    pub(super) logins: Arc<Logins>,
    pub(super) now: Timestamp,
}

/// A browser's side of a login.
pub(super) struct Trip {
    pub(super) cookie: String,
    pub(super) location: Url,
}

impl Trip {
    pub(super) fn parameter(&self, name: &str) -> String {
        let pairs: HashMap<_, _> = self.location.query_pairs().into_owned().collect();
        pairs[name].clone()
    }
}

impl House {
    pub(super) async fn new(allow: Allow) -> Self {
        let server = Scripted::start().await;
        let key = TestKey::ec("k");
        server.publish(&[&key]);
        let config = |name: &str| ProviderSettings {
            allow: allow.clone(),
            ..ProviderSettings::for_test(name, server.origin())
        };
        let configs = [
            config("corp"),
            config("other"),
            ProviderSettings {
                callback_path: "/oauth/callback/".to_owned(),
                ..config("registered")
            },
        ];
        let public_url = PublicUrl {
            url: Url::parse("https://app.example.com").unwrap(),
        };
        let providers = Providers::new(
            &configs,
            &HeaderSettings::default(),
            &HttpClient::for_test(),
        );
        let keys = KeyRing::new(&[Secret::new("s".repeat(43))], public_url.authority());
        let logins = Logins::new(
            Arc::new(providers),
            Arc::new(keys),
            ReturnRules::new(
                &public_url,
                &[HostPattern::Exact("b.example.com".to_owned())],
                "/oauth2",
            ),
            &public_url,
            KeepTokens {
                id: Some(usize::MAX),
                ..KeepTokens::default()
            },
            Arc::new(LoginState::new(Arc::new(kv::Memory::default()))),
        );
        Self {
            server,
            key,
            logins: Arc::new(logins),
            now: clock::now(),
        }
    }

    pub(super) async fn begin(
        &self,
        return_to: &str,
        cookie: Option<&str>,
        options: LoginOptions,
    ) -> Trip {
        self.begin_at("corp", return_to, cookie, options).await
    }

    pub(super) async fn begin_at(
        &self,
        provider: &str,
        return_to: &str,
        cookie: Option<&str>,
        options: LoginOptions,
    ) -> Trip {
        let return_to = self.logins.return_rules.check(return_to).unwrap();
        let random = LoginRandom::draw();
        let begun = self
            .logins
            .begin(provider, &return_to, cookie, options, self.now, &random)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Trip {
            cookie: begun.login_cookie,
            location: begun.location,
        }
    }

    pub(super) async fn simple(&self) -> Trip {
        self.begin("/a?b=%2F&c", None, LoginOptions::default())
            .await
    }

    /// What the token endpoint says from now on: a good ID token for `trip`, changed by `change`.
    pub(super) fn grant(&self, trip: &Trip, change: impl FnOnce(&mut Value)) {
        let now = self.now.0;
        let mut claims = json!({
            "iss": self.server.origin(), "sub": "1", "aud": "us", "exp": now + 300, "iat": now,
            "nonce": trip.parameter("nonce"), "email": "a@x.example", "email_verified": true,
        });
        change(&mut claims);
        let token = self.key.sign(&claims);
        let answer = json!({ "access_token": "at", "token_type": "Bearer", "id_token": token });
        self.server
            .answer("/token", Answer::json(&answer.to_string()));
    }

    pub(super) fn query(&self, trip: &Trip, more: &[(&str, &str)]) -> String {
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("state", &trip.parameter("state"))
            .append_pair("iss", self.server.origin())
            .extend_pairs(more)
            .finish()
    }

    pub(super) async fn finish(&self, callback: &Callback<'_>) -> Result<Finished, LoginError> {
        self.logins
            .finish(callback, self.now, SessionRandom::draw())
            .await
    }

    /// Comes back with a code and nothing unusual.
    pub(super) async fn come_back(&self, trip: &Trip, code: &str) -> Result<Finished, LoginError> {
        let query = self.query(trip, &[("code", code)]);
        self.finish(&callback(trip, &query)).await
    }

    pub(super) fn redemptions(&self) -> usize {
        self.server.requests("/token").len()
    }
}

pub(super) fn callback<'a>(trip: &'a Trip, query: &'a str) -> Callback<'a> {
    Callback {
        provider: "corp",
        query,
        browser: Some(&trip.cookie),
        session: None,
        client: LoginClient {
            address: None,
            known: None,
        },
    }
}

pub(super) fn signed_in(finished: Result<Finished, LoginError>) -> (Session, String) {
    match finished {
        Ok(Finished::SignedIn { signed_in, again }) => (
            signed_in.session.clone(),
            again.return_to.as_str().to_owned(),
        ),
        Ok(Finished::AlreadySignedIn { .. }) => panic!("already signed in"),
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn failed(finished: Result<Finished, LoginError>) -> LoginError {
    match finished {
        Ok(_) => panic!("must fail"),
        Err(error) => error,
    }
}

pub(super) fn already(finished: Result<Finished, LoginError>) -> String {
    match finished {
        Ok(Finished::AlreadySignedIn { return_to }) => return_to.as_str().to_owned(),
        _ => panic!("must be known"),
    }
}

pub(super) fn session(provider: &str, login_id: [u8; 16], created_at: Timestamp) -> Session {
    Session::begin([1; 16], login_id, created_at, Identity::of(provider, "1"))
}
