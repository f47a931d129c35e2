//! `PREFIX/userinfo`: the identity as JSON, for the app's own scripts; and for clients with a token of the gate's own, as OpenID
//! Connect has it.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{issuer, refuse};
use crate::{
    access::Principal,
    answer::{self, Reject, reply},
    audience::Audience,
    clean::CleanRequest,
    clock::{self, Timestamp},
    credential::{Caller, Refused},
    decide::Standing,
    observe::Record,
    response::Body,
    route::Asks,
    snapshot::Snapshot,
    visitor::Visitor,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Response<Body> {
    let headers = &request.head.headers;
    let caller = Caller {
        address: request.client.address,
        now: clock::now(),
    };
    let visitor = match snapshot
        .visitor(
            Asks::Anybody,
            headers,
            request.certificate.as_deref(),
            caller,
            record,
        )
        .await
    {
        Ok(Visitor::Unavailable(unavailable)) => {
            return refuse(snapshot, &unavailable.into(), record);
        }
        // What a client was given is for its resource, and this is another.
        Ok(Visitor::Credential(verified))
            if verified.grant.is_some() && !issuer::userinfo::is_for(&verified) =>
        {
            let why = "an access token that is for another address".to_owned();
            return refuse(snapshot, &Refused::Invalid(why).into(), record);
        }
        Ok(visitor) => visitor,
        Err(reject) => {
            snapshot.audit_denial(&reject, None, record);
            return refuse(snapshot, &reject, record);
        }
    };
    let host = &request.forwarding.seen().host;
    let return_to =
        || answer::return_address(Audience::Program, headers, host, "/", &snapshot.site);
    let principal = match snapshot.standing(visitor.who()) {
        Standing::Admitted(principal) => principal,
        Standing::Barred(barred) => {
            let reject = Reject::Barred {
                barred,
                return_to: return_to(),
            };
            snapshot.audit_denial(&reject, None, record);
            return refuse(snapshot, &reject, record);
        }
        Standing::Nobody => {
            let return_to = return_to();
            return refuse(snapshot, &Reject::SignIn { return_to }, record);
        }
    };
    record.note_principal(Some(principal));
    if matches!(&visitor, Visitor::Credential(verified) if issuer::userinfo::is_for(verified)) {
        return issuer::userinfo::answer(principal);
    }
    let expires_at = match &visitor {
        Visitor::Credential(verified) => verified.expires_at,
        _ => None,
    };
    reply::json(StatusCode::OK, &Userinfo::of(principal, expires_at))
}

/// The same values as the identity headers, in JSON's own encoding. What is not known is left out.
#[derive(Serialize)]
struct Userinfo<'a> {
    user: &'a str,
    id: String,
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
    groups: Vec<&'a str>,
    /// How many more the provider lists: the session had no room for all, or they are no groups.
    #[serde(skip_serializing_if = "is_zero")]
    groups_missing: usize,
    /// By what it was proven, as `X-User-Auth` has it.
    credential: &'static str,
    /// What the credential may be used for, where it is bound to scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<&'a str>>,
    /// The OAuth client that it was given to, or what names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    /// When the credential ends, in seconds since 1970, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl<'a> Userinfo<'a> {
    fn of(principal: Principal<'a>, expires_at: Option<Timestamp>) -> Self {
        let identity = principal.identity;
        let scopes = principal.scopes.map(|scopes| scopes.iter());
        Self {
            credential: principal.proof.name(),
            scopes: scopes.map(|scopes| scopes.map(|scope| &**scope).collect()),
            client: principal.client.map(|client| &**client),
            expires_at: expires_at.map(|end| end.0),
            user: identity.user(),
            id: format!("{}:{}", identity.provider, identity.subject),
            provider: &identity.provider,
            email: identity.email.as_deref(),
            name: identity.name.as_deref(),
            picture: identity.picture.as_deref(),
            groups: identity.groups.iter().map(|group| &**group).collect(),
            groups_missing: identity.notes.missing_groups(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::Proof, identity::Identity, tokens::Tokens};

    #[test]
    fn says_who_and_leaves_out_what_is_not_known() {
        let identity = Identity {
            email: Some("zoë@example.com".into()),
            groups: vec!["a,b".into(), "c".into()],
            ..Identity::of("corp", "42")
        };
        let tokens = Tokens::default();
        let principal = Principal::of_session(&identity, &tokens);
        assert_eq!(
            serde_json::to_value(Userinfo::of(principal, None)).unwrap(),
            serde_json::json!({
                "user": "zoë@example.com",
                "id": "corp:42",
                "provider": "corp",
                "email": "zoë@example.com",
                "groups": ["a,b", "c"],
                "credential": "session",
            })
        );
        let scopes = vec!["read".into()];
        let principal = Principal {
            proof: Proof::Bearer,
            scopes: Some(&scopes),
            client: Some(&identity.subject),
            ..principal
        };
        let answer = serde_json::to_value(Userinfo::of(principal, Some(Timestamp(7)))).unwrap();
        assert_eq!(answer["scopes"], serde_json::json!(["read"]));
        assert_eq!(
            (&answer["client"], &answer["expires_at"]),
            (&"42".into(), &7.into())
        );
    }
}
