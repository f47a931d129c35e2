//! `PREFIX/userinfo`: the identity as JSON, for the app's own scripts.

use http::{Response, StatusCode};
use serde::Serialize;

use super::refuse;
use crate::{
    answer::{self, Reject, reply},
    audience::Audience,
    clean::CleanRequest,
    clock,
    credential::{Caller, Refused},
    decide::Standing,
    identity::Identity,
    observe::Record,
    response::Body,
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
            true,
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
        Ok(Visitor::Credential(verified)) if verified.grant.is_some() => {
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
    record.note_identity(Some(principal.identity));
    reply::json(StatusCode::OK, &Userinfo::of(principal.identity))
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
    /// How many more there are, where the session had no room for all.
    #[serde(skip_serializing_if = "is_zero")]
    groups_missing: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl<'a> Userinfo<'a> {
    fn of(identity: &'a Identity) -> Self {
        Self {
            user: identity.user(),
            id: format!("{}:{}", identity.provider, identity.subject),
            provider: &identity.provider,
            email: identity.email.as_deref(),
            name: identity.name.as_deref(),
            picture: identity.picture.as_deref(),
            groups: identity.groups.iter().map(|group| &**group).collect(),
            groups_missing: identity.notes.omitted_groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_and_leaves_out_what_is_not_known() {
        let identity = Identity {
            email: Some("zoë@example.com".into()),
            groups: vec!["a,b".into(), "c".into()],
            ..Identity::of("corp", "42")
        };
        assert_eq!(
            serde_json::to_value(Userinfo::of(&identity)).unwrap(),
            serde_json::json!({
                "user": "zoë@example.com",
                "id": "corp:42",
                "provider": "corp",
                "email": "zoë@example.com",
                "groups": ["a,b", "c"],
            })
        );
    }
}
