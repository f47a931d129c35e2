//! `PREFIX/account`: shows users who they are, what the app is told about them, and where they are signed in. They can sign out
//! elsewhere.
//!
//! Another site must not sign users out. So a form counts only with the token from this session's own page, and only if the browser
//! does not say that it comes from another site.

use std::net::IpAddr;

use http::{Method, Response, StatusCode, header::SET_COOKIE};
use serde::Serialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::{
    form::Form,
    sign_out::{is_wanted, own_origin},
};
use crate::{
    access::allow,
    answer::{
        AccountGrant, AccountGrants, AccountPage, AccountSession, AccountToken, AccountTokens,
        HeldJson, Reject, reply,
    },
    api_token::{Listed as Token, settings::ApiTokenSettings},
    audience::Audience,
    clean::CleanRequest,
    clock::{self, Timestamp},
    decide::Standing,
    identity::Identity,
    issuer::{GrantId, Kept},
    observe::{
        Record, Verdict,
        audit::{Entry, Event},
    },
    response::Body,
    session::{
        Session, SessionLookup, Unavailable,
        directory::{Activity, Entry as Device, SessionName, UserKey},
        revocation::Target,
    },
    snapshot::Snapshot,
    when,
};

/// Shows it.
pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::Account;
    let headers = &request.head.headers;
    let now = clock::now();
    let visit = snapshot.sessions.visit(headers, now).await?;
    let session = signed_in(snapshot, &visit)?;
    record.note_identity(Some(&session.identity));
    let address = request.client.address;
    snapshot
        .presence
        .note(&Activity::of(session, headers, address, now));
    let sessions = sessions(snapshot, session, now).await?;
    let mut response = match request.audience {
        Audience::Navigation | Audience::Submission | Audience::Framed => {
            let listed = listed_tokens(snapshot, session, now).await;
            let listed = listed.as_ref().map(Option::as_deref);
            let mut page = page(snapshot, session, &sessions, now);
            page.tokens = listed.map(|listed| section(snapshot, session, listed, now));
            page.grants = grants(snapshot, session, now).await;
            reply::form_page(StatusCode::OK, &page)
        }
        Audience::Program | Audience::Grpc => {
            reply::json(StatusCode::OK, &Account::of(snapshot, session, &sessions))
        }
    };
    for cookie in snapshot.sessions.touch(&visit, now) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Signs out elsewhere: one session, all others, or everywhere.
pub(super) async fn sign_out(
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::Account;
    let audience = request.audience;
    let headers = &request.head.headers;
    let now = clock::now();
    let visit = snapshot.sessions.visit(headers, now).await?;
    let session = signed_in(snapshot, &visit)?;
    record.note_identity(Some(&session.identity));
    let is_own = is_wanted(
        &Method::POST,
        headers,
        audience,
        &own_origin(snapshot, &request),
    );
    let form = Form::read(request.body).await?;
    if !is_own || !has_token(snapshot, session, &form) {
        return Err(Reject::StaleForm);
    }
    match Whose::read(&form)? {
        Whose::Others => {
            let others = sessions(snapshot, session, now).await?;
            let mut count = 0;
            for entry in others.iter().filter(|entry| !is_of(entry, session)) {
                end(snapshot, entry, now).await;
                audit(snapshot, session, entry.name().to_string(), record);
                count += 1;
            }
            Ok(back(snapshot, audience, count))
        }
        Whose::One(name) if name == SessionName::of(session) => {
            let left = leave(snapshot, &visit, audience, now).await;
            let owner = UserKey::of(&session.identity);
            snapshot.end_grants_of(&owner, &session.id, now).await;
            snapshot.audit_sign_out(session, record);
            Ok(left)
        }
        // Whatever is not listed has ended, or is somebody else's.
        Whose::One(name) => {
            let listed = sessions(snapshot, session, now).await?;
            let found = listed.iter().find(|entry| entry.name() == name);
            if let Some(entry) = found {
                end(snapshot, entry, now).await;
                audit(snapshot, session, entry.name().to_string(), record);
            }
            Ok(back(snapshot, audience, usize::from(found.is_some())))
        }
        Whose::Everywhere => {
            let identity = &session.identity;
            let everything = Target::user(&identity.provider, &identity.subject);
            snapshot.sessions.revoke(everything, now).await;
            let user = UserKey::of(identity);
            if let Err(error) = snapshot.kept_grants.end_all(&user, now).await {
                // What they gave ends by the revocation, too.
                tracing::warn!(%error, "grants of somebody who signed out everywhere could not be removed");
            }
            audit(snapshot, session, "everywhere".to_owned(), record);
            Ok(leave(snapshot, &visit, audience, now).await)
        }
    }
}

/// Somebody ends sessions of their own.
fn audit(snapshot: &Snapshot, session: &Session, ended: String, record: &Record) {
    let ended = Entry {
        credential: Some("session"),
        object: Some(ended.into()),
        ..Entry::of(Event::Revocation)
    };
    let ended = ended.about(&session.identity).with_request(record);
    snapshot.audit.record(&ended);
}

/// What a form asks to end.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    One(SessionName),
    Others,
    Everywhere,
}

impl Whose {
    fn read(form: &Form) -> Result<Self, Reject> {
        let whose = match (form.field("session"), form.field("scope")) {
            (Some(name), None) => SessionName::parse(name).map(Self::One),
            (None, Some("others")) => Some(Self::Others),
            (None, Some("everywhere")) => Some(Self::Everywhere),
            _ => None,
        };
        whose.ok_or(Reject::BadRequest(
            "the form says neither which `session` nor a `scope` of `others` or `everywhere`"
                .into(),
        ))
    }
}

pub(super) fn signed_in<'a>(
    snapshot: &Snapshot,
    visit: &'a SessionLookup,
) -> Result<&'a Session, Reject> {
    let return_to = snapshot.site.path("account");
    let session = visit.session.as_deref();
    match (snapshot.standing(session.into()), session) {
        (Standing::Admitted(_), Some(session)) => Ok(session),
        (Standing::Barred(barred), _) => Err(Reject::Barred { barred, return_to }),
        _ => Err(Reject::SignIn { return_to }),
    }
}

pub(super) fn has_token(snapshot: &Snapshot, session: &Session, form: &Form) -> bool {
    let expected = snapshot.sessions.form_token(session);
    form.field("token")
        .is_some_and(|token| token.as_bytes().ct_eq(expected.as_bytes()).into())
}

/// This one first.
async fn sessions(
    snapshot: &Snapshot,
    session: &Session,
    now: Timestamp,
) -> Result<Vec<Device>, Reject> {
    let user = UserKey::of(&session.identity);
    let mut listed = snapshot
        .presence
        .list(&user, now)
        .await
        .map_err(Unavailable::Store)?;
    listed.sort_by_key(|entry| !is_of(entry, session));
    Ok(listed)
}

fn is_of(entry: &Device, session: &Session) -> bool {
    *entry.mark.session() == session.id
}

async fn end(snapshot: &Snapshot, entry: &Device, now: Timestamp) {
    let target = Target::Session(*entry.mark.session());
    snapshot.sessions.revoke(target, now).await;
    let name = entry.name();
    snapshot
        .end_grants_of(name.user(), entry.mark.session(), now)
        .await;
    snapshot.presence.forget(&name).await;
}

/// Back to the page, which shows what is left.
fn back(snapshot: &Snapshot, audience: Audience, signed_out: usize) -> Response<Body> {
    match audience {
        Audience::Program | Audience::Grpc => {
            reply::json(StatusCode::OK, &SignedOut { signed_out })
        }
        _ => reply::redirect(StatusCode::SEE_OTHER, &snapshot.site.path("account")),
    }
}

/// Ends this session too, and leads on to where the provider's can be ended.
async fn leave(
    snapshot: &Snapshot,
    visit: &SessionLookup,
    audience: Audience,
    now: Timestamp,
) -> Response<Body> {
    let mut response = match audience {
        Audience::Program | Audience::Grpc => back(snapshot, audience, 1),
        _ => reply::redirect(StatusCode::SEE_OTHER, &snapshot.site.sign_out(None)),
    };
    for cookie in snapshot.sessions.end(visit, now).await {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

fn page<'a>(
    snapshot: &'a Snapshot,
    session: &'a Session,
    sessions: &'a [Device],
    now: Timestamp,
) -> AccountPage<'a> {
    let identity = &session.identity;
    let face = snapshot.site.provider(&identity.provider);
    AccountPage {
        host: snapshot.site.public_url.authority(),
        user: identity.user(),
        name: identity.name.as_deref(),
        email: identity.email.as_deref(),
        provider: face.map_or(&*identity.provider, |face| &face.label),
        headers: snapshot.identity_headers.shown(session.principal()),
        sessions: sessions
            .iter()
            .map(|entry| AccountSession {
                name: entry.name().to_string(),
                device: &entry.device,
                address: entry.address.map(|address| address.to_string()),
                since: when::date(entry.mark.created_at()),
                last_seen: when::ago(now.since(entry.seen_at)),
                is_this: is_of(entry, session),
            })
            .collect(),
        is_complete: snapshot.presence.is_complete(),
        action: snapshot.site.path("account/sign_out"),
        sign_out: snapshot.site.sign_out(None),
        token: snapshot.sessions.form_token(session),
        tokens: None,
        grants: None,
    }
}

/// What they have let clients do, where they may.
async fn grants(snapshot: &Snapshot, session: &Session, now: Timestamp) -> Option<AccountGrants> {
    snapshot.issuer.as_ref()?;
    let user = UserKey::of(&session.identity);
    let listed = snapshot.kept_grants.list(&user, now).await;
    if let Err(error) = &listed {
        tracing::warn!(%error, "grants cannot be listed");
    }
    let shown = |grant: &Kept| AccountGrant {
        id: GrantId::of(&user, grant.id).to_string(),
        name: grant.name.clone(),
        leads_to: grant.leads_to.clone(),
        resource: grant.resource.clone(),
        since: when::date(grant.created_at),
        until: when::date(grant.ends_at),
        last_used: when::ago(now.since(grant.used_at)),
    };
    Some(AccountGrants {
        action: snapshot.site.path("account/grants/end"),
        list: listed.ok().map(|listed| listed.iter().map(shown).collect()),
    })
}

/// Their API tokens, where there are any for people here; none inside where they cannot be listed now.
async fn listed_tokens(
    snapshot: &Snapshot,
    session: &Session,
    now: Timestamp,
) -> Option<Option<Vec<Token>>> {
    let api = snapshot.api_tokens.as_ref()?;
    let listed = api.tokens.list(&UserKey::of(&session.identity), now).await;
    if let Err(error) = &listed {
        tracing::warn!(%error, "API tokens cannot be listed");
    }
    Some(listed.ok())
}

fn section<'a>(
    snapshot: &'a Snapshot,
    session: &Session,
    listed: Option<&'a [Token]>,
    now: Timestamp,
) -> AccountTokens<'a> {
    let settings = snapshot.api_tokens.as_ref().map(|api| &api.settings);
    let is_fresh =
        settings.is_some_and(|settings| now.since(session.created_at) <= settings.max_login_age);
    let again = || {
        let account = snapshot.site.path("account");
        snapshot.site.start(&session.identity.provider, &account)
    };
    let shown = |token: &'a Token| AccountToken {
        id: token.id.to_string(),
        start: &token.start,
        name: &token.name,
        scopes: token.scopes.join(", "),
        routes: token.routes.join(", "),
        made: when::date(token.made_at),
        expires: when::date(token.expires_at),
        last_used: token.used_at.map(|at| when::ago(now.since(at))),
    };
    AccountTokens {
        action: snapshot.site.path("account/tokens"),
        list: listed.map(|listed| listed.iter().map(shown).collect()),
        sign_in: (!is_fresh).then(again),
        scopes: settings.map_or(&[], |settings| &settings.scopes),
        routes: snapshot.routes.names().collect(),
        days: settings.map_or(0, ApiTokenSettings::usual_days),
        max_days: settings.map_or(0, |settings| settings.max_days),
    }
}

/// The same for programs.
#[derive(Serialize)]
struct Account<'a> {
    user: &'a str,
    id: String,
    provider: &'a str,
    /// By header; tokens are left out.
    told: Map<String, Value>,
    /// Where rules look, of routes and of the provider's table, and what is there.
    lists: Vec<Looked>,
    sessions: Vec<Listed>,
    /// Whether a session that is not listed has ended.
    complete: bool,
    sign_out: SignOut,
}

/// What the session knows of where the list of a rule looks.
#[derive(Serialize)]
struct Looked {
    list: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(flatten)]
    held: Map<String, Value>,
}

impl Looked {
    fn of((list, claim): (&str, Option<&str>), identity: &Identity) -> Self {
        let held = allow::held(list, identity);
        Self {
            list: list.to_owned(),
            claim: claim.map(str::to_owned),
            held: match serde_json::to_value(HeldJson::of(&held)) {
                Ok(Value::Object(members)) => members,
                _ => Map::new(),
            },
        }
    }
}

/// A session as programs are shown it.
#[derive(Serialize)]
pub struct Listed {
    id: String,
    device: String,
    address: Option<IpAddr>,
    since: String,
    last_seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    this: Option<bool>,
}

impl From<&Device> for Listed {
    fn from(entry: &Device) -> Self {
        Self {
            id: entry.name().to_string(),
            device: entry.device.to_string(),
            address: entry.address,
            since: when::rfc3339(entry.mark.created_at()),
            last_seen: when::rfc3339(entry.seen_at),
            this: None,
        }
    }
}

/// Where to post, and what beside `session` or `scope`.
#[derive(Serialize)]
struct SignOut {
    url: String,
    token: String,
}

#[derive(Serialize)]
struct SignedOut {
    signed_out: usize,
}

impl<'a> Account<'a> {
    fn of(snapshot: &Snapshot, session: &'a Session, sessions: &[Device]) -> Self {
        let identity = &session.identity;
        let provider = snapshot.providers.find(&identity.provider);
        let shown = snapshot
            .identity_headers
            .shown(session.principal())
            .into_iter();
        Self {
            user: identity.user(),
            id: format!("{}:{}", identity.provider, identity.subject),
            provider: &identity.provider,
            told: shown
                .filter_map(|(name, value)| Some((name, Value::String(value?))))
                .collect(),
            lists: (provider
                .map(|provider| provider.lists())
                .unwrap_or_default())
            .into_iter()
            .map(|list| Looked::of(list, identity))
            .collect(),
            sessions: sessions
                .iter()
                .map(|entry| Listed {
                    this: Some(is_of(entry, session)),
                    ..entry.into()
                })
                .collect(),
            complete: snapshot.presence.is_complete(),
            sign_out: SignOut {
                url: snapshot.site.url("account/sign_out"),
                token: snapshot.sessions.form_token(session),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_names_one_thing() {
        let session = Session::begin([1; 16], [2; 16], Timestamp(0), Identity::of("corp", "1"));
        let name = SessionName::of(&session);
        let read = |text: &str| Whose::read(&Form::parse(text.as_bytes())).ok();
        assert_eq!(read(&format!("session={name}")), Some(Whose::One(name)));
        assert_eq!(read("scope=others"), Some(Whose::Others));
        assert_eq!(read("scope=everywhere"), Some(Whose::Everywhere));
        for text in [
            "",
            "session=x",
            "scope=all",
            "scope=others&scope=everywhere",
            &format!("session={name}&scope=everywhere"),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
