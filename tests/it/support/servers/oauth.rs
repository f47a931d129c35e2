//! What plain OAuth 2.0 servers have in common: the page that browsers are sent to, and the token endpoint.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};
use url::Url;

use super::{Code, Quirks, Refreshing, Script, State, field, header, scopes};
use crate::support::{
    provider::{Call, lay_over},
    server::{self, Answer},
};

pub(super) fn authorize(state: &mut State, call: &Call) -> Answer {
    let bad = |what: &str| server::full(StatusCode::BAD_REQUEST, "text/plain", what.to_owned());
    if field(call, "response_type") != "code" {
        return bad("response_type");
    }
    if field(call, "client_id").is_empty() || field(call, "state").is_empty() {
        return bad("client_id and state");
    }
    if call.fields.contains_key("client_secret") {
        return bad("a secret in a browser's address");
    }
    let Ok(mut back) = Url::parse(field(call, "redirect_uri")) else {
        return bad("redirect_uri");
    };
    let challenge = call.fields.get("code_challenge").cloned();
    if challenge.is_some() && field(call, "code_challenge_method") != "S256" {
        return bad("code_challenge_method");
    }
    if state.quirks.asks_first && field(call, "_agreed").is_empty() {
        return consent(call);
    }
    back.query_pairs_mut()
        .append_pair("state", field(call, "state"));
    if let Some(denial) = &state.quirks.denial {
        back.query_pairs_mut().extend_pairs(denial);
    } else {
        state.issued += 1;
        let code = format!("canary-code-{}", state.issued);
        back.query_pairs_mut().append_pair("code", &code);
        let asked = scopes(field(call, "scope"));
        let granted = state.quirks.grants.clone().unwrap_or(asked);
        let code_of = Code {
            challenge,
            redirect_uri: field(call, "redirect_uri").to_owned(),
            client_id: field(call, "client_id").to_owned(),
            scopes: granted,
        };
        state.codes.insert(code, code_of);
    }
    back.query_pairs_mut().extend_pairs(&state.quirks.response);
    server::redirect(back.as_str())
}

/// The page on which a person agrees.
pub fn consent(call: &Call) -> Answer {
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
    };
    let mut inputs = String::new();
    for (name, value) in &call.fields {
        let (name, value) = (escaped(name), escaped(value));
        let _ = write!(
            inputs,
            "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"
        );
    }
    let page = format!(
        "<!doctype html><title>provider</title><form>{inputs}\
         <button name=\"_agreed\" value=\"yes\">Agree</button></form>"
    );
    server::full(StatusCode::OK, "text/html", page)
}

pub(super) fn token(script: &Script, state: &mut State, call: &Call, method: &Method) -> Answer {
    let form = header(call, CONTENT_TYPE.as_str()).starts_with("application/x-www-form-urlencoded");
    if *method != Method::POST || !form {
        return server::full(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST a form");
    }
    let Some(client) = client(script, &state.quirks, call) else {
        return (script.refusal)("invalid_client");
    };
    match field(call, "grant_type") {
        "authorization_code" => {}
        "refresh_token" => return renewed(script, state, call, &client),
        _ => return (script.refusal)("unsupported_grant_type"),
    }
    // A code is good once (RFC 6749 §4.1.2).
    let code = state.codes.remove(field(call, "code"));
    let verifier = digest(&SHA256, field(call, "code_verifier").as_bytes());
    let verifier = URL_SAFE_NO_PAD.encode(verifier);
    let Some(code) = code.filter(|code| {
        code.redirect_uri == field(call, "redirect_uri")
            && code.client_id == client
            && code
                .challenge
                .as_ref()
                .is_none_or(|challenge| *challenge == verifier)
    }) else {
        return (script.refusal)("invalid_grant");
    };
    grant(script, state, call, &client, code.scopes)
}

/// Both tokens of before die with the first use of the refresh token, unless no new one is given.
fn renewed(script: &Script, state: &mut State, call: &Call, client: &str) -> Answer {
    let spent = field(call, "refresh_token");
    let is_ours = |known: &&Refreshing| known.client_id == client;
    let Some(known) = state.refresh_tokens.get(spent).filter(is_ours) else {
        return (script.spent)();
    };
    let scopes = known.scopes.clone();
    if state.quirks.keeps_refresh_token {
        let mut answer = granted(script, state, client, scopes, false);
        answer
            .as_object_mut()
            .expect("an object")
            .remove("refresh_token");
        return encoded(script, state, call, &answer);
    }
    let known = state.refresh_tokens.remove(spent).expect("looked up above");
    state.tokens.remove(&known.access);
    grant(script, state, call, client, scopes)
}

fn grant(
    script: &Script,
    state: &mut State,
    call: &Call,
    client: &str,
    scopes: Vec<String>,
) -> Answer {
    let answer = granted(script, state, client, scopes, true);
    encoded(script, state, call, &answer)
}

/// A new access token, and a new refresh token where this server has them.
fn granted(
    script: &Script,
    state: &mut State,
    client: &str,
    scopes: Vec<String>,
    anew: bool,
) -> Value {
    state.issued += 1;
    let access = format!("canary-access-token-{}", state.issued);
    let mut answer = json!({
        "access_token": access, "token_type": "bearer",
        "scope": scopes.join(script.scope_separator),
    });
    lay_over(&mut answer, &(script.token_extras)());
    lay_over(&mut answer, &state.quirks.token);
    if anew && answer.get("refresh_token").is_some() {
        let refresh = format!("canary-refresh-token-{}", state.issued);
        answer["refresh_token"] = json!(refresh);
        let refreshing = Refreshing {
            client_id: client.to_owned(),
            access: access.clone(),
            scopes: scopes.clone(),
        };
        state.refresh_tokens.insert(refresh, refreshing);
    }
    state.tokens.insert(access, scopes);
    answer
}

fn encoded(script: &Script, state: &State, call: &Call, answer: &Value) -> Answer {
    let asks_json = header(call, ACCEPT.as_str()).contains("json");
    if state.quirks.form_encoded || script.answers_form && !asks_json {
        return form_encoded(answer);
    }
    server::json(StatusCode::OK, answer)
}

fn form_encoded(answer: &Value) -> Answer {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in answer.as_object().expect("an object") {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        form.append_pair(name, &text);
    }
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    server::full(StatusCode::OK, kind, form.finish())
}

/// Which client asks, where it proves itself by exactly one method (RFC 6749 §2.3).
fn client(script: &Script, quirks: &Quirks, call: &Call) -> Option<String> {
    let good = |secret: &str| quirks.secrets.iter().any(|known| known == secret);
    let by_form = call.fields.get("client_secret");
    let Some(basic) = call.headers.get(AUTHORIZATION) else {
        return by_form
            .filter(|secret| good(secret))
            .map(|_| field(call, "client_id").to_owned());
    };
    let encoded = basic.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    (script.takes_basic && by_form.is_none() && good(secret)).then(|| id.to_owned())
}
