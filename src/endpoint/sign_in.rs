//! `PREFIX/sign_in`: the chooser, or straight on where there is nothing to choose.

use http::{Response, StatusCode};

use super::{asked::Asked, start};
use crate::{
    answer::{Choice, Reject, SignInPage, reply},
    body::Body,
    clean::CleanRequest,
    clock,
    decide::Visitor,
    gate::Gate,
    observe::Record,
    site::with_switch,
};

pub(super) async fn serve(
    gate: &Gate,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let asked = Asked::read(request, &gate.site)?;
    let visit = gate.sessions.visit(&request.head.headers, clock::now());
    let session = visit.session.filter(|_| !asked.switch);
    // Somebody barred is led back, too: the page there says why.
    if !matches!(gate.providers.visitor(session.as_ref()), Visitor::Nobody) {
        record.user = session.map(|session| session.identity.user().clone());
        return Ok(reply::redirect(StatusCode::FOUND, asked.return_to.as_str()));
    }
    if let [(provider, _)] = gate.site.providers.as_slice() {
        return start::begin(
            gate,
            request,
            provider,
            &asked.return_to,
            asked.options(),
            record,
        )
        .await;
    }
    let choices = gate
        .site
        .providers
        .iter()
        .map(|(name, label)| {
            let path = gate.site.start(name, asked.return_to.as_str());
            Choice {
                label,
                href: if asked.switch {
                    with_switch(&path)
                } else {
                    path
                },
            }
        })
        .collect();
    let page = SignInPage {
        host: gate.site.public_url.authority(),
        choices,
    };
    Ok(reply::page(StatusCode::OK, &page))
}
