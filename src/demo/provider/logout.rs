//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).
//!
//! Whoever shows an ID token of the user who is signed in ends the session at once. Without one the
//! user is asked, or any site could sign visitors out.

use askama::Template;
use http::{HeaderMap, StatusCode, header::SET_COOKIE};
use url::Url;

use super::{Provider, browser, refuse, say};
use crate::{
    clock,
    demo::{page, server::Response},
    issuer::parameters::{Parameters, Repeated},
};

#[derive(Template)]
#[template(path = "demo/sign_out.html")]
struct Question<'a> {
    nonce: &'a str,
    name: &'a str,
    action: &'a str,
    footer: &'a str,
}

impl Provider {
    /// `GET` or `POST /logout`; `confirmed` is the answer to the page's question.
    pub(super) fn log_out(
        &self,
        parameters: Result<Parameters, Repeated>,
        headers: &HeaderMap,
        confirmed: bool,
    ) -> Response {
        let Ok(parameters) = parameters else {
            return refuse("A parameter was given twice.");
        };
        if confirmed && !browser::is_own_form(headers, &self.config.issuer) {
            return refuse("This form was sent by another site.");
        }
        let hint = parameters
            .get("id_token_hint")
            .and_then(|token| self.read_hint(token));
        let name = browser::session_name(headers).unwrap_or_default();
        let signed_in = self.vault().browser(&name, clock::now());
        if let Some(browser) = signed_in {
            let proven = hint
                .as_ref()
                .is_some_and(|hint| hint.sub == browser.user.subject);
            if !proven && !confirmed {
                return self.ask(&parameters, browser.user.name);
            }
            self.vault().sign_out(&name);
        }
        let mut response = match self.way_back(&parameters, hint.is_some()) {
            Some(location) => page::see_other(location.as_str()),
            None => say(
                StatusCode::OK,
                "Signed out",
                "You are signed out of the demo provider. You can close this page.",
            ),
        };
        response.headers_mut().insert(SET_COOKIE, browser::forget());
        response
    }

    fn ask(&self, parameters: &Parameters, name: &str) -> Response {
        let nonce = page::nonce();
        let question = Question {
            nonce: &nonce,
            name,
            action: &format!("/logout/confirm?{}", parameters.encode()),
            footer: super::FOOTER,
        };
        page::html(StatusCode::OK, &question, &nonce, &self.form_targets())
    }

    /// Where the application wants the browser back: a registered address, exactly, and only when it
    /// is known who asks.
    fn way_back(&self, parameters: &Parameters, hinted: bool) -> Option<Url> {
        let asker_known = match parameters.get("client_id") {
            Some(id) => id == self.config.client_id,
            None => hinted,
        };
        let address = parameters
            .get("post_logout_redirect_uri")
            .filter(|_| asker_known)?;
        let known = self.config.post_logout_redirect_uris.iter();
        let registered = known.into_iter().find(|known| *known == address)?;
        let mut location =
            Url::parse(registered).expect("registered addresses were checked at start");
        if let Some(state) = parameters.get("state") {
            location.query_pairs_mut().append_pair("state", state);
        }
        Some(location)
    }
}
