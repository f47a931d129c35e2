//! `/sessions`: operators list and end sessions.

use std::{borrow::Cow, time::Duration};

use http::{HeaderValue, Method, Response, StatusCode, header::ALLOW};
use serde::Serialize;
use url::form_urlencoded;

use super::Desk;
use crate::{
    answer::reply,
    clock::{self, Timestamp},
    endpoint::account::Listed,
    kv,
    response::Body,
    session::{
        StoreError,
        directory::{SessionName, UserKey},
        revocation::Target,
    },
    snapshot::Snapshot,
};

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: &'static str,
    message: Cow<'static, str>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        error: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The answer to a method that an address does not take: `/sessions` and its like, or one below.
    pub(super) fn method_not_allowed(is_one: bool) -> Response<Body> {
        let methods = if is_one { "DELETE" } else { "GET, DELETE" };
        let message = format!("this address takes {methods}");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut answer = Self::new(status, "method_not_allowed", message).answer();
        let allow = HeaderValue::from_static(methods);
        answer.headers_mut().insert(ALLOW, allow);
        answer
    }

    pub(super) fn answer(&self) -> Response<Body> {
        #[derive(Serialize)]
        struct Refusal<'a> {
            error: &'a str,
            message: &'a str,
        }
        let (error, message) = (self.error, &*self.message);
        reply::json(self.status, &Refusal { error, message })
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "store_unavailable", error.to_string())
    }
}

impl From<kv::Error> for Problem {
    fn from(error: kv::Error) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "store_unavailable", error.to_string())
    }
}

/// Serves `/sessions` (`name` is none) and `/sessions/NAME`.
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

/// Whose sessions are meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    User { provider: String, subject: String },
    Everybody,
}

impl Whose {
    /// Reads exactly one of `user=PROVIDER:SUBJECT` and `all=true`. Anything beside it is a mistake, and a mistake
    /// must not sign people out.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let (Some((key, value)), None) = (pairs.next(), pairs.next()) else {
            return Err(Problem::bad_request(SAY_WHOSE));
        };
        match (&*key, value.split_once(':')) {
            ("user", Some((provider, subject))) if !subject.is_empty() => Ok(Self::User {
                provider: provider.to_owned(),
                subject: subject.to_owned(),
            }),
            ("user", _) => Err(Problem::bad_request(
                "a user is PROVIDER:SUBJECT, as the app is told in X-User-Id",
            )),
            ("all", _) if value == "true" => Ok(Self::Everybody),
            _ => Err(Problem::bad_request(SAY_WHOSE)),
        }
    }
}

const SAY_WHOSE: &str = "say whose: user=PROVIDER:SUBJECT, or all=true";

fn know_provider(provider: &str, snapshot: &Snapshot) -> Result<(), Problem> {
    if snapshot.providers.find(provider).is_some() {
        return Ok(());
    }
    let names = snapshot
        .providers
        .iter()
        .map(|known| &*known.profile().name);
    let names: Vec<_> = names.collect();
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_provider",
        format!("no provider has that name; there is {}", names.join(", ")),
    ))
}

async fn list(
    query: Option<&str>,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Answer {
        user: String,
        sessions: Vec<Listed>,
        /// Whether a session that is not listed has ended.
        complete: bool,
    }
    let by_user = || Problem::bad_request("sessions are listed by user: user=PROVIDER:SUBJECT");
    let Some(query) = query else {
        return Err(by_user());
    };
    let Whose::User { provider, subject } = Whose::read(Some(query))? else {
        return Err(by_user());
    };
    know_provider(&provider, snapshot)?;
    let key = UserKey::new(&provider, &subject);
    let entries = snapshot.presence.list(&key, now).await?;
    let answer = Answer {
        user: format!("{provider}:{subject}"),
        sessions: entries.iter().map(Listed::from).collect(),
        complete: snapshot.presence.is_complete(),
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

#[derive(Serialize)]
struct SignedOut {
    signed_out: String,
    /// What is still to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<&'static str>,
}

/// 202 where other replicas do not know yet: who has to be out everywhere by now must not take it for done.
async fn signed_out(whose: String, desk: Desk<'_>) -> Response<Body> {
    let (status, pending) = if desk.snapshot.sessions.revocations.are_told(TELLING).await {
        (StatusCode::OK, None)
    } else {
        (StatusCode::ACCEPTED, Some(PENDING))
    };
    tracing::info!(whose, pending, "signed out by an operator");
    desk.note("signed_out", &whose, pending.map(str::to_owned));
    let signed_out = whose;
    reply::json(
        status,
        &SignedOut {
            signed_out,
            pending,
        },
    )
}

const PENDING: &str = "Redis does not take it: it holds at this replica, and at the others as soon as Redis does; \
     it is lost if this replica ends before";
/// How long Redis has to take it.
const TELLING: Duration = Duration::from_secs(1);

/// What was to be ended beside sessions. Where it is not `in_use` today, what is left of before holds up no sign-out.
fn carried_out<T: Default>(
    ended: Result<T, kv::Error>,
    in_use: bool,
    whose: &str,
    desk: Desk<'_>,
) -> Result<T, Problem> {
    let error = match ended {
        Ok(ended) => return Ok(ended),
        Err(error) => error,
    };
    desk.note("failed", whose, Some(error.to_string()));
    if in_use {
        return Err(error.into());
    }
    tracing::warn!(%error, whose, "tokens from before are not ended: repeat this before you switch tokens on again");
    Ok(T::default())
}

async fn end_several(
    query: Option<&str>,
    desk: Desk<'_>,
    now: Timestamp,
) -> Result<Response<Body>, Problem> {
    let snapshot = desk.snapshot;
    match Whose::read(query)? {
        Whose::Everybody => {
            snapshot.sessions.revoke(Target::Everybody, now).await;
            let ended = snapshot.kept_api_tokens.end_everybodys(now).await;
            carried_out(ended, snapshot.api_tokens.is_some(), "everybody", desk)?;
            let ended = snapshot.kept_grants.end_everybodys(now).await;
            carried_out(ended, snapshot.issuer.is_some(), "everybody", desk)?;
            Ok(signed_out("everybody".to_owned(), desk).await)
        }
        Whose::User { provider, subject } => {
            know_provider(&provider, snapshot)?;
            let key = UserKey::new(&provider, &subject);
            // Who asks the store for a list in vain still ends them all.
            let known = snapshot.presence.list(&key, now).await.unwrap_or_default();
            let all = Target::user(&provider, &subject);
            snapshot.sessions.revoke(all, now).await;
            for entry in known {
                let one = Target::Session(*entry.mark.session());
                snapshot.sessions.revoke(one, now).await;
            }
            // Who is out is out: what they have made for their programs, too.
            let whose = format!("{provider}:{subject}");
            let ended = snapshot.kept_api_tokens.end_all(&key, now).await;
            let ended = carried_out(ended, snapshot.api_tokens.is_some(), &whose, desk)?;
            for token in &ended {
                desk.note_token(&token.start, &token.name);
            }
            let ended = snapshot.kept_grants.end_all(&key, now).await;
            carried_out(ended, snapshot.issuer.is_some(), &whose, desk)?;
            Ok(signed_out(whose, desk).await)
        }
    }
}

async fn end_one(name: &str, desk: Desk<'_>, now: Timestamp) -> Result<Response<Body>, Problem> {
    let snapshot = desk.snapshot;
    let unknown = || {
        let message = "no session of that id is known here; it may have ended";
        Problem::new(StatusCode::NOT_FOUND, "unknown_session", message)
    };
    let parsed = SessionName::parse(name).ok_or_else(unknown)?;
    let entry = snapshot.presence.find(&parsed, now).await?;
    let entry = entry.ok_or_else(unknown)?;
    let target = Target::Session(*entry.mark.session());
    snapshot.sessions.revoke(target, now).await;
    snapshot
        .end_grants_of(parsed.user(), entry.mark.session(), now)
        .await;
    snapshot.presence.forget(&parsed).await;
    Ok(signed_out(parsed.to_string(), desk).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_thing_is_meant() {
        let user = |provider: &str, subject: &str| {
            Some(Whose::User {
                provider: provider.to_owned(),
                subject: subject.to_owned(),
            })
        };
        for (query, expected) in [
            ("user=corp:42", user("corp", "42")),
            ("user=corp%3Aa%3Ab%20c", user("corp", "a:b c")),
            ("all=true", Some(Whose::Everybody)),
            ("", None),
            ("all", None),
            ("all=1", None),
            ("all=false", None),
            ("user=corp", None),
            ("user=corp:", None),
            ("usr=corp:42", None),
            ("user=corp:1&user=corp:2", None),
            ("user=corp:1&all=true", None),
        ] {
            assert_eq!(Whose::read(Some(query)).ok(), expected, "{query}");
        }
        assert!(Whose::read(None).is_err());
    }
}
