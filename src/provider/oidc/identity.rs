//! Makes the identity from the ID token's claims, completed by the access token (if the table says so), by userinfo and by the list of
//! groups. At a login, and again at a refresh, when the provider may leave much of it out.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use super::{
    Oidc, id_token,
    metadata::Metadata,
    userinfo::{Absent, merge},
    vendor_profile::GroupQuery,
};
use crate::{
    clock::Timestamp,
    identity::Identity,
    provider::{
        Call, Evidence, ProviderError, RefreshedTokens,
        claims::{Spoke, find, withheld},
        http::HttpError,
    },
    text::Text,
    tokens::GrantTokens,
};

const OTHER_USERINFO: &str = "sub is missing or not the ID token's";
const OTHER_ACCESS_TOKEN: &str = "the access token's sub is missing or not the ID token's";

/// Claims of an ID token, with what userinfo adds.
pub(super) struct Completed {
    pub(super) claims: Map<String, Value>,
    /// Userinfo was asked, or need not be.
    whole: bool,
    /// It has answered.
    answered: bool,
}

impl Oidc {
    /// Who it is by an ID token's `claims`, and by what further places have; and what the allow lists looked at.
    /// `previous` is who it was before a refresh.
    pub(super) async fn identity(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        tokens: &GrantTokens,
        previous: Option<&Identity>,
        now: Timestamp,
    ) -> Result<(Identity, Evidence), ProviderError> {
        // Before anything else adds to them: no other place is believed for it.
        let authentication = id_token::authentication(&claims);
        let reported = (self.vendor_profile.read)(&mut claims)?;
        let token_subject = self.token_subject(&claims);
        let silent = self.rules.silent_in(&claims);
        if self.reads_access_token {
            let further = self
                .access_token_claims(metadata, &tokens.access, now)
                .await?;
            claims = self.merged(claims, further.into(), Call::Token, OTHER_ACCESS_TOKEN)?;
        }
        let silent_still = self.rules.silent_in(&claims);
        let Completed {
            mut claims,
            whole,
            answered,
        } = self
            .completed(metadata, claims, &tokens.access, previous)
            .await?;
        let found = |paths: &[String]| -> Vec<Text> {
            let found = paths.iter().filter(|path| find(&claims, path).is_some());
            found.map(|path| Text::from(path.as_str())).collect()
        };
        let found_beside = found(&silent);
        let userinfo_answered = answered && !found(&silent_still).is_empty();
        self.add_groups(&mut claims, &tokens.access).await?;
        self.check_whole(&claims)?;
        let evidence = self.rules.evidence(&claims, &reported);
        let mut identity = self.rules.identity_with(&claims, reported)?;
        identity.notes.token_subject = token_subject;
        identity.authentication = authentication;
        let identity = match previous {
            Some(previous) if !whole => {
                self.rules
                    .completed_by(identity, &claims, previous, Spoke::Token)
            }
            // Nobody asks later where nothing is refreshed.
            _ if tokens.refresh.is_none() && previous.is_none() => identity,
            _ => {
                identity.notes.found_beside = found_beside;
                identity.notes.userinfo_answered = userinfo_answered;
                identity
            }
        };
        Ok((identity, evidence))
    }

    /// `sub`, where sessions have another claim for their subject. The provider tells of logouts by it.
    pub(super) fn token_subject(&self, claims: &Map<String, Value>) -> Option<Text> {
        let sub = claims.get("sub").and_then(Value::as_str)?;
        (!self.has_sub_for_subject()).then(|| Text::from(sub))
    }

    fn userinfo_url<'m>(&self, metadata: &'m Metadata) -> Option<&'m Url> {
        let url = metadata.userinfo_endpoint.as_ref();
        url.filter(|_| self.asks_userinfo)
    }

    /// Who it is after a refresh. Many providers give no new ID token then; what no other place says either
    /// stands as it was, where it was from the ID token that it was known.
    pub(super) async fn identity_again(
        &self,
        refreshed: &RefreshedTokens<'_>,
    ) -> Result<Identity, ProviderError> {
        let metadata = self.discovery.obtain().await?;
        let RefreshedTokens {
            tokens,
            previous,
            now,
        } = refreshed;
        if tokens.id.is_some() {
            let claims = self.id_token_claims(&metadata, tokens, None, *now).await?;
            let (identity, _) = self
                .identity(&metadata, claims, tokens, Some(previous), *now)
                .await?;
            return Ok(identity);
        }
        let signed = if self.reads_access_token {
            let claims = self.access_token_claims(&metadata, &tokens.access, *now);
            Some(self.believed(claims.await?))
        } else {
            None
        };
        let userinfo = self.userinfo_again(&metadata, tokens, previous).await?;
        let mut claims = match (signed, userinfo) {
            (None, None) => return Ok((*previous).clone()),
            (Some(claims), None) | (None, Some(claims)) => claims,
            (Some(signed), Some(userinfo)) => {
                self.merged(signed, userinfo.into(), Call::Userinfo, OTHER_USERINFO)?
            }
        };
        self.add_groups(&mut claims, &tokens.access).await?;
        self.check_whole(&claims)?;
        let identity = self.rules.identity_with(&claims, Vec::new())?;
        let rules = &self.rules;
        Ok(rules.completed_by(identity, &claims, previous, Spoke::Userinfo))
    }

    /// What userinfo says at a refresh without an ID token; nothing where it is not asked, or refuses as ever.
    async fn userinfo_again(
        &self,
        metadata: &Metadata,
        tokens: &GrantTokens,
        previous: &Identity,
    ) -> Result<Option<Map<String, Value>>, ProviderError> {
        let Some(url) = self.userinfo_url(metadata) else {
            return Ok(None);
        };
        let call = Call::Userinfo;
        match self.http.fetch_json(url, Some(&tokens.access)).await {
            Ok(Value::Object(claims)) => Ok(Some(self.believed(claims))),
            Ok(_) => {
                let problem = "not an object";
                Err(ProviderError::Answer { call, problem })
            }
            Err(error) if self.passes_over(&error, Some(previous)) => Ok(None),
            Err(error) => Err(ProviderError::Http { call, error }),
        }
    }

    /// `claims` of a bearer token that do not say whose it is, with what userinfo says; as they are where it refuses.
    pub(super) async fn with_subject(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        token: &str,
    ) -> Result<Map<String, Value>, ProviderError> {
        let Some(url) = self.userinfo_url(metadata) else {
            return Ok(claims);
        };
        let call = Call::Userinfo;
        match self.http.fetch_json(url, Some(token)).await {
            Ok(userinfo) => {
                if let Some(subject) = userinfo.get("sub") {
                    claims.insert("sub".to_owned(), subject.clone());
                }
                self.merged(claims, userinfo, call, OTHER_USERINFO)
            }
            Err(error) if is_refusal(&error) => Ok(claims),
            Err(error) => Err(ProviderError::Http { call, error }),
        }
    }

    /// Whether a refusal of userinfo is no outage: the token endpoint has said who it is, and userinfo is a further
    /// place that is closed to this client, or not there. Not so where it has told something before: then that is not
    /// known any more, and neither does it go away in silence nor stay for good.
    fn passes_over(&self, error: &HttpError, previous: Option<&Identity>) -> bool {
        let passes =
            is_refusal(error) && previous.is_none_or(|previous| !previous.notes.userinfo_answered);
        if passes && !self.refusal_is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                provider = self.profile.name,
                %error,
                "userinfo refuses, and the ID token is enough; `userinfo = false` asks it no more"
            );
        }
        passes
    }

    /// Without what only the ID token, or another place, is believed for.
    fn believed(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        claims.retain(|name, _| !self.vendor_profile.not_in_userinfo.contains(&name.as_str()));
        claims
    }

    /// `claims` with what only `further` has. §5.3.2: another's answer must not be used. Whoever mixes users up is not
    /// to be believed at all, so this fails the login whatever is missing.
    fn merged(
        &self,
        claims: Map<String, Value>,
        further: Value,
        call: Call,
        problem: &'static str,
    ) -> Result<Map<String, Value>, ProviderError> {
        let further = match further {
            Value::Object(members) => Value::Object(self.believed(members)),
            other => other,
        };
        merge(
            claims,
            further,
            self.rules.names(),
            &self.rules.single_paths(),
        )
        .ok_or(ProviderError::Answer { call, problem })
    }

    /// The claims with what userinfo adds, where something is missing.
    pub(super) async fn completed(
        &self,
        metadata: &Metadata,
        claims: Map<String, Value>,
        access_token: &str,
        previous: Option<&Identity>,
    ) -> Result<Completed, ProviderError> {
        let unasked = |claims, whole| Completed {
            claims,
            whole,
            answered: false,
        };
        let lack = self.uses.lack(&claims, &self.rules, metadata);
        let url = match (self.userinfo_url(metadata), lack) {
            (None, _) | (_, Absent::Nothing) => return Ok(unasked(claims, true)),
            (Some(url), _) => url,
        };
        let call = Call::Userinfo;
        let error = match self.http.fetch_json(url, Some(access_token)).await {
            Ok(userinfo) => {
                return Ok(Completed {
                    claims: self.merged(claims, userinfo, call, OTHER_USERINFO)?,
                    whole: true,
                    answered: true,
                });
            }
            Err(error) if self.passes_over(&error, previous) => return Ok(unasked(claims, true)),
            Err(error) => ProviderError::Http { call, error },
        };
        if lack == Absent::Identity {
            return Err(error);
        }
        tracing::warn!(provider = self.profile.name, %error, remedy = error.remedy(), "going on without userinfo");
        Ok(unasked(claims, false))
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
    pub(super) fn check_whole(&self, claims: &Map<String, Value>) -> Result<(), ProviderError> {
        let lists = self.profile.allow.lists().iter();
        let mut looked_at = lists.filter_map(|list| self.rules.claim_of(&list.key));
        match looked_at.find_map(|claim| Some((claim, withheld(claims, claim)?))) {
            None => Ok(()),
            Some((claim, why)) => Err(ProviderError::Withheld {
                claim: claim.to_owned(),
                why,
            }),
        }
    }
}

/// Whether userinfo is closed to a token, or not there.
fn is_refusal(error: &HttpError) -> bool {
    matches!(
        error,
        HttpError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
    )
}
