//! Any server of plain OAuth 2.0: the operator configures every address and where every claim is.

use std::sync::Arc;

use url::Url;

use super::{
    super::{
        Call, HttpClient, Provider, ProviderError, claims::ClaimNames, kind::ConfigIssue,
        oauth::ClientAuthentication,
    },
    Bearer, OAuthProfile, Rest, Revocation, UserLookup, UserRecord,
    api::Api,
    endpoint,
};
use crate::{
    access::AllowList, identity_headers::HeaderSource, provider::settings::ProviderSettings,
};

pub(in crate::provider) fn build(
    config: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let nowhere = String::new;
    let dialect = OAuthProfile {
        authentication: ClientAuthentication::Basic,
        pkce: true,
        scope_separator: " ",
        further_scope: None,
        // OpenID Connect's word for it; who does not know it ignores it (RFC 6749 §3.1).
        switch_account: &[("prompt", "select_account")],
        issuer: None,
        revocation: Revocation::Standard,
        token_info: None,
        // An address counts only where the operator says what vouches for it.
        names: ClaimNames {
            subject: nowhere(),
            login: nowhere(),
            email: nowhere(),
            email_verified: nowhere(),
            name: nowhere(),
            picture: nowhere(),
            groups: nowhere(),
        },
    };
    let directory = Userinfo {
        api: Api {
            http: http.clone(),
            headers: &[],
            fault: |_| None,
            pace: None,
        },
        url: endpoint(config, "userinfo_url"),
    };
    Arc::new(Rest::new(config, headers, http, dialect, directory))
}

/// An address that nothing vouches for admits nobody.
pub(in crate::provider) fn check(config: &ProviderSettings) -> Vec<ConfigIssue> {
    let is_by_address = |list: &AllowList| matches!(list.key.as_str(), "emails" | "domains");
    let is_vouched_for = config.claims.email.is_some() && config.claims.email_verified.is_some();
    let admits_nobody = config.allow.lists().iter().any(is_by_address) && !is_vouched_for;
    let objection = ConfigIssue {
        key: "allow",
        problem: "no claim verifies an address, so `emails` and `domains` let nobody pass",
        hint: "say where the answer has both: claims = { email = \"…\", email_verified = \"…\" }",
    };
    let asks = config
        .bearer
        .as_ref()
        .is_some_and(|bearer| bearer.introspect);
    let asks_nowhere = asks && config.endpoint("introspection_url").is_none();
    let nowhere = ConfigIssue {
        key: "bearer",
        problem: "nothing says where tokens are asked about",
        hint: "write introspection_url, the server's address for RFC 7662",
    };
    let objections = [
        admits_nobody.then_some(objection),
        asks_nowhere.then_some(nowhere),
    ];
    objections.into_iter().flatten().collect()
}

struct Userinfo {
    api: Api,
    url: Url,
}

impl UserLookup for Userinfo {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<UserRecord, ProviderError> {
        let claims = self
            .api
            .object(Call::Userinfo, &self.url, bearer.token)
            .await?;
        Ok(UserRecord {
            claims,
            memberships: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
