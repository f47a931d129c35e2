//! Discord. Guilds are asked for, and asked about, only where an allow list names some.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use super::{
    super::{
        Call, ProviderError,
        claims::ClaimNames,
        kind::{Kind, Secrecy, Switch},
        oauth::ClientAuthentication,
    },
    Bearer, Dialect, Directory, Person, Rest, Revocation,
    api::Api,
    asks_for, endpoint, known, text,
};

/// Discord.
pub(in crate::provider) const KIND: Kind = Kind {
    name: "discord",
    label: "Discord",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true"><path d=""#,
        "M20.317 4.37a19.791 19.791 0 0 0-4.885-1.515.074.074 0 0 0-.079.037c-.211.375-.445.865-.608 1.25",
        "-1.845-.276-3.68-.276-5.487 0-.164-.393-.406-.874-.618-1.25a.077.077 0 0 0-.079-.037A19.736 19.736",
        " 0 0 0 3.677 4.37a.07.07 0 0 0-.032.028C.533 9.046-.319 13.58.099 18.058a.082.082 0 0 0 .031.056",
        "c2.053 1.508 4.041 2.423 5.993 3.029a.078.078 0 0 0 .084-.028c.462-.63.873-1.295 1.226-1.994",
        "a.076.076 0 0 0-.042-.106c-.653-.248-1.274-.55-1.872-.892a.077.077 0 0 1-.008-.128c.126-.094.252",
        "-.192.372-.291a.074.074 0 0 1 .078-.011c3.928 1.793 8.18 1.793 12.061 0a.074.074 0 0 1 .079.01",
        "c.12.099.246.198.373.292a.077.077 0 0 1-.007.128 12.299 12.299 0 0 1-1.873.891.077.077 0 0 0",
        "-.041.107c.36.698.772 1.363 1.225 1.993a.076.076 0 0 0 .084.029c1.961-.607 3.95-1.522 6.002-3.029",
        "a.077.077 0 0 0 .031-.055c.5-5.177-.838-9.674-3.549-13.66a.061.061 0 0 0-.031-.029zM8.02 15.331",
        "c-1.183 0-2.157-1.086-2.157-2.419 0-1.333.956-2.419 2.157-2.419 1.211 0 2.176 1.095 2.157 2.419 ",
        "0 1.333-.956 2.419-2.157 2.419zm7.975 0c-1.183 0-2.157-1.086-2.157-2.419 0-1.333.955-2.419 2.157",
        "-2.419 1.211 0 2.176 1.095 2.157 2.419 0 1.333-.946 2.419-2.157 2.419Z",
        r#""/></svg>"#,
    ),
    endpoints: &[
        known(
            "authorize_url",
            "https://discord.com/oauth2/authorize",
            "/oauth2/authorize",
        ),
        known(
            "token_url",
            "https://discord.com/api/oauth2/token",
            "/api/oauth2/token",
        ),
        known(
            "userinfo_url",
            "https://discord.com/api/v10/users/@me",
            "/api/v10/users/@me",
        ),
        known(
            "guilds_url",
            "https://discord.com/api/v10/users/@me/guilds",
            "/api/v10/users/@me/guilds",
        ),
        known(
            "revocation_url",
            "https://discord.com/api/oauth2/token/revoke",
            "/api/oauth2/token/revoke",
        ),
    ],
    scopes: &["identify", "email"],
    required_scope: None,
    allow: &["guilds"],
    closed: &[],
    logins_ignore_case: true,
    claims_by_hand: false,
    secret: Secrecy::Usually,
    offers_logout: false,
    switch: Switch::Asks,
    // One token revoked is every token of the user's, in all browsers.
    revokes: false,
    check: |_| Vec::new(),
    build: |config, headers, http| {
        let guilds = asks_for(&config.allow, &["guilds"]);
        let dialect = Dialect {
            authentication: ClientAuthentication::Basic,
            pkce: true,
            scope_separator: " ",
            further_scope: guilds.then_some("guilds"),
            switch_account: &[("prompt", "consent")],
            issuer: None,
            revocation: Revocation::Standard,
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
    },
};

struct Users {
    api: Api,
    me: Url,
    /// Only where an allow list asks.
    guilds: Option<Url>,
}

impl Directory for Users {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<Person, ProviderError> {
        let me = self.api.object(Call::Userinfo, &self.me, bearer.token);
        let (mut claims, memberships) = tokio::try_join!(me, self.guilds(bearer.token))?;
        let is_verified = claims.get("verified") == Some(&Value::Bool(true));
        claims.insert("email_verified".to_owned(), is_verified.into());
        claims.insert("avatar_url".to_owned(), avatar(&claims).into());
        Ok(Person {
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

/// Guilds that anybody can be in.
const MAX_GUILDS: usize = 200;

#[cfg(test)]
mod tests;
