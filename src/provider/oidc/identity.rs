//! Who it is: the ID token's claims, completed by userinfo and by where groups are listed; at a login, and again at a
//! renewal, where much of it may not be said again.

use serde_json::{Map, Value};

use super::{
    Oidc,
    flavour::GroupQuery,
    metadata::Metadata,
    userinfo::{Lack, is_withheld, merge},
};
use crate::{
    provider::{Call, GrantTokens, ProviderError, RenewedTokens, claims::Spoke},
    session::Identity,
};

/// Claims of an ID token, with what userinfo adds.
struct Completed {
    claims: Map<String, Value>,
    /// Userinfo was asked, or need not be.
    whole: bool,
}

impl Oidc {
    /// Who it is by an ID token's `claims`, and by what further places have. `previous` is who it was before a
    /// renewal.
    pub(super) async fn identity(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        tokens: &GrantTokens,
        previous: Option<&Identity>,
    ) -> Result<Identity, ProviderError> {
        let reported = (self.flavour.read)(&mut claims)?;
        let silent = self.rules.silent_in(&claims);
        let Completed { mut claims, whole } =
            self.completed(metadata, claims, &tokens.access).await?;
        let spoken = claims.clone();
        self.add_groups(&mut claims, &tokens.access).await?;
        self.check_whole(&claims)?;
        let identity = self.rules.identity_with(&claims, reported)?;
        Ok(match previous {
            Some(previous) if !whole => {
                self.rules
                    .completed_by(identity, &claims, previous, Spoke::Token)
            }
            // Nobody asks later where nothing is renewed.
            _ if tokens.refresh.is_none() && previous.is_none() => identity,
            _ => self.rules.noting_userinfo(identity, &silent, &spoken),
        })
    }

    /// Who it is after a renewal. Many providers give no new ID token then; what userinfo does not say either
    /// stands as it was, where it was not from userinfo that it was known.
    pub(super) async fn identity_again(
        &self,
        renewed: &RenewedTokens<'_>,
    ) -> Result<Identity, ProviderError> {
        let metadata = self.discovery.obtain().await?;
        let RenewedTokens {
            tokens,
            previous,
            now,
        } = renewed;
        if tokens.id.is_some() {
            let claims = self.id_token_claims(&metadata, tokens, None, *now).await?;
            return self
                .identity(&metadata, claims, tokens, Some(previous))
                .await;
        }
        let Some(url) = &metadata.userinfo_endpoint else {
            return Ok((*previous).clone());
        };
        let call = Call::Userinfo;
        let userinfo = self.http.fetch_json(url, Some(&tokens.access)).await;
        let userinfo = userinfo.map_err(|error| ProviderError::Http { call, error })?;
        let Value::Object(mut claims) = userinfo else {
            let problem = "not an object";
            return Err(ProviderError::Answer { call, problem });
        };
        claims.retain(|name, _| !self.flavour.not_in_userinfo.contains(&name.as_str()));
        self.add_groups(&mut claims, &tokens.access).await?;
        self.check_whole(&claims)?;
        let identity = self.rules.identity_with(&claims, Vec::new())?;
        let rules = &self.rules;
        Ok(rules.completed_by(identity, &claims, previous, Spoke::Userinfo))
    }

    /// The claims with what userinfo adds, where something is missing.
    async fn completed(
        &self,
        metadata: &Metadata,
        claims: Map<String, Value>,
        access_token: &str,
    ) -> Result<Completed, ProviderError> {
        let lack = self.uses.lack(&claims, &self.rules, metadata);
        let url = match (&metadata.userinfo_endpoint, lack) {
            (None, _) | (_, Lack::Nothing) => {
                let whole = true;
                return Ok(Completed { claims, whole });
            }
            (Some(url), _) => url,
        };
        let call = Call::Userinfo;
        let error = match self.http.fetch_json(url, Some(access_token)).await {
            Ok(mut userinfo) => {
                if let Value::Object(members) = &mut userinfo {
                    members
                        .retain(|name, _| !self.flavour.not_in_userinfo.contains(&name.as_str()));
                }
                // §5.3.2: another's answer must not be used. Whoever mixes users up is not to be
                // believed at all, so this fails the login whatever is missing.
                let problem = "sub is missing or not the ID token's";
                let claims =
                    merge(claims, userinfo).ok_or(ProviderError::Answer { call, problem })?;
                let whole = true;
                return Ok(Completed { claims, whole });
            }
            Err(error) => ProviderError::Http { call, error },
        };
        if lack == Lack::Identity {
            return Err(error);
        }
        tracing::warn!(provider = self.profile.name, %error, remedy = error.remedy(), "going on without userinfo");
        let whole = false;
        Ok(Completed { claims, whole })
    }

    /// Adds the groups that no claim tells. As with userinfo, a failure ends the login where an allow
    /// list asks for them.
    async fn add_groups(
        &self,
        claims: &mut Map<String, Value>,
        access_token: &str,
    ) -> Result<(), ProviderError> {
        let Some(groups) = &self.groups else {
            return Ok(());
        };
        let query = GroupQuery {
            http: &self.http,
            url: &groups.url,
            claims,
            access_token,
        };
        match (groups.source.list)(query).await {
            Ok(names) => {
                claims.insert(self.rules.names().groups.clone(), names.into());
            }
            Err(error) if groups.required => return Err(error),
            Err(error) => {
                tracing::warn!(provider = self.profile.name, %error, remedy = error.remedy(), "signing in without groups");
            }
        }
        Ok(())
    }

    /// What an allow list asks for and the provider keeps back must not be taken for nothing.
    fn check_whole(&self, claims: &Map<String, Value>) -> Result<(), ProviderError> {
        let groups = &self.rules.names().groups;
        let mut keys = self.profile.allow.lists().iter().map(|list| &*list.key);
        let is_withheld = |key: &str| match key {
            "groups" => is_withheld(claims, groups),
            key => {
                let path = key.strip_prefix("claims.");
                path.is_some_and(|path| is_withheld(claims, path))
            }
        };
        if keys.any(is_withheld) {
            return Err(ProviderError::Answer {
                call: Call::Token,
                problem: "the ID token leaves out what the allow list asks for, such as groups, \
                          because there is too much of it (groups overage)",
            });
        }
        Ok(())
    }
}
