//! The callback: a provider sent the browser back, and the login ends here.

use std::time::Duration;

use http::{Response, StatusCode, header::SET_COOKIE};
use tokio::time::sleep;

use super::start;
use crate::{
    access::Shortfall,
    answer::{Reject, reply},
    audience::Audience,
    clean::CleanRequest,
    clock::{self, Timestamp},
    login::{Callback, Finished, LoginError, LoginOptions, SessionRandom, StartAgain},
    observe::{
        Record, Verdict,
        audit::{Entry, Event},
    },
    response::Body,
    session::{
        Session,
        directory::{SessionName, Sighting},
    },
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    provider: &str,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::Callback;
    let headers = &request.head.headers;
    let now = clock::now();
    let visit = snapshot.sessions.visit(headers, now).await?;
    let callback = Callback {
        provider,
        query: request.query().unwrap_or_default(),
        browser: snapshot.sessions.cookies.find(headers).login,
        session: visit.session.as_ref(),
        client: start::login_client(snapshot, request),
    };
    let (signed_in, again) = match snapshot
        .logins
        .finish(&callback, now, SessionRandom::draw())
        .await
    {
        Ok(Finished::SignedIn { signed_in, again }) => (signed_in, again),
        // The back button or a reload: the code is spent, its session is here.
        Ok(Finished::AlreadySignedIn { return_to }) => {
            return Ok(reply::redirect(StatusCode::FOUND, return_to.as_str()));
        }
        Err(LoginError::OtherBrowser(again)) if may_begin_anew(&callback, request, &again) => {
            let why = "the state belongs to another browser";
            return begin_anew(snapshot, request, &again, why, record).await;
        }
        Err(LoginError::Insufficient {
            shortfall: Shortfall::TooOld(_) | Shortfall::OtherClass,
            again,
        }) if !again.reauthenticate && request.audience == Audience::Navigation => {
            // Once: both are wishes that a provider may pass over for whoever is signed in there, and clocks differ.
            let again = StartAgain {
                reauthenticate: true,
                ..again
            };
            let why = "the login was not what was asked for";
            return begin_anew(snapshot, request, &again, why, record).await;
        }
        Err(error) => {
            audit_denial(snapshot, provider, &error, record);
            return Err(error.into());
        }
    };
    let session = &signed_in.session;
    record.note_identity(Some(&session.identity));
    if snapshot.sessions.revocations.has_revoked(session) {
        // An old callback's reload: who has signed in since, as whomever, stays that.
        if visit.session.is_some() {
            return Ok(reply::redirect(StatusCode::FOUND, again.return_to.as_str()));
        }
        if !may_begin_anew(&callback, request, &again) {
            return Err(LoginError::Spent(again).into());
        }
        outlast_this_second(session, now).await;
        return begin_anew(snapshot, request, &again, "signed out meanwhile", record).await;
    }
    let missing = snapshot.identity_headers.missing(session.principal());
    if !missing.is_empty() {
        tracing::warn!(
            provider,
            user = &**session.identity.user(),
            missing = missing.join(", "),
            "the app is not told all of what the provider says: raise headers.max_bytes, or keep sessions in a store \
             (session.store)"
        );
    }
    let name = SessionName::of(session).to_string();
    let login = Entry {
        credential: Some("session"),
        object: Some(name.into()),
        ..Entry::of(Event::Login)
    };
    let login = login.about(&session.identity).asked(record);
    snapshot.audit.admit(&login).await?;
    let cookies = snapshot
        .sessions
        .begin(session, signed_in.record_key, &visit, now)
        .await?;
    let begun = Sighting::of(session, headers, request.client.address, now);
    snapshot
        .presence
        .begin(&begun, visit.session.as_ref())
        .await;
    let hint = snapshot
        .sessions
        .write_logout_hint(&session.identity.provider, signed_in.id_token.as_deref());
    let mut response = reply::redirect(StatusCode::FOUND, again.return_to.as_str());
    // Where there is nothing to choose, there is nothing to remember.
    let choice = match snapshot.site.only_provider() {
        Some(_) => None,
        None => Some(snapshot.sessions.cookies.write_provider(provider)),
    };
    let remembered = snapshot.logins.remember(session);
    let known = snapshot.sessions.cookies.write_known(&remembered);
    for cookie in cookies.into_iter().chain([hint, known]).chain(choice) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whom it would have let in is known where the provider said so, and a list said no.
fn audit_denial(snapshot: &Snapshot, provider: &str, error: &LoginError, record: &Record) {
    let (user, rule) = match error {
        LoginError::NotAllowed { user, denied, .. } => (Some(user), Some(denied.rule.as_ref())),
        _ => (None, None),
    };
    let denied = Entry {
        user: user.map(|user| user.as_str().into()),
        provider: Some(provider.into()),
        rule: rule.map(|rule: &str| format!("providers.{provider}.allow.{rule}").into()),
        detail: Some(error.to_string().into()),
        ..Entry::of(Event::LoginDenied)
    };
    snapshot.audit.record(&denied.asked(record));
}

/// Whether a login whose state names another browser is begun anew without asking.
///
/// Tabs that a browser restores at once begin a login each before any has the cookie; the last one's
/// stays, and the others come back foreign. Their person has done nothing wrong, and at the provider is
/// signed in by now, so a second login shows nothing. A callback planted by somebody else leads the same
/// way: the planted code is never spent, and the login that begins is this browser's own. A few times only, as
/// tabs that begin late may overtake one that begins anew, and only where a login cookie is kept at all, so
/// that it cannot loop.
fn may_begin_anew(callback: &Callback<'_>, request: &CleanRequest, again: &StartAgain) -> bool {
    callback.browser.is_some()
        && again.times < MOST_TIMES
        && request.audience == Audience::Navigation
}

/// How often a login begins anew by itself.
const MOST_TIMES: u8 = 4;

/// Whoever was signed out and signs in again within the same second comes back with a session that is over: times are
/// whole seconds, and a revocation counts to the end of its own. Which came first nobody can tell any more, least of all of
/// what another replica revoked; so the login begins anew in the next second, and what the provider says then counts.
async fn outlast_this_second(session: &Session, now: Timestamp) {
    if session.created_at == now {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn begin_anew(
    snapshot: &Snapshot,
    request: &CleanRequest,
    again: &StartAgain,
    why: &str,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let options = LoginOptions {
        switch_account: false,
        again: again.times + 1,
        is_known: false,
        step_up: again.step_up.clone(),
        reauthenticate: again.reauthenticate,
    };
    let response = start::begin(
        snapshot,
        request,
        &again.provider,
        &again.return_to,
        options,
        record,
    )
    .await;
    record.detail = Some(format!("begun anew: {why}"));
    response
}
