//! Discord. Guilds are requested only if an allow list names some.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use super::{
    super::{
        Call, HttpClient, Provider, ProviderError, claims::ClaimNames, oauth::ClientAuthentication,
    },
    Bearer, OAuthProfile, Rest, Revocation, UserLookup, UserRecord,
    api::Api,
    asks_for, endpoint, text,
};
use crate::{identity_headers::HeaderSource, provider::settings::ProviderSettings};

pub(in crate::provider) fn build(
    config: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let guilds = asks_for(&config.facts(), &["guilds"]);
    let dialect = OAuthProfile {
        authentication: ClientAuthentication::Basic,
        pkce: true,
        scope_separator: " ",
        further_scope: guilds.then_some("guilds"),
        switch_account: &[("prompt", "consent")],
        issuer: None,
        revocation: Revocation::Standard,
        token_info: None,
        names: ClaimNames {
            subject: "id".to_owned(),
            login: "username".to_owned(),
            email: "email".to_owned(),
            email_verified: "email_verified".to_owned(),
            name: "global_name".to_owned(),
            picture: "avatar_url".to_owned(),
            groups: String::new(),
        },
    };
    let directory = Users {
        api: Api {
            http: http.clone(),
            headers: &[],
            fault: |_| None,
            pace: None,
        },
        me: endpoint(config, "userinfo_url"),
        guilds: guilds.then(|| endpoint(config, "guilds_url")),
    };
    Arc::new(Rest::new(config, headers, http, dialect, directory))
}

struct Users {
    api: Api,
    me: Url,
    /// Only where an allow list asks.
    guilds: Option<Url>,
}

impl UserLookup for Users {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<UserRecord, ProviderError> {
        let me = self.api.object(Call::Userinfo, &self.me, bearer.token);
        let (mut claims, memberships) = tokio::try_join!(me, self.guilds(bearer.token))?;
        let is_verified = claims.get("verified") == Some(&Value::Bool(true));
        claims.insert("email_verified".to_owned(), is_verified.into());
        claims.insert("avatar_url".to_owned(), avatar(&claims).into());
        Ok(UserRecord {
            claims,
            memberships,
        })
    }
}

impl Users {
    /// By id: anybody may name a guild like another one.
    async fn guilds(&self, token: &str) -> Result<Vec<(&'static str, String)>, ProviderError> {
        let Some(url) = &self.guilds else {
            return Ok(Vec::new());
        };
        let list = self.api.list(Call::Memberships, url, token).await?;
        Ok(list
            .iter()
            .take(MAX_GUILDS)
            .filter_map(|guild| Some(("guilds", text(guild, "id")?)))
            .collect())
    }
}

/// Where the picture is: the answer has only its hash.
fn avatar(claims: &Map<String, Value>) -> Option<String> {
    let part = |name: &str| {
        let text = claims.get(name)?.as_str()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        text.bytes().all(is_plain).then_some(text)
    };
    let (id, hash) = (part("id")?, part("avatar")?);
    Some(format!(
        "https://cdn.discordapp.com/avatars/{id}/{hash}.png"
    ))
}

/// The most guilds that a user can be in.
const MAX_GUILDS: usize = 200;

#[cfg(test)]
mod tests;
