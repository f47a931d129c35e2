//! `grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): a client of the configuration brings a token, and gets another.
//!
//! - **A provider's token**: an app has signed its user in at the provider by itself, as apps on phones do. The token must have been given to
//!   the gate's own client there. Then all is as after a login by code: `allow` judges, a grant begins, its owner sees it and ends it.
//! - **A token of the gate's own**, for a narrower one: see [`narrowing`](super::narrowing).
//!
//! Nobody is asked for consent: the operator vouches for such a client.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::timeout;

use super::{
    answer::Failure,
    client_request::ClientRequest,
    narrowing::narrow,
    rules::{Wanted, asks_only_who, granted, resource_of},
    trail,
};
use crate::{
    access::allow,
    clock::Timestamp,
    credential::Proof,
    identity::Identity,
    issuer::{
        ACCESS_LASTS, Agreement,
        client::{Client, Kind, sha256},
        client_assertion::Assertion,
        error::{Code, OAuthError, invalid_request},
        resource::Resource,
        token_exchange::{ACCESS_TOKEN, Exchange},
    },
    jose::LEEWAY,
    observe::{
        Record,
        audit::{Entry, Event},
    },
    provider::{FRESH, Provider, Subject, SubjectToken},
    random,
    route::Route,
    session::{NO_LOGIN, Session},
};

pub(super) async fn token(
    request: &ClientRequest<'_>,
    record: &mut Record,
) -> Result<Value, Failure> {
    if !request.client.exchanges {
        return Err(OAuthError::new(
            Code::UnauthorizedClient,
            "this client does not exchange tokens",
        )
        .into());
    }
    let exchange = Exchange::read(&request.form)?;
    let mut answer = if request.issuer.claims_as_own(exchange.subject_token) {
        narrow(request, &exchange, record).await?
    } else {
        Box::pin(sign_in(request, &exchange, record)).await?
    };
    answer["issued_token_type"] = ACCESS_TOKEN.into();
    Ok(answer)
}

/// A provider's token for one of the gate's.
async fn sign_in(
    request: &ClientRequest<'_>,
    exchange: &Exchange<'_>,
    record: &mut Record,
) -> Result<Value, Failure> {
    let ClientRequest {
        snapshot,
        issuer,
        client,
        now,
        ..
    } = request;
    let (provider, now) = (provider(request, exchange.subject_issuer)?, *now);
    let (resource, route) = resource_of_exchange(request, exchange)?;
    let (session, known_at) = prove(request, provider, exchange, record).await?;
    record.note_identity(Some(&session.identity));
    let scopes = granted(
        issuer,
        route,
        exchange.scopes.as_deref().unwrap_or_default(),
    );
    let handle = client.handle();
    let wanted = Wanted {
        session: &session,
        client: &handle,
        scopes: &scopes,
    };
    let judged = wanted.judge(snapshot, &route.from_any_network(), None, now);
    let denied = |identity: &Identity, deny| {
        trail::denied(snapshot, identity, &client.id, (route, deny), record);
        Failure::denied()
    };
    judged.map_err(|deny| denied(&session.identity, deny))?;
    if exchange.is_id_token && !is_first(request, exchange.subject_token).await? {
        return Err(turned_away(request, &session, AGAIN, record));
    }
    let login = Entry {
        credential: Some(Proof::Bearer.name()),
        object: Some(client.id.as_str().into()),
        ..Entry::of(Event::Login)
    };
    let login = login.about(&session.identity).with_request(record);
    snapshot.audit.admit(&login).await?;
    let agreement = agreement(client, &resource, &scopes);
    let ends_at = if exchange.is_offline {
        issuer.end_of_grants(&session)
    } else {
        // Nothing of it is left when its token ends.
        now.after(ACCESS_LASTS)
    };
    let grants = &issuer.grants;
    let issued = grants.begin_with_tokens(&agreement, &session, (now, known_at), ends_at);
    let issued = issued.await?;
    let granted = issued.found.session();
    // What is known of them may be newer than the token.
    let wanted = Wanted {
        session: &granted,
        ..wanted
    };
    if let Err(deny) = wanted.judge(snapshot, &route.from_any_network(), None, now) {
        grants.end(issued.found.name(), now).await?;
        return Err(denied(&granted.identity, deny));
    }
    trail::made(snapshot, &session.identity, &agreement, record);
    let mut answer = request.answer(issued, granted, scopes, false).await?;
    if let (false, Some(answer)) = (exchange.is_offline, answer.as_object_mut()) {
        answer.remove("refresh_token");
    }
    Ok(answer)
}

/// What the operator agrees to by the configuration.
fn agreement(client: &Client, resource: &Resource, scopes: &[String]) -> Agreement {
    Agreement {
        client: client.handle().as_str().to_owned(),
        name: client.name.clone(),
        redirect_uri: String::new(),
        leads_to: "a token exchange".to_owned(),
        challenge: String::new(),
        resource: resource.to_text(),
        scopes: scopes.to_vec(),
        nonce: None,
        form: None,
    }
}

/// Whose token it is said to be.
fn provider<'s>(
    request: &ClientRequest<'s>,
    named: Option<&str>,
) -> Result<&'s Arc<dyn Provider>, OAuthError> {
    let providers = &request.snapshot.providers;
    let mut all = providers.iter();
    match (named, all.next(), all.next()) {
        (Some(name), ..) => providers
            .find(name)
            .ok_or_else(|| invalid_request("subject_issuer names no provider")),
        (None, Some(only), None) => Ok(only),
        (None, ..) => Err(invalid_request(
            "subject_issuer has to say whose token it is",
        )),
    }
}

/// The resource that a token is wanted for, and its route. Who asks who somebody is, and names no resource, learns that and gets at nothing else.
fn resource_of_exchange<'s>(
    request: &ClientRequest<'s>,
    exchange: &Exchange<'_>,
) -> Result<(Resource, &'s Route), OAuthError> {
    let (snapshot, issuer) = (request.snapshot, request.issuer);
    let scopes = exchange.scopes.as_deref().unwrap_or_default();
    let is_login = exchange.resource.is_none() && asks_only_who(scopes);
    if is_login && request.client.kind == Kind::Configured {
        return Ok((issuer.userinfo(), &issuer.userinfo_route));
    }
    resource_of(snapshot, issuer, exchange.resource)
}

/// Whoever a provider's token proves, if they may sign in, as a session of now; and as of when that is so.
async fn prove(
    request: &ClientRequest<'_>,
    provider: &Arc<dyn Provider>,
    exchange: &Exchange<'_>,
    record: &Record,
) -> Result<(Session, Timestamp), Failure> {
    let profile = provider.profile();
    let text = exchange.subject_token;
    let token = if exchange.is_id_token {
        SubjectToken::Id(text)
    } else {
        SubjectToken::Access(text)
    };
    let proven = timeout(LONGEST, provider.prove_subject(token, request.now)).await;
    let subject = match proven {
        Ok(Ok(subject)) => subject,
        Ok(Err(error)) if error.is_of_token() => {
            let denied = Entry {
                provider: Some(profile.name.as_str().into()),
                object: Some(request.client.id.as_str().into()),
                detail: Some(error.to_string().into()),
                ..Entry::of(Event::LoginDenied)
            };
            request.snapshot.audit.record(&denied.with_request(record));
            tracing::info!(provider = profile.name, client = request.client.id, %error, "a provider's token was refused");
            let failure = Failure::from(invalid_request(
                "subject_token proves nobody here; the log of the gate says why",
            ));
            return Err(failure.because(error.to_string()));
        }
        Ok(Err(error)) => {
            tracing::warn!(provider = profile.name, %error, "a provider's token cannot be checked");
            return Err(Failure::away());
        }
        Err(_) => {
            tracing::warn!(
                provider = profile.name,
                "a provider's token could not be checked in time"
            );
            return Err(Failure::away());
        }
    };
    if let Err(denied) = allow::check(&profile.allow, &subject.identity) {
        let refused = Entry {
            rule: Some(format!("providers.{}.allow.{}", profile.name, denied.rule).into()),
            object: Some(request.client.id.as_str().into()),
            ..Entry::of(Event::LoginDenied)
        };
        let refused = refused.about(&subject.identity).with_request(record);
        request.snapshot.audit.record(&refused);
        return Err(invalid_request("whoever the token is about may not sign in here").into());
    }
    let known_at = subject.known_at;
    let session = session(subject, profile.fingerprint, request.now);
    let revocations = &request.snapshot.sessions.revocations;
    if !revocations.is_known() {
        return Err(Failure::away());
    }
    if revocations.has_revoked(&session.at_issue) {
        const LEFT: &str = "whoever the token is about has signed out since";
        return Err(turned_away(request, &session.now, LEFT, record));
    }
    Ok((session.now, known_at))
}

/// Somebody who has signed in, as of today; and as of when their token was given, which what has ended since ends.
struct Proven {
    now: Session,
    at_issue: Session,
}

fn session(subject: Subject, fingerprint: [u8; 8], now: Timestamp) -> Proven {
    let issued_at = subject.issued_at.filter(|at| *at < now);
    let of = |identity: Identity, at| Session {
        provider_fingerprint: fingerprint,
        provider_session: subject.provider_session.clone(),
        ..Session::begin(random::bytes(), NO_LOGIN, at, identity)
    };
    Proven {
        at_issue: of(subject.identity.clone(), issued_at.unwrap_or(now)),
        now: of(subject.identity, now),
    }
}

/// Whether an ID token was not brought before: whoever reads one on its way gets nothing by it.
/// It goes by what is signed: of one ECDSA signature anybody can make a second. An ID token whose `iat` is ahead is taken for longer.
async fn is_first(request: &ClientRequest<'_>, id_token: &str) -> Result<bool, Failure> {
    let (signed, _) = id_token.rsplit_once('.').unwrap_or((id_token, ""));
    let brought = Assertion {
        name: sha256(signed.as_bytes()),
        until: request.now.after(LEEWAY).after(FRESH).after(LEEWAY),
    };
    let used = &request.issuer.state.assertions;
    Ok(used
        .is_first(&request.client.id, &brought, request.now)
        .await?)
}

/// Notes that a token which proves somebody does not sign them in, and says why.
fn turned_away(
    request: &ClientRequest<'_>,
    session: &Session,
    why: &'static str,
    record: &Record,
) -> Failure {
    let denied = Entry {
        object: Some(request.client.id.as_str().into()),
        detail: Some(why.into()),
        ..Entry::of(Event::LoginDenied)
    };
    let denied = denied.about(&session.identity).with_request(record);
    request.snapshot.audit.record(&denied);
    invalid_request(why).into()
}

const AGAIN: &str = "subject_token was brought before";
/// All calls of one check together; each has its own limit, too.
const LONGEST: Duration = Duration::from_secs(20);
