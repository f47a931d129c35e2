//! `PREFIX/callback[/PROVIDER]`: the provider sent the browser back; the login ends here.

use http::{Response, StatusCode, header::SET_COOKIE};

use crate::{
    answer::{Reject, reply},
    body::Body,
    clean::CleanRequest,
    clock,
    gate::Gate,
    login::Finished,
    observe::Record,
};

pub(super) async fn serve(
    gate: &Gate,
    request: &CleanRequest,
    provider: Option<&str>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = "callback";
    let now = clock::now();
    let headers = &request.head.headers;
    let visit = gate.sessions.visit(headers, now);
    let query = request.query().unwrap_or_default();
    let login_cookie = gate.sessions.cookies().find(headers).login;
    let finished = gate
        .logins
        .finish(provider, query, login_cookie, visit.session.as_ref(), now)
        .await
        .map_err(Reject::Login)?;
    let (session, return_to, id_token) = match finished {
        Finished::SignedIn { session, return_to, id_token } => (session, return_to, id_token),
        // The back button or a reload: the code is spent, its session is here.
        Finished::AlreadySignedIn { return_to } => {
            return Ok(reply::redirect(StatusCode::FOUND, return_to.as_str()));
        }
    };
    record.user = Some(session.identity.user().clone());
    let cookies = gate
        .sessions
        .write(&session, visit.present, now)
        .map_err(|_| Reject::SessionTooLarge)?;
    let hint = gate.sessions.write_logout_hint(&session.identity.provider, id_token.as_deref());
    let mut response = reply::redirect(StatusCode::FOUND, return_to.as_str());
    for cookie in cookies.into_iter().chain([hint]) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}
