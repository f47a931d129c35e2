//! `/grants`: operators list and end the grants of users.

use http::{Method, Response, StatusCode};
use serde::Serialize;

use super::{
    Desk,
    sessions::{Problem, Whose},
};
use crate::{
    answer::reply,
    clock::{self, Timestamp},
    endpoint::ListedGrant,
    issuer::GrantId,
    response::Body,
    session::directory::UserKey,
    snapshot::Snapshot,
};

/// Serves `/grants` (`name` is none) and `/grants/ID`.
pub(super) async fn serve(
    method: &Method,
    name: Option<&str>,
    query: Option<&str>,
    desk: Desk<'_>,
) -> Response<Body> {
    let now = clock::now();
    let served = match (method, name) {
        (&Method::GET, None) => list(query, desk.snapshot, now).await,
        (&Method::DELETE, None) => end_several(query, desk, now).await,
        (&Method::DELETE, Some(name)) => end_one(name, desk, now).await,
        (_, name) => return Problem::method_not_allowed(name.is_some()),
    };
    served.unwrap_or_else(|problem| problem.answer())
}

#[derive(Serialize)]
struct Listed {
    user: String,
    grants: Vec<ListedGrant>,
}

#[derive(Serialize)]
struct Ended {
    ended: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<usize>,
}

async fn list(
    query: Option<&str>,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    let Ok(Whose::User { provider, subject }) = Whose::read(query) else {
        return Err(Problem::bad_request(
            "grants are listed by user: user=PROVIDER:SUBJECT",
        ));
    };
    let user = UserKey::new(&provider, &subject);
    let listed = snapshot.kept_grants.list(&user, now).await?;
    let answer = Listed {
        user: format!("{provider}:{subject}"),
        grants: listed
            .iter()
            .map(|grant| ListedGrant::of(&user, grant))
            .collect(),
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

async fn end_several(
    query: Option<&str>,
    desk: Desk<'_>,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    let (ended, grants) = match Whose::read(query)? {
        // Everybody's access tokens end with everybody's sessions alone.
        Whose::Everybody => {
            return Err(Problem::bad_request(
                "end everybody's with everybody's sessions: /sessions?all=true",
            ));
        }
        Whose::User { provider, subject } => {
            let user = UserKey::new(&provider, &subject);
            let ended = desk.snapshot.kept_grants.end_all(&user, now).await?;
            (format!("{provider}:{subject}"), Some(ended.len()))
        }
    };
    desk.note("grants_ended", &ended, None);
    tracing::info!(whose = ended, grants, "grants were ended by an operator");
    Ok(reply::json(StatusCode::OK, &Ended { ended, grants }))
}

async fn end_one(name: &str, desk: Desk<'_>, now: Timestamp) -> Result<Response<Body>, Problem> {
    let unknown = || {
        let message = "no grant of that id is known here; it may have ended";
        Problem::new(StatusCode::NOT_FOUND, "unknown_grant", message)
    };
    let id = GrantId::parse(name).ok_or_else(unknown)?;
    let ended = desk
        .snapshot
        .kept_grants
        .end(id.name(), now)
        .await?
        .ok_or_else(unknown)?;
    desk.note("grants_ended", &id.to_string(), Some(ended.client.clone()));
    tracing::info!(client = ended.client, "a grant was ended by an operator");
    let ended = Ended {
        ended: id.to_string(),
        grants: Some(1),
    };
    Ok(reply::json(StatusCode::OK, &ended))
}
