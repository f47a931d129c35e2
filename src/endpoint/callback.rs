//! The callback: the provider has sent the browser back, and the login ends here.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header::SET_COOKIE};
use tokio::time::sleep;

use super::start;
use crate::{
    access::{Shortfall, StepUp},
    answer::{Reject, reply},
    api_token::Facts,
    audience::Audience,
    clean::CleanRequest,
    clock::{self, Timestamp},
    credential::Proof,
    identity::Identity,
    login::{Callback, Finished, LoginError, LoginOptions, Restart, SessionRandom},
    observe::{
        Record, Verdict,
        audit::{Entry, Event, NotWritten},
    },
    response::Body,
    session::{
        KeepError, Session, SessionLookup, Unavailable,
        directory::{Activity, SessionName},
        missing_headers,
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
    let visit = visit(snapshot, headers, now).await?;
    let callback = Callback {
        provider,
        query: request.query().unwrap_or_default(),
        browser: snapshot.sessions.cookies.find(headers).login,
        session: visit.session.as_deref(),
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
        Err(LoginError::Insufficient { shortfall, again })
            if may_reauthenticate(shortfall, request, &again) =>
        {
            let again = Restart {
                reauthenticate: true,
                ..again
            };
            let why = "the login was not what was asked for";
            return begin_anew(snapshot, request, &again, why, record).await;
        }
        Err(error) => {
            start::audit_denial(snapshot, provider, &error, record);
            if let LoginError::NotAllowed { identity, .. } = &error {
                note_refused(snapshot, provider, identity, now).await;
            }
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
    warn_of_missing(snapshot, session);
    admit(snapshot, session, record).await?;
    let cookies = snapshot
        .sessions
        .begin(session, signed_in.record_key, &visit, now)
        .await
        .inspect_err(|error| audit_not_kept(snapshot, session, error, record))?;
    let facts = Facts::of(session.clone());
    snapshot.kept_api_tokens.note_owner(&facts, now).await;
    snapshot.kept_grants.note_owner(&facts, now).await;
    let begun = Activity::of(session, headers, request.client.address, now);
    snapshot
        .presence
        .begin(&begun, visit.session.as_deref())
        .await;
    let hint = snapshot
        .sessions
        .write_logout_hint(&session.identity.provider, signed_in.id_token.as_deref());
    let mut response = reply::redirect(StatusCode::FOUND, again.return_to.as_str());
    let remembered = remembered(snapshot, session, provider);
    for cookie in cookies.into_iter().chain([hint]).chain(remembered) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Who visits, as far as it can be said. Where their provider is away, what came gives way to what comes now.
async fn visit(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<SessionLookup, Unavailable> {
    match snapshot.sessions.visit(headers, now).await {
        Err(Unavailable::Provider) => Ok(snapshot.sessions.last_visit(headers, now).await),
        visit => visit,
    }
}

/// The cookies that outlast the session: who has signed in here, and where.
fn remembered(
    snapshot: &Snapshot,
    session: &Session,
    provider: &str,
) -> impl Iterator<Item = HeaderValue> + use<> {
    let cookies = &snapshot.sessions.cookies;
    // Where there is nothing to choose, there is nothing to remember.
    let choice = match snapshot.site.only_provider() {
        Some(_) => None,
        None => Some(cookies.write_provider(provider)),
    };
    let known = cookies.write_known(&snapshot.logins.remember(session));
    [known].into_iter().chain(choice)
}

/// Who may not sign in any more, may not by their API tokens either.
async fn note_refused(snapshot: &Snapshot, provider: &str, identity: &Identity, now: Timestamp) {
    if let Some(known) = snapshot.providers.find(provider) {
        let facts = Facts {
            identity: identity.clone(),
            provider_fingerprint: known.profile().fingerprint,
        };
        snapshot.kept_api_tokens.note_owner(&facts, now).await;
        snapshot.kept_grants.note_owner(&facts, now).await;
    }
}

/// Tells the operator what the app will not be told.
fn warn_of_missing(snapshot: &Snapshot, session: &Session) {
    let missing = snapshot.identity_headers.missing(session.principal());
    missing_headers::warn(session, &missing);
}

/// Writes it down before they are in.
async fn admit(snapshot: &Snapshot, session: &Session, record: &Record) -> Result<(), NotWritten> {
    let name = SessionName::of(session).to_string();
    let login = Entry {
        credential: Some(Proof::Session.name()),
        object: Some(name.into()),
        ..Entry::of(Event::Login)
    };
    let login = login.about(&session.identity).with_request(record);
    snapshot.audit.admit(&login).await
}

/// Who was written down as signed in, and is not.
fn audit_not_kept(snapshot: &Snapshot, session: &Session, error: &KeepError, record: &Record) {
    let denied = Entry {
        object: Some(SessionName::of(session).to_string().into()),
        detail: Some(error.to_string().into()),
        ..Entry::of(Event::LoginDenied)
    };
    let denied = denied.about(&session.identity).with_request(record);
    snapshot.audit.record(&denied);
}

/// Whether a login whose state names another browser is begun anew without asking.
///
/// Tabs that a browser restores at once begin a login each before any has the cookie; the last one's
/// stays, and the others come back foreign. Their person has done nothing wrong, and at the provider is
/// signed in by now, so a second login shows nothing. A callback planted by somebody else leads the same
/// way: the planted code is never spent, and the login that begins is this browser's own. A few times only, as
/// tabs that begin late may overtake one that begins anew, and only where a login cookie is kept at all, so
/// that it cannot loop.
fn may_begin_anew(callback: &Callback<'_>, request: &CleanRequest, again: &Restart) -> bool {
    callback.browser.is_some()
        && again.times < MOST_TIMES
        && request.audience == Audience::Navigation
}

/// Whether a login that is not what was asked for is begun anew, with the person asked to authenticate. Once: `max_age` and
/// `acr_values` are wishes that a provider may pass over for whoever is signed in there, and clocks differ.
fn may_reauthenticate(shortfall: Shortfall, request: &CleanRequest, again: &Restart) -> bool {
    // Whoever does not say when, or says what cannot be, will not do better the next time.
    !matches!(shortfall, Shortfall::AgeUnknown | Shortfall::AheadOfTime)
        && !again.reauthenticate
        && request.audience == Audience::Navigation
}

/// How often a login begins anew by itself.
const MOST_TIMES: u8 = 4;

/// How long a login waits for the second after its own.
const NEXT_SECOND: Duration = Duration::from_secs(1);

/// Whoever was signed out and signs in again within the same second comes back with a session that is over: times are
/// whole seconds, and a revocation counts to the end of its own. Which came first nobody can tell any more, least of all of
/// what another replica revoked; so the login begins anew in the next second, and what the provider says then counts.
async fn outlast_this_second(session: &Session, now: Timestamp) {
    if session.created_at == now {
        sleep(NEXT_SECOND).await;
    }
}

async fn begin_anew(
    snapshot: &Snapshot,
    request: &CleanRequest,
    again: &Restart,
    why: &str,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let options = LoginOptions {
        switch_account: false,
        again: again.times + 1,
        is_known: false,
        step_up: StepUp::clone(&again.step_up),
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
