//! The device flow (RFC 8628): a program begins at `PREFIX/device_authorization`, and its user types the code at `PREFIX/device`. This
//! flow has the highest risk of phishing: somebody who persuades a user to type a code gets access. So the login comes first, and then a
//! page that shows who asks, from which address, and warns not to use a code from somebody else.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode};
use serde_json::json;

use super::{
    answer::{Failure, json as answer_json},
    authorize::not_begun,
    client_request::ClientRequest,
    rules::{Wanted, granted, guard, resource_of},
    trail,
};
use crate::{
    answer::{DeviceAsked, DevicePage, Link, Notice, Reject, reply},
    clean::CleanRequest,
    clock::{self, Timestamp},
    decide::Standing,
    endpoint::{
        account::has_token, form::Form, login_request::parameter, public_name,
        sign_out::is_own_form,
    },
    issuer::{
        Agreement, Issuer,
        authorize::scopes,
        client::Client,
        device::{DeviceRequest, INTERVAL, LASTS, UserCode, Waiting},
        error::{Code, OAuthError},
        resource::Resource,
        token::Presented,
    },
    login::transaction::pkce_challenge,
    observe::Record,
    random,
    response::Body,
    session::{Session, SessionLookup, directory::UserKey},
    snapshot::Snapshot,
    when,
};

/// A program begins.
pub(super) async fn begin(request: &ClientRequest<'_>) -> Result<Response<Body>, Failure> {
    let ClientRequest {
        snapshot,
        issuer,
        client,
        form,
        ..
    } = request;
    check_use(client)?;
    let (resource, route) = resource_of(snapshot, issuer, form.get("resource"))?;
    let waiting = DeviceRequest {
        client: client.handle().as_str().to_owned(),
        name: client.name.clone(),
        address: request.address.map(|address| address.to_string()),
        resource: resource.to_text(),
        scopes: granted(
            issuer,
            route,
            &scopes(form.get("scope").unwrap_or_default())?,
        ),
        is_vouched_for: client.is_vouched_for(),
    };
    let device_code = format!("sgd_{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>()));
    let user_code = UserCode::generate(random::bytes());
    let challenge = pkce_challenge(&device_code);
    issuer
        .state
        .devices
        .begin(waiting, &user_code, &device_code, challenge, request.now)
        .await?;
    let page = snapshot.site.url("device");
    let answer = json!({
        "device_code": device_code,
        "user_code": user_code.to_string(),
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={user_code}"),
        "expires_in": LASTS.as_secs(),
        "interval": INTERVAL,
    });
    Ok(answer_json(StatusCode::OK, &answer))
}

/// A client uses this flow that has said so when it became known (RFC 6749 §5.2, `unauthorized_client`).
pub(super) fn check_use(client: &Client) -> Result<(), OAuthError> {
    if client.uses_device_flow {
        return Ok(());
    }
    Err(OAuthError::new(
        Code::UnauthorizedClient,
        "the device flow is not among the grant_types of this client",
    ))
}

/// Asks for the code.
pub(super) async fn ask(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    if let Some(elsewhere) = public_name::lead_there(snapshot, request) {
        return Ok(elsewhere);
    }
    let visit = snapshot
        .sessions
        .visit(&request.head.headers, clock::now())
        .await?;
    let session = session(snapshot, &visit, || request.target().to_owned())?;
    record.note_identity(Some(&session.identity));
    let typed = parameter(request.query(), "user_code");
    let typed = typed
        .and_then(|text| UserCode::parse(&text))
        .map(|code| code.to_string());
    Ok(show(snapshot, session, StatusCode::OK, typed, None, None))
}

/// Takes the code, and then the answer.
pub(super) async fn answer(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let (headers, client) = (&request.head.headers, request.client.address);
    let now = clock::now();
    let visit = snapshot.sessions.visit(headers, now).await?;
    let session = session(snapshot, &visit, || snapshot.site.path("device"))?;
    record.note_identity(Some(&session.identity));
    let is_own = is_own_form(snapshot, &request);
    let form = Form::read(request.body).await?;
    if !is_own || !has_token(snapshot, session, &form) {
        return Err(Reject::StaleForm);
    }
    let typed = form.field("user_code").unwrap_or_default();
    let again = |problem| {
        let typed = typed.chars().take(20).collect();
        Ok(show(
            snapshot,
            session,
            StatusCode::BAD_REQUEST,
            Some(typed),
            None,
            Some(problem),
        ))
    };
    let Some(code) = UserCode::parse(typed) else {
        return again("That is no code. It has eight letters, as in BCDF-GHJK.");
    };
    let found = issuer
        .state
        .devices
        .find(&code, &UserKey::of(&session.identity), now)
        .await;
    let waiting = match found {
        Ok(Some(waiting)) => waiting,
        Ok(None) => return again(GONE),
        Err(None) => return again("Too many wrong codes. Wait a minute."),
        Err(Some(error)) => return Err(error.into()),
    };
    check_rules(snapshot, issuer, &waiting, session, (client, now))?;
    match form.field("decision") {
        None => Ok(show(
            snapshot,
            session,
            StatusCode::OK,
            Some(code.to_string()),
            Some(asked(issuer, &waiting, session, now)),
            None,
        )),
        Some("allow") => {
            if !allow(snapshot, issuer, (&code, &waiting), session, now, record).await? {
                return again(GONE);
            }
            record.detail = Some("a device was let in".to_owned());
            Ok(done(
                snapshot,
                "Done",
                "Go back to the program that showed you the code: it goes on by itself.",
            ))
        }
        Some("deny") => {
            if !issuer.state.devices.answer(&code, &waiting, None).await? {
                return again(GONE);
            }
            record.detail = Some("a device was denied".to_owned());
            Ok(done(
                snapshot,
                "Denied",
                "The program got nothing. You can close this page.",
            ))
        }
        Some(_) => Err(Reject::BadRequest(
            "the form says neither yes nor no".into(),
        )),
    }
}

/// Would what the program gets be let through where it is for?
fn check_rules(
    snapshot: &Snapshot,
    issuer: &Issuer,
    waiting: &Waiting,
    session: &Session,
    (address, now): (Option<IpAddr>, Timestamp),
) -> Result<(), Reject> {
    let resource = Resource::parse(&waiting.resource).ok_or(Reject::StaleForm)?;
    let route = guard(snapshot, issuer, &resource).ok_or(Reject::StaleForm)?;
    let wanted = Wanted {
        session,
        client: &waiting.client.as_str().into(),
        scopes: &waiting.scopes,
    };
    let judged = wanted.judge(snapshot, route, address, now);
    judged.map_err(|deny| Reject::of(deny, route, || snapshot.site.path("device")))
}

/// Begins the grant; its code is for whoever has the device code, and good for as long as that one. Whether the answer counts: where
/// another came first, the grant ends before anybody has seen it.
async fn allow(
    snapshot: &Snapshot,
    issuer: &Issuer,
    (code, waiting): (&UserCode, &Waiting),
    session: &Session,
    now: Timestamp,
    record: &Record,
) -> Result<bool, Reject> {
    let agreement = Agreement {
        client: waiting.client.clone(),
        name: waiting.name.clone(),
        redirect_uri: String::new(),
        leads_to: waiting.address.as_ref().map_or_else(
            || "a device".to_owned(),
            |address| format!("a device at {address}"),
        ),
        challenge: waiting.challenge.clone(),
        resource: waiting.resource.clone(),
        scopes: waiting.scopes.clone(),
        nonce: None,
        form: Some(random::bytes()),
    };
    let ends = (waiting.expires_at, issuer.end_of_grants(session));
    let grant = issuer
        .grants
        .begin_for_device(&agreement, session, now, ends)
        .await
        .map_err(not_begun)?
        .code;
    let name = Presented::code(&grant).map(|code| code.grant);
    let counts = issuer
        .state
        .devices
        .answer(code, waiting, Some(grant))
        .await;
    if let (Ok(false), Some(name)) = (&counts, name) {
        issuer.grants.end(name, now).await?;
    }
    if matches!(counts, Ok(true)) {
        trail::made(snapshot, &session.identity, &agreement, record);
    }
    Ok(counts?)
}

fn session<'v>(
    snapshot: &Snapshot,
    visit: &'v SessionLookup,
    return_to: impl FnOnce() -> String,
) -> Result<&'v Session, Reject> {
    let session = visit.session.as_deref();
    match (snapshot.standing(session.into()), session) {
        (Standing::Admitted(_), Some(session)) => Ok(session),
        (Standing::Barred(barred), _) => Err(Reject::Barred {
            barred,
            return_to: return_to(),
        }),
        _ => Err(Reject::SignIn {
            return_to: return_to(),
        }),
    }
}

fn asked(issuer: &Issuer, waiting: &Waiting, session: &Session, now: Timestamp) -> DeviceAsked {
    DeviceAsked {
        client: waiting.name.clone(),
        address: waiting.address.clone(),
        begun: when::ago(now.since(waiting.begun_at)),
        resource: waiting.resource.clone(),
        scopes: waiting.scopes.join(" "),
        until: when::date(issuer.end_of_grants(session)),
    }
}

fn show(
    snapshot: &Snapshot,
    session: &Session,
    status: StatusCode,
    typed: Option<String>,
    asked: Option<DeviceAsked>,
    problem: Option<&'static str>,
) -> Response<Body> {
    let face = snapshot.site.provider(&session.identity.provider);
    let page = DevicePage {
        host: snapshot.site.public_url.authority(),
        user: session.identity.user(),
        provider: face.map_or(&*session.identity.provider, |face| &face.label),
        action: snapshot.site.path("device"),
        token: snapshot.sessions.form_token(session),
        typed: typed.unwrap_or_default(),
        asked,
        problem,
    };
    reply::form_page(status, &page)
}

fn done(snapshot: &Snapshot, title: &str, message: &str) -> Response<Body> {
    let page = Notice {
        host: snapshot.site.public_url.authority(),
        title,
        message,
        account: None,
        quote: None,
        form: None,
        links: vec![Link::new("Your account", snapshot.site.path("account"))],
        request_id: None,
    };
    reply::page(StatusCode::OK, &page)
}

/// What somebody is told whose code leads to nothing.
const GONE: &str = "No program waits under this code. It may have ended: begin anew there.";
