//! `PREFIX/sign_in`: the page to choose a provider, or a redirect if there is only one.

use http::{Response, StatusCode};

use super::{login_request::LoginRequest, public_name, start};
use crate::{
    answer::{Choice, Reject, SignInPage, reply},
    clean::CleanRequest,
    clock,
    decide::Standing,
    observe::Record,
    response::Body,
    session::{SessionLookup, Unavailable},
    site::Site,
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    if let Some(elsewhere) = public_name::lead_there(snapshot, request) {
        return Ok(elsewhere);
    }
    let login = LoginRequest::read(request, snapshot)?;
    let headers = &request.head.headers;
    let now = clock::now();
    let visit = match snapshot.sessions.visit(headers, now).await {
        // Another provider, or the same one's login page, may let them in.
        Err(Unavailable::Provider) => SessionLookup::default(),
        visit => visit?,
    };
    // Whose provider is gone is nobody: led back, they would be sent here again, and so on.
    let is_somebody = !matches!(
        snapshot.standing(visit.session.as_deref().into()),
        Standing::Nobody
    );
    let signed_in = visit.session.filter(|_| is_somebody && !login.switch);
    if let Some(session) = &signed_in {
        record.note_identity(Some(&session.identity));
        let authentication = &session.identity.authentication;
        if login.step_up.check(authentication, now).is_ok() {
            return Ok(reply::redirect(StatusCode::FOUND, login.return_to.as_str()));
        }
    }
    login.check_length()?;
    // Who has to authenticate anew does so where they are known.
    let theirs = signed_in.and_then(|session| snapshot.site.provider(&session.identity.provider));
    if let Some(face) = theirs {
        return start::begin_at(snapshot, request, face, &login, record).await;
    }
    if let Some(face) = login.provider(&snapshot.site) {
        return start::begin_at(snapshot, request, face, &login, record).await;
    }
    let last_used = snapshot.sessions.cookies.find(headers).provider;
    let page = SignInPage {
        host: snapshot.site.public_url.authority(),
        choices: choices(&snapshot.site, &login, last_used),
    };
    Ok(reply::page(StatusCode::OK, &page))
}

/// The file's order, but what was used last comes first. It is never taken without asking: people who
/// come back to the chooser come to choose.
fn choices<'a>(site: &'a Site, login: &LoginRequest, last_used: Option<&str>) -> Vec<Choice<'a>> {
    let mut choices: Vec<_> = site
        .providers
        .iter()
        .map(|face| Choice {
            label: &face.label,
            mark: face.mark,
            href: login.with_its_options(&site.start(&face.name, login.return_to.as_str())),
            is_last_used: last_used == Some(&face.name),
        })
        .collect();
    choices.sort_by_key(|choice| !choice.is_last_used);
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_comes_first_if_it_still_exists() {
        let site = Site::for_test("/oauth2", &["corp", "hub", "lab"]);
        for (last_used, expected) in [
            (None, ["corp", "hub", "lab"]),
            (Some("lab"), ["lab", "corp", "hub"]),
            (Some("corp"), ["corp", "hub", "lab"]),
            (Some("<b>gone</b>"), ["corp", "hub", "lab"]),
        ] {
            let choices = choices(&site, &LoginRequest::for_test(None, false), last_used);
            let labels: Vec<_> = choices.iter().map(|choice| choice.label).collect();
            assert_eq!(labels, expected);
            let marked = choices.iter().filter(|choice| choice.is_last_used).count();
            let is_known = last_used.is_some_and(|name| expected.contains(&name));
            assert_eq!(marked, usize::from(is_known));
            assert_eq!(choices[0].is_last_used, is_known);
        }
    }
}
