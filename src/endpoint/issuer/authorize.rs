//! `PREFIX/authorize`: the user is asked whether a client may act for them, and the client gets a code.
//!
//! The client and its redirect URI are checked first; until then nobody is redirected. Then the user signs in, and must be allowed at
//! the resource. The consent page is shown each time: an attacker could start the same request in the browser of a user who
//! agreed before, and the client would not notice. What the user agrees to is sealed into the form, for this session only.

use http::{Response, StatusCode, header::SET_COOKIE};

use super::{client, trail};
use crate::{
    access::{StepUp, allow::Held},
    answer::{ConsentPage, Reject, reply},
    clean::CleanRequest,
    clock::{self, Timestamp},
    decide::Deny,
    endpoint::{account::signed_in, form::Form, public_name, sign_out::is_own_form},
    issuer::{
        Agreement, Issuer, UnknownClient,
        authorize::{AuthorizationRequest, FRESH, Recipient},
        client::{Client, Kind},
        consent::Consent,
        error::{Code, OAuthError},
        id_token::{self, OPENID},
        parameters::Parameters,
        redirect::RedirectUri,
        resource::Resource,
    },
    kv,
    observe::{Record, Verdict},
    random,
    response::Body,
    route::{self, Route},
    session::Session,
    site::with_switch,
    snapshot::Snapshot,
    visitor::Who,
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
    let (parameters, repeated) = match parameters.get("request_uri") {
        None => (parameters, repeated),
        Some(request_uri) => {
            let pushed = &issuer.state.pushed;
            let found = pushed.find(&client.handle(), request_uri).await?;
            let found = found.ok_or_else(|| {
                page("what the app asks for (request_uri) is unknown here, or has ended; begin again there")
            })?;
            (found, None)
        }
    };
    let recipient = Recipient::read(&parameters, &client).map_err(page)?;
    record.detail = Some(format!("client {}", client.handle()));
    let ask = Ask {
        snapshot,
        issuer,
        request,
        client,
        recipient,
        now: clock::now(),
    };
    let asked = match repeated.as_deref() {
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
    let answered = match asked {
        Ok(asked) => ask.answer(asked, record).await?,
        Err(error) => Err(error),
    };
    match answered {
        Ok(answer) => Ok(answer),
        Err(error) => {
            let is_silent = parameters.get("prompt") == Some("none");
            Box::pin(ask.check_somebody_is_there(is_silent)).await?;
            Ok(ask.send_error(&error, record))
        }
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
    now: Timestamp,
}

impl Ask<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "one check after the other, in the order that counts"
    )]
    async fn answer(
        &self,
        asked: AuthorizationRequest,
        record: &mut Record,
    ) -> Result<Result<Response<Body>, OAuthError>, Reject> {
        let snapshot = self.snapshot;
        let (resource, route) = match self.target(&asked) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let visit = snapshot
            .sessions
            .visit(&self.request.head.headers, self.now)
            .await?;
        let return_to = || self.request.target().to_owned();
        let Some(session) = &visit.session else {
            if asked.is_silent {
                return Ok(Err(OAuthError::new(
                    Code::LoginRequired,
                    "nobody is signed in",
                )));
            }
            return Err(Reject::SignIn {
                return_to: return_to(),
            }
            .told_if_too_long(self.request.audience));
        };
        record.note_identity(Some(&session.identity));
        // Not every provider says when somebody authenticated there, but each login here has a time.
        let is_new = !asked.login || self.now.since(session.created_at) <= FRESH;
        let step_up = asked.step_up;
        let is_fresh = step_up
            .check(&session.identity.authentication, self.now)
            .is_ok();
        let judged = self.judge(route, session);
        match judged {
            Ok(()) if is_fresh && is_new => {}
            Ok(()) | Err(Deny::StepUp(_) | Deny::NotSignedIn) if asked.is_silent => {
                let error = OAuthError::new(Code::LoginRequired, "a fresh login is needed");
                return Ok(Err(error));
            }
            Ok(()) if !is_new => {
                let login = with_switch(&snapshot.site.sign_in(self.request.target()));
                return Ok(Ok(reply::redirect(StatusCode::FOUND, &login)));
            }
            Ok(()) => return Ok(Ok(self.lead_to_login(&step_up))),
            Err(Deny::StepUp(insufficient)) => {
                return Ok(Ok(self.lead_to_login(&insufficient.asked)));
            }
            Err(Deny::NotSignedIn) => {
                return Err(Reject::SignIn {
                    return_to: return_to(),
                });
            }
            Err(deny) => return Err(Reject::of(deny, route, return_to)),
        }
        let agreement = Agreement {
            client: self.client.handle().as_str().to_owned(),
            name: self.client.name.clone(),
            redirect_uri: self.recipient.redirect_uri.as_str().to_owned(),
            leads_to: self.recipient.redirect_uri.shown(),
            challenge: asked.challenge,
            resource: resource.to_text(),
            scopes: granted(self.issuer, route, &asked.scopes),
            nonce: asked.nonce,
        };
        let consent = Consent {
            agreement,
            state: self.recipient.state.clone(),
        };
        if self.client.first_party {
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
            return sent.map(Ok).map_err(Reject::from);
        }
        if asked.is_silent {
            return Ok(Err(OAuthError::new(
                Code::InteractionRequired,
                "whoever is there has to agree",
            )));
        }
        let mut response = self.show(&consent, session);
        for cookie in snapshot.sessions.renew(&visit, self.now) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(Ok(response))
    }

    /// What a token is wanted for. A client of the configuration that asks who somebody is, and names no resource, learns that and gets
    /// at nothing else.
    fn target(&self, asked: &AuthorizationRequest) -> Result<(Resource, &Route), OAuthError> {
        let (snapshot, issuer) = (self.snapshot, self.issuer);
        let has = |name: &str| asked.scopes.iter().any(|scope| scope == name);
        let is_login = asked.resource.is_none()
            && has(OPENID)
            && !route::Resource::ALL.iter().any(|kind| has(kind.scope()));
        let is_known = self.client.kind == Kind::Configured;
        if is_login && (is_known || snapshot.only_resource().is_none()) {
            return Ok((issuer.userinfo(), &issuer.userinfo_route));
        }
        resource_of(snapshot, issuer, asked.resource.as_deref())
    }

    /// May whoever has the session do themselves what the client is to do for them?
    fn judge(&self, route: &Route, session: &Session) -> Result<(), Deny> {
        let client = self.request.client.address;
        let judged = self
            .snapshot
            .judge(route, Who::Session(session), client, self.now);
        beside_scopes(judged.map(|_| ()))
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
        .told_if_too_long(self.request.audience))
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

/// A session has no scopes, and what it lets a client do has: whether the client's are enough is judged at each of its requests, and it may
/// come back for more.
pub(super) fn beside_scopes(judged: Result<(), Deny>) -> Result<(), Deny> {
    judged.or_else(|deny| match &deny {
        Deny::Barred(barred) if matches!(barred.denied.held, Held::Scopes { .. }) => Ok(()),
        _ => Err(deny),
    })
}

/// The resource that is asked for, or the only one there is, and the route that guards it.
pub(super) fn resource_of<'s>(
    snapshot: &'s Snapshot,
    issuer: &'s Issuer,
    asked: Option<&str>,
) -> Result<(Resource, &'s Route), OAuthError> {
    let invalid = |description| OAuthError::new(Code::InvalidTarget, description);
    let resource = match asked {
        Some(text) => Resource::parse(text).ok_or_else(|| invalid("resource is no address"))?,
        None => snapshot
            .only_resource()
            .ok_or_else(|| invalid("resource is missing, and there are several here"))?,
    };
    let route = guard(snapshot, issuer, &resource)
        .ok_or_else(|| invalid("no such resource takes tokens here"))?;
    Ok((resource, route))
}

/// What guards a resource that there may be tokens for.
pub(super) fn guard<'s>(
    snapshot: &'s Snapshot,
    issuer: &'s Issuer,
    resource: &Resource,
) -> Option<&'s Route> {
    if *resource == issuer.userinfo() {
        return Some(&issuer.userinfo_route);
    }
    snapshot.guard_of(resource)
}

/// What is granted: the scope that each token for such a route has, and of what was asked for all that there is here. Who somebody
/// is, a client learns only if it asks for that.
pub(super) fn granted(issuer: &Issuer, route: &Route, asked: &[String]) -> Vec<String> {
    let base = route.resource.map(|kind| kind.scope().to_owned());
    let mut scopes: Vec<String> = base.into_iter().collect();
    let is_openid = asked.iter().any(|scope| scope == OPENID);
    for scope in asked {
        if id_token::SCOPES.contains(&scope.as_str()) && !is_openid {
            continue;
        }
        if issuer.scopes.contains(scope) && !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
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
    let judged = snapshot.judge(route, Who::Session(session), client, now);
    if let Err(deny) = beside_scopes(judged.map(|_| ())) {
        return Err(Reject::of(deny, route, || snapshot.site.path("account")));
    }
    let sent = send_code(
        snapshot,
        issuer,
        &consent,
        session,
        StatusCode::SEE_OTHER,
        now,
        record,
    )
    .await;
    sent.map_err(Reject::from)
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
) -> Result<Response<Body>, kv::Error> {
    let agreement = &consent.agreement;
    let code = issuer
        .grants
        .begin(agreement, session, now, issuer.end_of_grants(session))
        .await?;
    record.detail = Some(format!("client {}: code given", agreement.client));
    tracing::info!(
        client = agreement.client,
        name = agreement.name,
        user = &**session.identity.user(),
        resource = agreement.resource,
        "a client may act for somebody"
    );
    trail::made(snapshot, &session.identity, agreement, record);
    let Ok(uri) = RedirectUri::parse(&agreement.redirect_uri) else {
        return Ok(reply::empty(StatusCode::INTERNAL_SERVER_ERROR));
    };
    Ok(send(
        issuer,
        &uri,
        consent.state.as_deref(),
        &[("code", &code)],
        status,
    ))
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

/// The bytes of the form: what is asked, sealed, with the longest state, nonce and addresses.
const LARGEST_FORM: usize = 16 * 1024;
