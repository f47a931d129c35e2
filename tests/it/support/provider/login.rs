//! A login at the scripted provider: the code, the tokens for it, and those that follow.

use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::{Value, json};
use url::Url;

use super::{
    super::{
        behaviour::{Behaviour, Renewal, ResponseIssuer, TokenEndpoint},
        keys,
        server::{self, Answer, Frames},
        servers,
    },
    CLIENT_ID, CLIENT_SECRET, Call, Code, State, lay_over, now,
};

pub(super) fn authorize(
    state: &Mutex<State>,
    issuer: &str,
    behaviour: &Behaviour,
    call: &Call,
) -> Answer {
    let field = |name: &str| call.fields.get(name).cloned();
    let bad = |what: &str| server::full(StatusCode::BAD_REQUEST, "text/plain", what.to_owned());
    if field("client_id").as_deref() != Some(CLIENT_ID) {
        return bad("client_id");
    }
    if field("response_type").as_deref() != Some("code") {
        return bad("response_type");
    }
    if !field("scope")
        .unwrap_or_default()
        .split(' ')
        .any(|scope| scope == "openid")
    {
        return bad("scope");
    }
    let (Some(redirect_uri), Some(given_state)) = (field("redirect_uri"), field("state")) else {
        return bad("redirect_uri and state");
    };
    let challenge = field("code_challenge").unwrap_or_default();
    if field("code_challenge_method").as_deref() != Some("S256") || challenge.len() != 43 {
        return bad("code_challenge");
    }
    if behaviour.asks_first && field("_agreed").is_none() {
        return servers::consent(call);
    }
    let mut back = Url::parse(&redirect_uri).expect("redirect_uri is a URL");
    back.query_pairs_mut().append_pair("state", &given_state);
    if let Some((error, description)) = &behaviour.error {
        back.query_pairs_mut()
            .append_pair("error", error)
            .append_pair("error_description", description);
    } else {
        let mut state = state.lock().expect("no panic inside");
        state.issued += 1;
        let code = format!("canary-code-{}-{}", state.issued, now());
        back.query_pairs_mut().append_pair("code", &code);
        let nonce = field("nonce");
        state.codes.insert(
            code,
            Code {
                nonce,
                challenge,
                redirect_uri,
            },
        );
    }
    match behaviour.response_issuer {
        ResponseIssuer::Right => drop(back.query_pairs_mut().append_pair("iss", issuer)),
        ResponseIssuer::Wrong => {
            back.query_pairs_mut()
                .append_pair("iss", "https://other.example");
        }
        ResponseIssuer::Missing | ResponseIssuer::Unsupported => {}
    }
    server::redirect(back.as_str())
}

pub(super) async fn token(
    state: &Mutex<State>,
    issuer: &str,
    behaviour: &Behaviour,
    call: &Call,
) -> Answer {
    let answer = made(state, issuer, behaviour, call).await;
    tokio::time::sleep(behaviour.token_held_back).await;
    match behaviour.token {
        TokenEndpoint::BreaksOff => server::break_off(),
        TokenEndpoint::BadGateway => {
            server::full(StatusCode::BAD_GATEWAY, "text/html", "<h1>Bad Gateway")
        }
        _ => answer,
    }
}

async fn made(state: &Mutex<State>, issuer: &str, behaviour: &Behaviour, call: &Call) -> Answer {
    // Some providers repeat what they were given, and some write HTML.
    let given = call
        .fields
        .get("code")
        .map(String::as_str)
        .unwrap_or_default();
    let refuse = |status: StatusCode, error: &str| {
        let description = format!("<script>alert('{given}')</script>");
        server::json(
            status,
            &json!({ "error": error, "error_description": description }),
        )
    };
    tokio::time::sleep(behaviour.token_takes).await;
    match behaviour.token {
        TokenEndpoint::TooMany => {
            return server::full(
                StatusCode::TOO_MANY_REQUESTS,
                "text/plain",
                "429 Too Many Requests",
            );
        }
        TokenEndpoint::BreaksOffUndone => return server::break_off(),
        TokenEndpoint::Hangs => return std::future::pending().await,
        TokenEndpoint::ErrorInside200 => return refuse(StatusCode::OK, "bad_verification_code"),
        TokenEndpoint::InvalidGrant => return refuse(StatusCode::BAD_REQUEST, "invalid_grant"),
        TokenEndpoint::Unavailable => {
            return server::full(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/html",
                "<script>alert('sorry')</script>",
            );
        }
        TokenEndpoint::Html => return server::full(StatusCode::OK, "text/html", "<h1>Hello"),
        TokenEndpoint::Endless => return endless(),
        TokenEndpoint::Redirects => return server::redirect("/token"),
        TokenEndpoint::Good
        | TokenEndpoint::NoIdToken
        | TokenEndpoint::BreaksOff
        | TokenEndpoint::BadGateway => {}
    }
    if !is_our_client(behaviour, call) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let field = |name: &str| {
        call.fields
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    };
    if field("grant_type") == "refresh_token" {
        let mut state = state.lock().expect("no panic inside");
        let renewed = renewed(&mut state, issuer, behaviour, field("refresh_token"));
        return match renewed {
            Some(answer) => server::json(StatusCode::OK, &answer),
            None => refuse(StatusCode::BAD_REQUEST, "invalid_grant"),
        };
    }
    // A code is good once (RFC 6749 §4.1.2).
    let code = state
        .lock()
        .expect("no panic inside")
        .codes
        .remove(field("code"));
    let verifier = digest(&SHA256, field("code_verifier").as_bytes());
    let code = match code {
        Some(code)
            if field("grant_type") == "authorization_code"
                && code.redirect_uri == field("redirect_uri")
                && code.challenge == URL_SAFE_NO_PAD.encode(verifier) =>
        {
            code
        }
        _ => return refuse(StatusCode::BAD_REQUEST, "invalid_grant"),
    };
    let mut answer = token_answer(issuer, behaviour, code.nonce.as_deref(), true);
    let mut state = state.lock().expect("no panic inside");
    answer["refresh_token"] = json!(state.new_refresh_token());
    server::json(StatusCode::OK, &answer)
}

fn renewed(state: &mut State, issuer: &str, behaviour: &Behaviour, spent: &str) -> Option<Value> {
    let at = state.refresh_tokens.iter().position(|good| good == spent);
    let Some(at) = at else {
        // Used twice, so stolen: nothing that came of it is good any more.
        state.refresh_tokens.clear();
        return None;
    };
    let mut answer = token_answer(issuer, behaviour, None, behaviour.renews_id_token);
    if behaviour.renewal == Renewal::Rotates {
        state.refresh_tokens.remove(at);
        answer["refresh_token"] = json!(state.new_refresh_token());
    }
    Some(answer)
}

fn token_answer(issuer: &str, behaviour: &Behaviour, nonce: Option<&str>, id_token: bool) -> Value {
    let filler = "x".repeat(behaviour.access_token_length);
    let access_token = if behaviour.access_token.is_null() {
        format!("canary-access-token-{filler}")
    } else {
        let now = now();
        // As Keycloak has it.
        let mut claims = json!({
            "iss": issuer, "aud": "account", "azp": CLIENT_ID, "typ": "Bearer", "sub": behaviour.user["sub"],
            "iat": now, "exp": now + 300,
        });
        lay_over(&mut claims, &behaviour.access_token);
        keys::id_token(&claims, behaviour.signing, CLIENT_SECRET)
    };
    let mut answer = json!({
        "access_token": access_token,
        "expires_in": behaviour.expires_in,
    });
    if !behaviour.token_type.is_null() {
        answer["token_type"] = behaviour.token_type.clone();
    }
    if id_token && behaviour.token != TokenEndpoint::NoIdToken {
        let claims = id_token_claims(issuer, behaviour, nonce);
        answer["id_token"] = json!(keys::id_token(&claims, behaviour.signing, CLIENT_SECRET));
    }
    answer
}

fn is_our_client(behaviour: &Behaviour, call: &Call) -> bool {
    let secret = &behaviour.client_secret;
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{secret}"));
    let by_header = call
        .headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == format!("Basic {basic}").as_bytes());
    let by_form = call
        .fields
        .get("client_secret")
        .is_some_and(|value| value == secret);
    match behaviour.client_auth {
        Some("basic") => return by_header && !by_form,
        Some(_) => return by_form && !by_header,
        None => {}
    }
    // RFC 6749 §2.3: one method in each request.
    by_header != by_form
}

fn id_token_claims(issuer: &str, behaviour: &Behaviour, nonce: Option<&str>) -> Value {
    let mut claims = if behaviour.claims_in_id_token {
        behaviour.user.clone()
    } else {
        json!({ "sub": behaviour.user["sub"] })
    };
    let now = now();
    let standard =
        json!({ "iss": issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce });
    lay_over(&mut claims, &standard);
    lay_over(&mut claims, &behaviour.id_token);
    claims
}

fn endless() -> Answer {
    let (sender, body) = Frames::channel();
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b' '; 65_536]);
        while sender.send(Frame::data(chunk.clone())).await.is_ok() {}
    });
    let mut answer = server::full(StatusCode::OK, "application/json", "");
    *answer.body_mut() = body.boxed();
    answer
}
