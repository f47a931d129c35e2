//! The authorization endpoint: a page with the users to pick from, and the way back with a code.

use askama::Template;
use http::{HeaderMap, StatusCode, header::SET_COOKIE};
use url::Url;

use super::{
    Provider, browser, refuse,
    request::{AuthorizationRequest, ErrorAnswer, Refused},
    user::{USERS, User},
    vault::{Agreement, Browser},
};
use crate::{
    clock::{self, Timestamp},
    demo::{page, server::Response},
    issuer::parameters::{Parameters, Repeated},
    random,
};

#[derive(Template)]
#[template(path = "demo/picker.html")]
struct Picker<'a> {
    nonce: &'a str,
    client_id: &'a str,
    action: &'a str,
    users: &'static [User],
    signed_in: Option<&'static str>,
    footer: &'a str,
}

impl Provider {
    /// `GET` or `POST /authorize`: the picker, or straight back for `prompt=none`.
    pub(super) fn authorize(
        &self,
        parameters: Result<Parameters, Repeated>,
        headers: &HeaderMap,
    ) -> Response {
        let (parameters, request) = match self.read(parameters) {
            Ok(read) => read,
            Err(refused) => return self.turn_away(&refused),
        };
        let now = clock::now();
        let name = browser::session_name(headers).unwrap_or_default();
        let browser = self.vault().browser(&name, now);
        if request.silent {
            return match browser.filter(|browser| self.suffices(&request, *browser, now)) {
                Some(browser) => self.send_code(request, browser, name, now),
                None => {
                    self.send_error(&request.error("login_required", "nobody fitting is signed in"))
                }
            };
        }
        let nonce = page::nonce();
        let picker = Picker {
            nonce: &nonce,
            client_id: &self.config.client_id,
            action: &format!("/login?{}", parameters.encode()),
            users: &USERS,
            signed_in: browser.map(|browser| browser.user.login),
            footer: super::FOOTER,
        };
        page::html(StatusCode::OK, &picker, &nonce, &self.form_targets())
    }

    /// `POST /login?AUTHORIZATION-REQUEST` with the picked `user`: signs in and goes back with a code.
    pub(super) fn log_in(
        &self,
        parameters: Result<Parameters, Repeated>,
        form: Result<Parameters, Repeated>,
        headers: &HeaderMap,
    ) -> Response {
        if !browser::is_own_form(headers, &self.config.issuer) {
            return refuse("This form was sent by another site.");
        }
        let (_, request) = match self.read(parameters) {
            Ok(read) => read,
            Err(refused) => return self.turn_away(&refused),
        };
        let user = form.ok().and_then(|form| User::find(form.get("user")?));
        let Some(user) = user else {
            return refuse("There is no such user here.");
        };
        let now = clock::now();
        // Whoever was signed in before keeps what was granted; only the browser forgets them.
        let name = self.vault().sign_in(user, now, random::bytes());
        let signed_in = Browser {
            user,
            signed_in_at: now,
        };
        let cookie = browser::remember(&name);
        let mut response = self.send_code(request, signed_in, name, now);
        response.headers_mut().insert(SET_COOKIE, cookie);
        response
    }

    fn read(
        &self,
        parameters: Result<Parameters, Repeated>,
    ) -> Result<(Parameters, AuthorizationRequest), Refused> {
        let parameters =
            parameters.map_err(|Repeated| Refused::Page("A parameter was given twice."))?;
        let request = AuthorizationRequest::read(&parameters, &self.config)?;
        Ok((parameters, request))
    }

    fn turn_away(&self, refused: &Refused) -> Response {
        match refused {
            Refused::Page(why) => refuse(why),
            Refused::Redirect(answer) => self.send_error(answer),
        }
    }

    /// Whether who is signed in fits what a silent request asks for.
    fn suffices(&self, request: &AuthorizationRequest, browser: Browser, now: Timestamp) -> bool {
        let young = request
            .max_age
            .is_none_or(|most| now.since(browser.signed_in_at).as_secs() <= most);
        let same = request.id_token_hint.as_deref().is_none_or(|token| {
            self.read_hint(token)
                .is_some_and(|hint| hint.sub == browser.user.subject)
        });
        young && same
    }

    fn send_code(
        &self,
        request: AuthorizationRequest,
        browser: Browser,
        session_name: String,
        now: Timestamp,
    ) -> Response {
        let agreement = Agreement {
            user: browser.user,
            signed_in_at: browser.signed_in_at,
            browser: session_name,
            scope: request.scope,
            nonce: request.nonce,
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.code_challenge,
        };
        let code = self.vault().issue_code(agreement, now, random::bytes());
        self.send_back(
            &request.redirect_uri,
            request.state.as_deref(),
            &[("code", &code)],
        )
    }

    fn send_error(&self, answer: &ErrorAnswer) -> Response {
        let error = [
            ("error", answer.error),
            ("error_description", answer.description),
        ];
        self.send_back(&answer.redirect_uri, answer.state.as_deref(), &error)
    }

    /// Back to the application, with `state` as it came and with `iss`, so that it cannot take the
    /// answer for another provider's (RFC 9207 §2).
    fn send_back(
        &self,
        redirect_uri: &str,
        state: Option<&str>,
        answer: &[(&str, &str)],
    ) -> Response {
        let mut location =
            Url::parse(redirect_uri).expect("registered addresses were checked at start");
        location
            .query_pairs_mut()
            .extend_pairs(answer)
            .extend_pairs(state.map(|state| ("state", state)))
            .append_pair("iss", &self.config.issuer);
        page::see_other(location.as_str())
    }
}
