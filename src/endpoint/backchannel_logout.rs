//! `PREFIX/backchannel_logout/PROVIDER`: the provider reports a sign-out (OpenID Connect Back-Channel Logout 1.0).
//!
//! The request comes from a server, without cookies, from any address. Only the signature of its token counts. The gate does not look
//! up whether the session is known here, and does not say so: what the token names is ended in every copy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::{task::JoinError, time::timeout};
use url::form_urlencoded;

use crate::{
    answer::{Reject, reply},
    clean::CleanRequest,
    clock,
    login::{LoginClient, LoginError},
    observe::{
        Record, Verdict,
        audit::{Entry, Event},
    },
    provider::{Logout, LogoutClaim, LogoutTokenError, Provider, ProviderError},
    response::Body,
    session::revocation::{Revocation, Target},
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    provider: &str,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::BackchannelLogout;
    let provider = snapshot.providers.find(provider);
    let provider = provider.filter(|provider| provider.tells_of_logouts());
    let provider = provider.ok_or(Reject::NotFound)?;
    let CleanRequest {
        head, body, client, ..
    } = *request;
    let is_form = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| is_form(kind.as_bytes()));
    let form = if is_form { read(body).await } else { None };
    let Some(token) = form.as_deref().and_then(logout_token) else {
        record.detail = Some("not a form with one logout_token".to_owned());
        return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_request"));
    };
    let client = LoginClient {
        address: client.address,
        known: None,
    };
    let accepted = match judge(snapshot, provider.as_ref(), &token, &client).await {
        Ok(logout) => {
            let name = &provider.profile().name;
            accept(snapshot, name, logout, &client, record).await
        }
        Err(refused) => Err(refused),
    };
    Ok(match accepted {
        Ok(()) => reply::empty(StatusCode::OK),
        Err(refused) => {
            record.detail = Some(refused.to_string());
            match refused {
                Refused::TooMany(_) => later(StatusCode::TOO_MANY_REQUESTS),
                Refused::Token(ProviderError::LogoutToken(_)) => {
                    refusal(StatusCode::BAD_REQUEST, "invalid_request")
                }
                // The token may be good: what to judge it by cannot be had now.
                Refused::Token(_) | Refused::Lost(_) => later(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    })
}

/// Why a token ends nothing.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{}", LoginError::TooMany { wait: *.0 })]
    TooMany(Duration),
    #[error(transparent)]
    Token(#[from] ProviderError),
    #[error("what it asks for was lost: {0}")]
    Lost(#[from] JoinError),
}

/// What the token says. Anybody can bring one. A good one costs nothing; one that is not counts, and so does one for which the provider
/// is called, before it is: what others bring from the provider's address must not keep its own from being heard.
async fn judge(
    snapshot: &Snapshot,
    provider: &dyn Provider,
    token: &str,
    client: &LoginClient,
) -> Result<Logout, Refused> {
    let now = clock::now();
    match provider.logout_token_at_hand(token, now) {
        Some(Ok(logout)) => Ok(logout),
        Some(Err(error)) => {
            admit(snapshot, client)?;
            Err(error.into())
        }
        None => {
            admit(snapshot, client)?;
            let logout = provider.logout_token(token, now).await?;
            snapshot.logins.give_back_logout(client);
            Ok(logout)
        }
    }
}

fn admit(snapshot: &Snapshot, client: &LoginClient) -> Result<(), Refused> {
    let admitted = snapshot.logins.admit_logout(client, Instant::now());
    admitted.map_err(Refused::TooMany)
}

/// Ends what the token names, unless it has come before. That counts, too: each time costs a look into the store.
async fn accept(
    snapshot: &Snapshot,
    name: &str,
    logout: Logout,
    client: &LoginClient,
    record: &Record,
) -> Result<(), Refused> {
    let (targets, ended) = what_ends(name, &logout.claim);
    let not_before = logout.not_before;
    let revocations = Arc::clone(&snapshot.sessions.revocations);
    let audit = snapshot.audit.clone();
    let entry = Entry {
        provider: Some(name.to_owned().into()),
        credential: Some("provider"),
        object: Some(ended.into()),
        client: record.client,
        request_id: Some(record.request_id().into_owned().into()),
        ..Entry::of(Event::Revocation)
    };
    let end = move || {
        for target in targets.into_iter().flatten() {
            revocations.revoke(Revocation { target, not_before });
        }
        audit.record(&entry);
    };
    if snapshot.logins.hear(logout, end).await? {
        return Ok(());
    }
    admit(snapshot, client)?;
    Err(ProviderError::from(LogoutTokenError::Replayed).into())
}

/// What a token ends, and how the trail says it.
fn what_ends(name: &str, claim: &LogoutClaim) -> ([Option<Target>; 2], String) {
    match claim {
        LogoutClaim::Session { sid, sub } => {
            let unnamed = sub.as_ref();
            let unnamed = unnamed.map(|sub| Target::unnamed_provider_session(name, sub));
            let targets = [Some(Target::provider_session(name, sid)), unnamed];
            (targets, format!("sid {sid}"))
        }
        LogoutClaim::User { sub, is_subject } => {
            let target = if *is_subject {
                Target::user(name, sub)
            } else {
                Target::token_subject(name, sub)
            };
            ([Some(target), None], format!("{name}:{sub}"))
        }
    }
}

fn is_form(kind: &[u8]) -> bool {
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

async fn read(body: Incoming) -> Option<bytes::Bytes> {
    let whole = timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await;
    Some(whole.ok()?.ok()?.to_bytes())
}

/// The one token of a form. Of two, two readers might see different ones.
fn logout_token(form: &[u8]) -> Option<String> {
    let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Some(token.into_owned()),
        _ => None,
    }
}

fn refusal(status: StatusCode, error: &'static str) -> Response<Body> {
    reply::json(status, &Refusal { error })
}

fn later(status: StatusCode) -> Response<Body> {
    let mut response = refusal(status, "temporarily_unavailable");
    let later = HeaderValue::from_static("10");
    response.headers_mut().insert(RETRY_AFTER, later);
    response
}

/// §2.8: an error as OAuth has it (RFC 6749 §5.2). What is wrong stands in the log.
#[derive(Serialize)]
struct Refusal {
    error: &'static str,
}

/// Bytes of a form: many times the longest logout token.
const LONGEST: usize = 32 * 1024;
/// How long the form may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_one_token() {
        for (form, token) in [
            (&b"logout_token=a.b.c"[..], Some("a.b.c")),
            (b"x=1&logout_token=a%2Bb&y", Some("a+b")),
            (b"logout_token=a&logout_token=a", None),
            (b"token=a", None),
            (b"", None),
            (b"\xff\x00&=", None),
        ] {
            assert_eq!(logout_token(form).as_deref(), token);
        }
    }

    #[test]
    fn a_form_says_that_it_is_one() {
        assert!(is_form(b"application/x-www-form-urlencoded"));
        assert!(is_form(
            b"Application/X-WWW-Form-Urlencoded ; charset=utf-8"
        ));
        assert!(!is_form(b"application/json") && !is_form(b""));
        assert!(!is_form(b"application/x-www-form-urlencodedx"));
    }
}
