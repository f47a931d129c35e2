//! `PREFIX/start[/PROVIDER]`: begins a login.

use http::{Response, StatusCode, header::SET_COOKIE};

use super::asked::Asked;
use crate::{
    answer::{Reject, reply},
    body::Body,
    clean::CleanRequest,
    clock,
    gate::Gate,
    login::{LoginOptions, LoginRandom, return_to::ReturnTo, transaction::LIFETIME},
    observe::Record,
};

pub(super) async fn serve(
    gate: &Gate,
    request: &CleanRequest,
    provider: Option<&str>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let asked = Asked::read(request, &gate.site)?;
    match (provider, gate.site.providers.as_slice()) {
        (Some(name), providers) if providers.iter().any(|(known, _)| known == name) => {
            begin(
                gate,
                request,
                name,
                &asked.return_to,
                asked.options(),
                record,
            )
            .await
        }
        (Some(_), _) => Err(Reject::NotFound),
        (None, [(only, _)]) => {
            begin(
                gate,
                request,
                only,
                &asked.return_to,
                asked.options(),
                record,
            )
            .await
        }
        (None, _) => {
            let chooser = gate.site.sign_in(asked.return_to.as_str());
            Ok(reply::redirect(StatusCode::FOUND, &chooser))
        }
    }
}

/// Sends the browser to `provider`, with the cookie that binds the login to it.
pub(super) async fn begin(
    gate: &Gate,
    request: &CleanRequest,
    provider: &str,
    return_to: &ReturnTo,
    options: LoginOptions,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = "login";
    let cookies = gate.sessions.cookies();
    let browser = cookies.find(&request.head.headers).login;
    let (now, random) = (clock::now(), LoginRandom::draw());
    let begun = gate
        .logins
        .begin(provider, return_to, browser, options, now, &random)
        .await?;
    let mut response = reply::redirect(StatusCode::FOUND, begun.location.as_str());
    let cookie = cookies.write_login(&begun.login_cookie, LIFETIME);
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}
