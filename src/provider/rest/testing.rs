//! For tests of kinds: one of a kind below a scripted server, and a login with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;
use url::Url;

use crate::provider::build;
use crate::{
    access::{Allow, StepUp, allow},
    clock::Timestamp,
    identity::Identity,
    identity_headers::HeaderSource,
    provider::{
        AuthorizeRequest, CodeGrant, Grant, HttpClient, Provider, ProviderError,
        http::Limits,
        kind::Kind,
        scripted::{Answer, Scripted},
        settings::ProviderSettings,
    },
    secret::Secret,
};

pub(super) const NOW: u64 = 1_800_000_000;

/// As the configuration would have it with `base_url` at `server`.
pub(super) fn config(kind: &'static Kind, server: &Scripted, allow: Allow) -> ProviderSettings {
    let endpoints = kind.endpoints.iter().map(|endpoint| {
        let path = endpoint.below_base.unwrap_or(endpoint.key);
        let path = path.trim_start_matches('/');
        (endpoint.key, server.url(&format!("/{path}")).to_string())
    });
    ProviderSettings {
        kind,
        endpoints: endpoints.collect(),
        client_secrets: vec![Secret::new("shh".to_owned())],
        scopes: kind.scopes.iter().map(ToString::to_string).collect(),
        allow,
        ..ProviderSettings::for_test("corp", "")
    }
}

pub(super) fn build(config: &ProviderSettings, headers: &[HeaderSource]) -> Arc<dyn Provider> {
    let limits = Limits {
        connect: Duration::from_secs(2),
        total: Duration::from_secs(5),
        body: 1024 * 1024,
    };
    let http = HttpClient::with(
        crate::trust::client_config_with(rustls::RootCertStore::empty()),
        limits,
    );
    let headers: Vec<&HeaderSource> = headers.iter().collect();
    build::build(config, &headers, &http)
}

pub(super) fn anyone(kind: &'static Kind, server: &Scripted) -> Arc<dyn Provider> {
    build(&config(kind, server, Allow::Anyone), &[])
}

pub(super) fn answer(server: &Scripted, path: &str, value: &Value) {
    server.answer(path, Answer::json(&value.to_string()));
}

pub(super) async fn redeem(provider: &Arc<dyn Provider>) -> Result<Grant, ProviderError> {
    let redirect_uri = Url::parse("https://app.example.com/oauth2/callback/corp").unwrap();
    let grant = CodeGrant {
        code: "c",
        redirect_uri: &redirect_uri,
        pkce_verifier: "v",
        nonce: "n",
        now: Timestamp(NOW),
    };
    provider.redeem(&grant).await
}

pub(super) async fn identity(provider: &Arc<dyn Provider>) -> Identity {
    let grant = redeem(provider).await;
    grant.unwrap_or_else(|error| panic!("{error}")).identity
}

pub(super) async fn refused(provider: &Arc<dyn Provider>) -> ProviderError {
    match redeem(provider).await {
        Ok(_) => panic!("must be refused"),
        Err(error) => error,
    }
}

/// The rule that keeps somebody out who signs in where only `entries` of `key` may pass.
pub(super) async fn rule(
    kind: &'static Kind,
    server: &Scripted,
    key: &str,
    entries: &[&str],
) -> Option<String> {
    let allow = kind.allow_for_test(&[(key, entries)]);
    let provider = build(&config(kind, server, allow.clone()), &[]);
    let identity = identity(&provider).await;
    allow::check(&allow, &identity)
        .err()
        .map(|denied| denied.rule)
}

/// The parameters that a browser is sent with.
pub(super) async fn parameters(
    provider: &Arc<dyn Provider>,
    switch_account: bool,
) -> HashMap<String, String> {
    let redirect_uri = Url::parse("https://app.example.com/oauth2/callback/corp").unwrap();
    let request = AuthorizeRequest {
        redirect_uri: &redirect_uri,
        state: "s",
        nonce: "n",
        pkce_challenge: "challenge",
        switch_account,
        step_up: &StepUp::default(),
        reauthenticate: false,
    };
    let url = provider.authorize(&request).await.unwrap();
    url.query_pairs().into_owned().collect()
}

/// What the token endpoint was sent at last.
pub(super) fn last_form(server: &Scripted, path: &str) -> HashMap<String, String> {
    let seen = server.requests(path).pop().unwrap();
    url::form_urlencoded::parse(seen.body.as_bytes())
        .into_owned()
        .collect()
}
