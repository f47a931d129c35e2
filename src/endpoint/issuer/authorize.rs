//! `PREFIX/authorize`: the user is asked whether a client may act for them, and the client gets a code.
//!
//! The client and its redirect URI are checked first; until then nobody is redirected. Then the user signs in, and must be allowed at
//! the resource. The consent page is shown each time: an attacker could start the same request in the browser of a user who
//! agreed before, and the client would not notice. What the user agrees to is sealed into the form, for this session only.

use http::{Response, StatusCode, header::SET_COOKIE};

use super::{
    client,
    rules::{Wanted, asks_only_who, granted, guard, resource_of},
    trail,
};
use crate::{
    access::StepUp,
    answer::{ConsentPage, Reject, reply},
    clean::CleanRequest,
    clock::{self, Timestamp},
    decide::Deny,
    endpoint::{account::signed_in, form::Form, public_name, sign_out::is_own_form},
    issuer::{
        Agreement, Issuer, NotBegun, UnknownClient,
        authorize::{AuthorizationRequest, FRESH, Recipient},
        client::{Client, Kind},
        consent::Consent,
        error::{Code, OAuthError},
        parameters::Parameters,
        pushed::RequestName,
        redirect::RedirectUri,
        resource::Resource,
    },
    observe::{Record, Verdict},
    random,
    response::Body,
    route::Route,
    session::Session,
    site::with_switch,
    snapshot::Snapshot,
    when,
};

/// Asks, or says at once what there is to say.
pub(super) async fn serve(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    if let Some(elsewhere) = public_name::lead_there(snapshot, request) {
        return Ok(elsewhere);
    }
    let (parameters, repeated) =
        Parameters::parse_first(request.query().unwrap_or_default().as_bytes());
    if matches!(
        repeated.as_deref(),
        Some("client_id" | "redirect_uri" | "request_uri")
    ) {
        return Err(page(
            "the app that sent you here says twice who it is, or where its answer goes",
        ));
    }
    let client = known_client(snapshot, issuer, request, &parameters).await?;
    // What was pushed counts, and nothing that stands beside it (RFC 9101 §6.3).
    let (parameters, repeated, pushed) = match parameters.get("request_uri") {
        None => (parameters, repeated, None),
        Some(request_uri) => {
            let pushed = &issuer.state.pushed;
            let found = pushed.find(&client.handle(), request_uri).await?;
            let (name, found) = found.ok_or_else(|| page(ANSWERED))?;
            (found, None, Some(name))
        }
    };
    let recipient = Recipient::read(&parameters, &client).map_err(page)?;
    record.detail = Some(format!("client {}", client.handle()));
    let must_push = client.must_push || issuer.settings.require_pushed_authorization_requests;
    let ask = Ask {
        snapshot,
        issuer,
        request,
        client,
        recipient,
        pushed,
        now: clock::now(),
    };
    let read = match repeated.as_deref() {
        // RFC 9126 §4.
        _ if must_push && pushed.is_none() => Err(OAuthError::new(
            Code::InvalidRequest,
            "the request has to be pushed ahead (pushed_authorization_request_endpoint)",
        )),
        None => AuthorizationRequest::read(&parameters),
        Some("resource") => Err(OAuthError::new(
            Code::InvalidTarget,
            "a grant is for one resource",
        )),
        Some(_) => Err(OAuthError::new(
            Code::InvalidRequest,
            "a parameter stands twice",
        )),
    };
    let answered = match read {
        Ok(authorization) => ask.answer(authorization, record).await?,
        Err(error) => Err(error),
    };
    match answered {
        Ok(answer) => Ok(answer),
        Err(error) => {
            let is_silent = parameters.get("prompt") == Some("none");
            Box::pin(ask.check_somebody_is_there(is_silent)).await?;
            spend(issuer, pushed.as_ref()).await?;
            Ok(ask.send_error(&error, record))
        }
    }
}

/// A pushed request is answered, once (RFC 9126 §4).
async fn spend(issuer: &Issuer, pushed: Option<&RequestName>) -> Result<(), Reject> {
    match pushed {
        Some(name) if !issuer.state.pushed.spend(name).await? => Err(page(ANSWERED)),
        _ => Ok(()),
    }
}

/// What a page says where nobody is sent anywhere.
fn page(sentence: &'static str) -> Reject {
    Reject::BadRequest(sentence.into())
}

async fn known_client(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: &CleanRequest,
    parameters: &Parameters,
) -> Result<Client, Reject> {
    let id = parameters
        .get("client_id")
        .ok_or_else(|| page("the app that sent you here does not say who it is (client_id)"))?;
    let sender = super::answer::sender(request);
    if super::answer::admit(&issuer.state.throttles.authorize, &sender).is_err() {
        return Err(Reject::TooManyRequests);
    }
    let found = client::find(issuer, &snapshot.sessions.keys, id, &sender, false).await;
    let client = found.map_err(|unknown| match unknown {
        UnknownClient::Unknown(why) | UnknownClient::Unreachable(why) => Reject::BadRequest(
            format!("the app that sent you here is not known by the client_id it names: {why}")
                .into(),
        ),
        UnknownClient::Unavailable(_) => Reject::TooManyRequests,
    })?;
    issuer.state.throttles.authorize.give_back(&sender);
    Ok(client)
}

/// A request of a client that is known, whose answer goes to an address of its own.
struct Ask<'a> {
    snapshot: &'a Snapshot,
    issuer: &'a Issuer,
    request: &'a CleanRequest,
    client: Client,
    recipient: Recipient,
    /// The pushed request, where it is one.
    pushed: Option<RequestName>,
    now: Timestamp,
}

impl Ask<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "one check after the other, in the order that counts"
    )]
    async fn answer(
        &self,
        authorization: AuthorizationRequest,
        record: &mut Record,
    ) -> Result<Result<Response<Body>, OAuthError>, Reject> {
        let snapshot = self.snapshot;
        let (resource, route) = match self.resource_of_authorization(&authorization) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let visit = snapshot
            .sessions
            .visit(&self.request.head.headers, self.now)
            .await?;
        let selects_account = authorization.select_account && self.pushed.is_none();
        let return_to = || {
            if selects_account {
                self.target_without_prompt()
            } else {
                self.request.target().to_owned()
            }
        };
        let Some(session) = &visit.session else {
            if authorization.is_silent {
                return Ok(Err(OAuthError::new(
                    Code::LoginRequired,
                    "nobody is signed in",
                )));
            }
            return Err(Reject::SignIn {
                return_to: return_to(),
            }
            .or_too_long(self.request.audience));
        };
        record.note_identity(Some(&session.identity));
        if selects_account {
            let login = with_switch(&snapshot.site.sign_in(&return_to()));
            return Ok(Ok(reply::redirect(StatusCode::FOUND, &login)));
        }
        // Not every provider says when somebody authenticated there, but each login here has a time.
        let is_new = !authorization.login || self.now.since(session.created_at) <= FRESH;
        let step_up = authorization.step_up;
        let is_fresh = step_up
            .check(&session.identity.authentication, self.now)
            .is_ok();
        let scopes = granted(self.issuer, route, &authorization.scopes);
        let judged = self.judge(route, session, &scopes);
        match judged {
            Ok(()) if is_fresh && is_new => {}
            Ok(()) | Err(Deny::StepUp(_) | Deny::NotSignedIn) if authorization.is_silent => {
                let error = OAuthError::new(Code::LoginRequired, "a fresh login is needed");
                return Ok(Err(error));
            }
            Ok(()) if !is_new => {
                let login = with_switch(&snapshot.site.sign_in(self.request.target()));
                return Ok(Ok(reply::redirect(StatusCode::FOUND, &login)));
            }
            Ok(()) => return Ok(Ok(self.lead_to_login(&step_up))),
            Err(Deny::StepUp(insufficient)) => {
                return Ok(Ok(self.lead_to_login(&insufficient.step_up)));
            }
            Err(Deny::NotSignedIn) => {
                return Err(Reject::SignIn {
                    return_to: return_to(),
                });
            }
            Err(_) if authorization.is_silent => {
                let why = "the rules of that resource do not let them pass";
                return Ok(Err(OAuthError::new(Code::AccessDenied, why)));
            }
            Err(deny) => return Err(Reject::of(deny, route, return_to)),
        }
        let agreement = Agreement {
            client: self.client.handle().as_str().to_owned(),
            name: self.client.name.clone(),
            redirect_uri: self.recipient.redirect_uri.as_str().to_owned(),
            leads_to: self.recipient.redirect_uri.shown(),
            challenge: authorization.challenge,
            resource: resource.to_text(),
            scopes,
            nonce: authorization.nonce,
            form: Some(random::bytes()),
        };
        let consent = Consent {
            agreement,
            state: self.recipient.state.clone(),
            pushed: self.pushed,
        };
        if self.client.skips_consent(&self.recipient.redirect_uri) {
            spend(self.issuer, self.pushed.as_ref()).await?;
            let sent = send_code(
                snapshot,
                self.issuer,
                &consent,
                session,
                StatusCode::FOUND,
                self.now,
                record,
            )
            .await;
            return sent.map(Ok);
        }
        if authorization.is_silent {
            return Ok(Err(OAuthError::new(
                Code::InteractionRequired,
                "whoever is there has to agree",
            )));
        }
        let mut response = self.show(&consent, session);
        for cookie in snapshot.sessions.touch(&visit, self.now) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(Ok(response))
    }

    /// The resource that a token is wanted for, and its route. A client of the configuration that asks who somebody is, and names no resource, learns that and gets
    /// at nothing else.
    fn resource_of_authorization(
        &self,
        authorization: &AuthorizationRequest,
    ) -> Result<(Resource, &Route), OAuthError> {
        let (snapshot, issuer) = (self.snapshot, self.issuer);
        let is_login = authorization.resource.is_none() && asks_only_who(&authorization.scopes);
        let is_known = self.client.kind == Kind::Configured;
        if is_login && (is_known || snapshot.only_resource().is_none()) {
            return Ok((issuer.userinfo(), &issuer.userinfo_route));
        }
        resource_of(snapshot, issuer, authorization.resource.as_deref())
    }

    /// This address as it is asked for after another account was offered: no second one is.
    fn target_without_prompt(&self) -> String {
        let query = self.request.query().unwrap_or_default();
        let (parameters, _) = Parameters::parse_first(query.as_bytes());
        let prompt = parameters.get("prompt").unwrap_or_default();
        let others = prompt.split(' ').filter(|word| *word != "select_account");
        let others = others.collect::<Vec<_>>().join(" ");
        let query = parameters.with("prompt", &others).encode();
        format!("{}?{query}", self.request.path())
    }

    /// Would what the client gets be let through there?
    fn judge(&self, route: &Route, session: &Session, scopes: &[String]) -> Result<(), Deny> {
        let wanted = Wanted {
            session,
            client: &self.client.handle(),
            scopes,
        };
        let address = self.request.client.address;
        wanted.judge(self.snapshot, route, address, self.now)
    }

    fn lead_to_login(&self, step_up: &StepUp) -> Response<Body> {
        let login = self.snapshot.site.step_up(self.request.target(), step_up);
        reply::redirect(StatusCode::FOUND, &login)
    }

    fn show(&self, consent: &Consent, session: &Session) -> Response<Body> {
        let site = &self.snapshot.site;
        let (client, uri) = (&self.client, &self.recipient.redirect_uri);
        let face = site.provider(&session.identity.provider);
        let page = ConsentPage {
            host: site.public_url.authority(),
            client: &client.name,
            proven_host: client.proven_host(),
            is_known: client.kind == Kind::Configured,
            leads_to: uri.shown(),
            is_loopback: uri.is_loopback(),
            is_private_scheme: uri.is_private_scheme(),
            resource: &consent.agreement.resource,
            scopes: &consent.agreement.scopes,
            until: when::date(self.issuer.end_of_grants(session)),
            user: session.identity.user(),
            provider: face.map_or(&*session.identity.provider, |face| &face.label),
            switch: with_switch(&site.sign_in(self.request.target())),
            action: site.path("authorize/consent"),
            consent: consent.seal(
                session,
                &self.snapshot.sessions.keys,
                random::bytes(),
                self.now,
            ),
        };
        reply::page_posting_to(StatusCode::OK, &page, &uri.policy_source())
    }

    /// Anybody can register an address, and so have the gate's own name lead there: nobody is sent to one that the operator has not
    /// named, before they are known (RFC 9700 §4.11.2). The login comes first, and then the error; or a page, where the client
    /// wants no login.
    async fn check_somebody_is_there(&self, is_silent: bool) -> Result<(), Reject> {
        if self.client.kind == Kind::Configured {
            return Ok(());
        }
        let headers = &self.request.head.headers;
        let visit = self.snapshot.sessions.visit(headers, self.now).await?;
        if visit.session.is_some() {
            return Ok(());
        }
        if is_silent {
            return Err(page(
                "the app that sent you here asks for a login that nobody sees, and nobody is signed in",
            ));
        }
        Err(Reject::SignIn {
            return_to: self.request.target().to_owned(),
        }
        .or_too_long(self.request.audience))
    }

    fn send_error(&self, error: &OAuthError, record: &mut Record) -> Response<Body> {
        let code = error.code.name();
        record.detail = Some(format!(
            "client {}: {code}: {}",
            self.client.handle(),
            error.description
        ));
        let description = super::answer::plain(&error.description);
        let answer = [("error", code), ("error_description", &*description)];
        send(
            self.issuer,
            &self.recipient.redirect_uri,
            self.recipient.state.as_deref(),
            &answer,
            StatusCode::FOUND,
        )
    }
}

/// Somebody has said yes or no.
pub(super) async fn consent(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::Own;
    let (headers, client) = (&request.head.headers, request.client.address);
    let now = clock::now();
    let visit = snapshot.sessions.visit(headers, now).await?;
    let session = signed_in(snapshot, &visit)?;
    record.note_identity(Some(&session.identity));
    let is_own = is_own_form(snapshot, &request);
    let form = Form::read_up_to(LARGEST_FORM, request.body).await?;
    let consent = form.field("consent").filter(|_| is_own);
    let consent =
        consent.and_then(|text| Consent::open(text, session, &snapshot.sessions.keys, now));
    let consent = consent.ok_or(Reject::StaleForm)?;
    let agreement = &consent.agreement;
    match form.field("decision") {
        Some("allow") => {}
        Some("deny") => {
            record.detail = Some(format!("client {}: denied", agreement.client));
            spend(issuer, consent.pushed.as_ref()).await?;
            let uri = RedirectUri::parse(&agreement.redirect_uri).map_err(|_| Reject::StaleForm)?;
            let answer = [
                ("error", Code::AccessDenied.name()),
                ("error_description", "whoever was asked said no"),
            ];
            return Ok(send(
                issuer,
                &uri,
                consent.state.as_deref(),
                &answer,
                StatusCode::SEE_OTHER,
            ));
        }
        _ => {
            return Err(Reject::BadRequest(
                "the form says neither yes nor no".into(),
            ));
        }
    }
    // Rules may have changed while somebody thought.
    let resource = Resource::parse(&agreement.resource).ok_or(Reject::StaleForm)?;
    let route = guard(snapshot, issuer, &resource).ok_or(Reject::StaleForm)?;
    let wanted = Wanted {
        session,
        client: &agreement.client.as_str().into(),
        scopes: &agreement.scopes,
    };
    if let Err(deny) = wanted.judge(snapshot, route, client, now) {
        return Err(Reject::of(deny, route, || snapshot.site.path("account")));
    }
    spend(issuer, consent.pushed.as_ref()).await?;
    send_code(
        snapshot,
        issuer,
        &consent,
        session,
        StatusCode::SEE_OTHER,
        now,
        record,
    )
    .await
}

/// Begins the grant, and sends its code to the client.
async fn send_code(
    snapshot: &Snapshot,
    issuer: &Issuer,
    consent: &Consent,
    session: &Session,
    status: StatusCode,
    now: Timestamp,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let agreement = &consent.agreement;
    let begun = issuer
        .grants
        .begin(agreement, session, now, issuer.end_of_grants(session))
        .await
        .map_err(not_begun)?;
    record.detail = Some(format!("client {}: code given", agreement.client));
    if begun.is_new {
        trail::made(snapshot, &session.identity, agreement, record);
    }
    let Ok(uri) = RedirectUri::parse(&agreement.redirect_uri) else {
        return Ok(reply::empty(StatusCode::INTERNAL_SERVER_ERROR));
    };
    Ok(send(
        issuer,
        &uri,
        consent.state.as_deref(),
        &[("code", &begun.code)],
        status,
    ))
}

/// What somebody is told for whom no grant begins.
pub(super) fn not_begun(why: NotBegun) -> Reject {
    match why {
        NotBegun::Again => Reject::StaleForm,
        NotBegun::TooMany(_) => Reject::TooManyRequests,
        NotBegun::Unavailable(error) => error.into(),
    }
}

/// Sends an answer to a client, with `state` as it came, and with `iss`, so that it takes no other server's answer for this one's
/// (RFC 9207 §2).
fn send(
    issuer: &Issuer,
    uri: &RedirectUri,
    state: Option<&str>,
    answer: &[(&str, &str)],
    status: StatusCode,
) -> Response<Body> {
    let state = state.map(|state| ("state", state));
    let all: Vec<_> = answer
        .iter()
        .copied()
        .chain(state)
        .chain([("iss", &*issuer.name)])
        .collect();
    reply::redirect(status, &uri.with(&all))
}

/// What somebody is told who comes back to a pushed request that is gone.
const ANSWERED: &str = "what the app asks for (request_uri) is unknown here, was answered, or has ended; begin again there";
/// The bytes of the form: what is asked, sealed, with the longest state, nonce and addresses.
const LARGEST_FORM: usize = 16 * 1024;
