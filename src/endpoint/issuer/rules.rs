//! The rules that a token falls under: those of the route that its resource falls under.
//!
//! The gate judges each request by them. An app may take a token past the gate, and look into it or ask what it is worth. So they are
//! judged where somebody agrees, where a token is given, and where one is asked about, too.

use std::net::IpAddr;

use crate::{
    clock::Timestamp,
    decide::Deny,
    issuer::{
        Issuer,
        error::{Code, OAuthError},
        id_token::{self, OPENID},
        resource::Resource,
    },
    route::{self, Route},
    session::Session,
    snapshot::Snapshot,
    text::Text,
};

/// A token that a client has, or would get.
pub(super) struct Wanted<'a> {
    /// Whoever it is about.
    pub(super) session: &'a Session,
    /// The client's handle.
    pub(super) client: &'a Text,
    /// What it may be used for.
    pub(super) scopes: &'a [String],
}

impl Wanted<'_> {
    /// Would it be let through by `route`, where it comes from `address`?
    pub(super) fn judge(
        &self,
        snapshot: &Snapshot,
        route: &Route,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), Deny> {
        let scopes: Vec<Text> = self
            .scopes
            .iter()
            .map(|scope| Text::from(scope.as_str()))
            .collect();
        let token = (self.client, &*scopes);
        beside_scopes(snapshot.judge_token(route, self.session, token, address, now))
    }
}

/// Whether a client's scopes are enough is judged at each of its requests: it may come back for more.
pub(super) fn beside_scopes(judged: Result<(), Deny>) -> Result<(), Deny> {
    judged.or_else(|deny| match &deny {
        Deny::Barred(barred) if barred.denied.held.needed_scopes().is_some() => Ok(()),
        _ => Err(deny),
    })
}

/// The resource that is asked for, or the only one there is, and the route that guards it.
pub(super) fn resource_of<'s>(
    snapshot: &'s Snapshot,
    issuer: &'s Issuer,
    named: Option<&str>,
) -> Result<(Resource, &'s Route), OAuthError> {
    let invalid = |description| OAuthError::new(Code::InvalidTarget, description);
    let resource = match named {
        Some(text) => Resource::parse(text).ok_or_else(|| invalid("resource is no address"))?,
        None => snapshot
            .only_resource()
            .ok_or_else(|| invalid("resource is missing, and there are several here"))?,
    };
    let route = guard(snapshot, issuer, &resource)
        .ok_or_else(|| invalid("no such resource takes tokens here"))?;
    Ok((resource, route))
}

/// Whether scopes ask who somebody is, and for nothing that routes ask for.
pub(super) fn asks_only_who(scopes: &[String]) -> bool {
    let has = |name: &str| scopes.iter().any(|scope| scope == name);
    has(OPENID) && !route::Resource::ALL.iter().any(|kind| has(kind.scope()))
}

/// What guards a resource that there may be tokens for.
pub(super) fn guard<'s>(
    snapshot: &'s Snapshot,
    issuer: &'s Issuer,
    resource: &Resource,
) -> Option<&'s Route> {
    if *resource == issuer.userinfo() {
        return Some(&issuer.userinfo_route);
    }
    snapshot.guard_of(resource)
}

/// What is granted: the scope that each token for such a route has, and of what was asked for all that there is here. Who somebody
/// is, a client learns only if it asks for that.
pub(super) fn granted(issuer: &Issuer, route: &Route, requested: &[String]) -> Vec<String> {
    let base = route.resource.map(|kind| kind.scope().to_owned());
    let mut scopes: Vec<String> = base.into_iter().collect();
    let is_openid = requested.iter().any(|scope| scope == OPENID);
    for scope in requested {
        if id_token::SCOPES.contains(&scope.as_str()) && !is_openid {
            continue;
        }
        if issuer.scopes.contains(scope) && !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}
