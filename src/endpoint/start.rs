//! `PREFIX/start[/PROVIDER]`: begins a login.

use std::time::Instant;

use http::{Response, StatusCode, header::SET_COOKIE};

use super::{login_request::LoginRequest, public_name};
use crate::{
    answer::{Reject, reply},
    clean::CleanRequest,
    clock,
    login::{
        LoginClient, LoginError, LoginOptions, LoginRandom, return_to::ReturnTo,
        transaction::LIFETIME,
    },
    observe::{
        Record, Verdict,
        audit::{Entry, Event},
    },
    response::Body,
    site::ProviderButton,
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    provider: Option<&str>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    if let Some(elsewhere) = public_name::lead_there(snapshot, request) {
        return Ok(elsewhere);
    }
    let login = LoginRequest::read(request, snapshot)?;
    login.check_length()?;
    let chosen = match provider {
        Some(name) => Some(snapshot.site.provider(name).ok_or(Reject::NotFound)?),
        None => login.provider(&snapshot.site),
    };
    if let Some(face) = chosen {
        return begin_at(snapshot, request, face, &login, record).await;
    }
    let chooser = snapshot.site.sign_in(login.return_to.as_str());
    let chooser = login.with_its_options(&chooser);
    Ok(reply::redirect(StatusCode::FOUND, &chooser))
}

/// Begins what was asked for at the provider that was chosen.
pub(super) async fn begin_at(
    snapshot: &Snapshot,
    request: &CleanRequest,
    provider: &ProviderButton,
    login: &LoginRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    begin(
        snapshot,
        request,
        &provider.name,
        &login.return_to,
        login.options(),
        record,
    )
    .await
}

/// Who asks, as far as it is counted.
pub(super) fn login_client(snapshot: &Snapshot, request: &CleanRequest) -> LoginClient {
    let found = snapshot.sessions.cookies.find(&request.head.headers);
    LoginClient {
        address: request.client.address,
        known: found.known.and_then(|cookie| snapshot.logins.known(cookie)),
    }
}

/// Sends the browser to `provider`, with the cookie that binds the login to it.
pub(super) async fn begin(
    snapshot: &Snapshot,
    request: &CleanRequest,
    provider: &str,
    return_to: &ReturnTo,
    options: LoginOptions,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::Login;
    snapshot.sessions.expect_to_keep()?;
    let client = login_client(snapshot, request);
    snapshot
        .logins
        .admit(&client, Instant::now())
        .map_err(|wait| LoginError::TooMany { wait })
        .inspect_err(|error| audit_denial(snapshot, provider, error, record))?;
    let options = LoginOptions {
        is_known: client.known.is_some(),
        ..options
    };
    let cookies = &snapshot.sessions.cookies;
    let browser = cookies.find(&request.head.headers).login;
    let (now, random) = (clock::now(), LoginRandom::draw());
    let begun = snapshot
        .logins
        .begin(provider, return_to, browser, options, now, &random)
        .await
        .inspect_err(|error| audit_denial(snapshot, provider, error, record))?;
    let mut response = reply::redirect(StatusCode::FOUND, begun.location.as_str());
    let cookie = cookies.write_login(&begun.login_cookie, LIFETIME);
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

/// Notes that a login does not come to its end. Who it was is known where the provider said so, and a list said no.
pub(super) fn audit_denial(
    snapshot: &Snapshot,
    provider: &str,
    error: &LoginError,
    record: &Record,
) {
    let denied = Entry {
        provider: Some(provider.into()),
        detail: Some(error.to_string().into()),
        ..Entry::of(Event::LoginDenied)
    };
    let denied = match error {
        LoginError::NotAllowed {
            identity,
            denied: why,
            ..
        } => Entry {
            rule: Some(format!("providers.{provider}.allow.{}", why.rule).into()),
            ..denied.about(identity)
        },
        LoginError::TooMany { .. } => Entry {
            event: Event::Limit,
            rule: Some(error.to_string().into()),
            detail: None,
            ..denied
        },
        _ => denied,
    };
    snapshot.audit.record(&denied.with_request(record));
}
