//! `PREFIX/token`: the provider's access token of the session that a request to the app came with, for the app.
//!
//! The app shows two things: the secret that it shares with the gate, and the handle that came with the request. Neither is
//! worth anything alone. With `app.listen` it asks at a listener of its own. Otherwise it asks at a public address, where nobody
//! is answered but a program on this machine: no page of a browser, nothing that a proxy passes on, no other machine. So whoever
//! finds the secret needs the machine, too.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{COOKIE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

use crate::{
    answer::reply,
    clean::CleanRequest,
    clock,
    credential::{Presented, Schemes},
    decide::Standing,
    observe::{
        Record,
        audit::{Entry, Event},
    },
    rate_limit::seconds,
    response::Body,
    session::{Session, directory::SessionName},
    snapshot::Snapshot,
    visitor::Who,
};

/// Why the app gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoToken {
    Elsewhere,
    Browser,
    Secret,
    NoSession,
    Barred,
    NoAccessToken,
    Over,
    Ended,
    TooOften(u64),
    TooManyGuesses(u64),
    Unavailable,
}

impl NoToken {
    /// The status, a word for programs, and a sentence for people.
    const fn said(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Elsewhere => (
                StatusCode::FORBIDDEN,
                "not_local",
                "Only a program on this machine is answered here, by 127.0.0.1 or ::1, without a proxy between. Elsewhere the app \
                 needs app.listen.",
            ),
            Self::Browser => (
                StatusCode::FORBIDDEN,
                "browser",
                "A browser is not answered: this request has a cookie, Origin or Sec-Fetch-Site.",
            ),
            Self::Secret => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Send the session's handle and app.secret as name and password of Basic authentication.",
            ),
            Self::NoSession => (
                StatusCode::NOT_FOUND,
                "no_session",
                "The handle is none of this gate, is older than ten minutes, or its session has ended.",
            ),
            Self::Barred => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "The user of this session is no longer allowed.",
            ),
            Self::NoAccessToken => (
                StatusCode::NOT_FOUND,
                "no_token",
                "The session has no access token: it began before [app] was set. The user has to sign in again.",
            ),
            Self::Over => (
                StatusCode::SERVICE_UNAVAILABLE,
                "token_over",
                "The access token is over, and there is no other yet. If sessions are in cookies, use the handle of a later request.",
            ),
            Self::Ended => (
                StatusCode::NOT_FOUND,
                "token_ended",
                "The access token is over, and the session has no refresh token that could bring another. The user has to sign in again.",
            ),
            Self::TooOften(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "The token of this session was asked for too often.",
            ),
            Self::TooManyGuesses(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_guesses",
                "Too many wrong secrets came from this address.",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Whether there is a session cannot be found out now.",
            ),
        }
    }

    /// In seconds.
    const fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooOften(wait) | Self::TooManyGuesses(wait) => Some(wait),
            Self::Over | Self::Unavailable => Some(2),
            _ => None,
        }
    }
}

/// Answers whoever asks at a public address.
pub(super) async fn serve_in_public(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Response<Body> {
    if request.is_local {
        serve(snapshot, &request.head.headers, record).await
    } else {
        refuse(NoToken::Elsewhere, record)
    }
}

/// Answers whoever asks where only the app can.
pub async fn serve(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    record: &mut Record,
) -> Response<Body> {
    match find(snapshot, headers, record).await {
        Ok(answer) => answer,
        Err(no_token) => refuse(no_token, record),
    }
}

fn refuse(no_token: NoToken, record: &mut Record) -> Response<Body> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'static str,
        message: &'static str,
        request_id: &'a str,
    }
    let (status, error, message) = no_token.said();
    record.detail = Some(message.to_owned());
    let refusal = Refusal {
        error,
        message,
        request_id: &record.request_id(),
    };
    let mut response = reply::json(status, &refusal);
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"sidegate app\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = no_token.retry_after() {
        headers.insert(RETRY_AFTER, wait.into());
    }
    response
}

/// Judged in this order, so that a stranger learns of no secret, and of no session without one.
async fn find(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    record: &mut Record,
) -> Result<Response<Body>, NoToken> {
    if is_of_browser(headers) {
        return Err(NoToken::Browser);
    }
    let basic = Schemes {
        bearer: false,
        basic: true,
    };
    let secret = snapshot.app.as_ref().ok_or(NoToken::Secret)?;
    let shown = match Presented::read(headers, basic) {
        Ok(Presented::Basic(shown)) if secret.is(shown.password()) => shown,
        _ => {
            // The right secret is never held up: whoever guesses beside the app must not lock it out.
            let wait = snapshot.limiter.take_app_guess(record.client);
            wait.map_err(|wait| NoToken::TooManyGuesses(seconds(wait)))?;
            snapshot.audit.record(&Entry {
                detail: Some("the secret of [app]".into()),
                ..Entry::of(Event::CredentialRefused).with_request(record)
            });
            return Err(NoToken::Secret);
        }
    };
    let handle = shown.name().as_bytes();
    let found = snapshot.sessions.by_handle(handle, clock::now());
    let visit = found.await.map_err(|_| NoToken::Unavailable)?;
    // It may have taken a while.
    let now = clock::now();
    let session = visit.session.as_deref().ok_or(NoToken::NoSession)?;
    let wait = snapshot.limiter.take_app_token(&session.id);
    wait.map_err(|wait| NoToken::TooOften(seconds(wait)))?;
    match snapshot.standing(Who::Session(session)) {
        Standing::Admitted(principal) => record.note_principal(Some(principal)),
        Standing::Barred(_) => return Err(NoToken::Barred),
        Standing::Nobody => return Err(NoToken::NoSession),
    }
    let tokens = &session.tokens;
    let access_token = tokens.access.as_deref().ok_or(NoToken::NoAccessToken)?;
    // Past its end a session may go on for a while; its token must not.
    if tokens.expires_at.is_some_and(|end| now >= end) {
        return Err(if tokens.refresh_at.is_some() {
            NoToken::Over
        } else {
            NoToken::Ended
        });
    }
    audit(snapshot, session, record);
    let given = Given {
        access_token,
        token_type: "Bearer",
        expires_in: tokens.expires_at.map(|end| end.since(now).as_secs()),
        provider: &session.identity.provider,
        user_id: format!(
            "{}:{}",
            &*session.identity.provider, &*session.identity.subject
        ),
    };
    Ok(reply::json(StatusCode::OK, &given))
}

/// As RFC 6749 §5.1 has it, and whose it is.
#[derive(Serialize)]
struct Given<'a> {
    access_token: &'a str,
    token_type: &'static str,
    /// In seconds; where the end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    provider: &'a str,
    user_id: String,
}

/// What no app sends, and no page can leave out: the Fetch Standard has a browser write them.
fn is_of_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
        || headers.contains_key(COOKIE)
        || headers.contains_key(SEC_FETCH_SITE)
}

/// Once for each token.
fn audit(snapshot: &Snapshot, session: &Session, record: &Record) {
    let one = snapshot
        .audit
        .use_of(&("app token", session.id, session.generation));
    if snapshot.audit.knows(one) {
        return;
    }
    snapshot.audit.record(&Entry {
        object: Some(SessionName::of(session).to_string().into()),
        ..Entry::of(Event::AppToken)
            .about(&session.identity)
            .with_request(record)
    });
    snapshot.audit.remember(one);
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_known_by_what_it_cannot_leave_out() {
        let of = |name: &'static str| {
            is_of_browser(&HeaderMap::from_iter([(
                HeaderName::from_static(name),
                HeaderValue::from_static("x"),
            )]))
        };
        for name in ["origin", "cookie", "sec-fetch-site"] {
            assert!(of(name), "{name}");
        }
        for name in ["accept", "user-agent", "authorization"] {
            assert!(!of(name), "{name}");
        }
    }
}
