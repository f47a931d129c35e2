//! Builds a provider from a checked table of the configuration.

use std::sync::Arc;

use super::{
    HttpClient, Provider, introspection,
    kind::{ConfigIssue, Id},
    oidc, rest,
    settings::ProviderSettings,
};
use crate::identity_headers::HeaderSource;

/// Builds the provider that `settings` describe. `headers` are what the app is shown of somebody.
pub(super) fn build(
    settings: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let build = match settings.kind.id {
        Id::FortyTwo => rest::forty_two::build,
        Id::GitHub => rest::github::build,
        Id::Facebook => rest::facebook::build,
        Id::Discord => rest::discord::build,
        Id::OAuth2 => rest::by_hand::build,
        Id::Oidc | Id::Google | Id::GitLab | Id::Microsoft => oidc::build,
    };
    build(settings, headers, http)
}

/// What does not go together in settings that are each right by themselves.
pub fn check(settings: &ProviderSettings) -> Vec<ConfigIssue> {
    let of_kind = match settings.kind.id {
        Id::Google => oidc::google::check(settings),
        Id::GitHub => rest::github::check(settings),
        Id::Facebook => rest::facebook::check(settings),
        Id::Microsoft => oidc::microsoft::check(settings),
        Id::OAuth2 => rest::by_hand::check(settings),
        Id::FortyTwo | Id::GitLab | Id::Discord | Id::Oidc => Vec::new(),
    };
    let all = introspection::check(settings).into_iter().chain(of_kind);
    all.collect()
}
