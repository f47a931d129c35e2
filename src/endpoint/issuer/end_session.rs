//! `PREFIX/end_session`: an app that people signed in to by the gate signs them out (OpenID Connect RP-Initiated Logout 1.0).
//!
//! Who brings an ID token of whoever is signed in here is believed, for as long as a session lasts: only an app that they signed in to has
//! one. All others ask the
//! person first, as any site may send browsers here. On the way back, nobody is signed in any more, and the browser is led on: to
//! an address that the client has registered, exactly, and to no other.

use std::time::Duration;

use http::{Method, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use url::form_urlencoded;

use crate::{
    answer::{Reject, reply},
    audience::Audience,
    clean::CleanRequest,
    clock::{self, Timestamp},
    endpoint::{
        form, public_name,
        sign_out::{self, landing, onward},
    },
    issuer::{
        Issuer,
        id_token::{Hint, hint, subject},
        parameters::Parameters,
    },
    login::return_to::ReturnTo,
    observe::{Record, Verdict},
    random,
    response::Body,
    session::seal::{KeyRing, Purpose},
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::SignOut;
    if let Some(elsewhere) = public_name::lead_there(snapshot, &request) {
        return Ok(elsewhere);
    }
    let CleanRequest {
        head,
        body,
        audience,
        ..
    } = *request;
    let parameters = read(&head, body).await?;
    let now = clock::now();
    let hint = hint_of(snapshot, issuer, &parameters, now).await?;
    let onward_to = address(issuer, &parameters, hint.as_ref());
    let visit = snapshot.sessions.last_visit(&head.headers, now).await;
    let method = &head.method;
    let Some(session) = &visit.session else {
        if *method == Method::POST {
            // A browser sends no cookie along with a form of another site (SameSite=Lax), but with a page that it goes on to.
            let again = again(snapshot, onward_to.as_ref(), hint.as_ref(), now);
            return Ok(reply::redirect(StatusCode::SEE_OTHER, &again));
        }
        return Ok(match onward_to {
            Some(onward_to) => reply::redirect(onward(method), &onward_to.with_state()),
            None => landing(snapshot, method, None),
        });
    };
    record.note_identity(Some(&session.identity));
    let return_to = onward_to.and_then(|address| address.way_back(snapshot));
    // A picture on any page names this address, too.
    let is_page = matches!(audience, Audience::Navigation | Audience::Submission);
    let is_theirs = hint.is_some_and(|hint| hint.subject == subject(&session.identity));
    if !is_page || !is_theirs {
        let return_to = return_to.map(|address| address.as_str().to_owned());
        return Err(Reject::ConfirmSignOut { return_to });
    }
    let sent = (&head, audience);
    Ok(sign_out::end(snapshot, sent, &visit, return_to.as_ref(), record).await)
}

/// Whom the request is about: by an ID token, or by what [`again`] has made of one. Its client has to be one of today.
async fn hint_of(
    snapshot: &Snapshot,
    issuer: &Issuer,
    parameters: &Parameters,
    now: Timestamp,
) -> Result<Option<Hint>, Reject> {
    let keys = &snapshot.sessions.keys;
    let found = match (parameters.get("id_token_hint"), parameters.get(OWN_HINT)) {
        (Some(text), _) => {
            let signing = issuer.signing.keys().await?;
            hint(text, &issuer.name, &signing, (now, issuer.lasts))
        }
        (None, Some(text)) => open(text, keys, now),
        (None, None) => None,
    };
    Ok(found.filter(|hint| issuer.client_at_hand(&hint.client_id, keys).is_ok()))
}

/// This address once more, for a browser that goes there by itself. The ID token stays out of it: a sealed note says what it said.
fn again(
    snapshot: &Snapshot,
    onward_to: Option<&Onward<'_>>,
    hint: Option<&Hint>,
    now: Timestamp,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(onward_to) = onward_to {
        onward_to.write(&mut query);
    }
    if let Some(hint) = hint {
        let plain = postcard::to_allocvec(&(now.after(HINT_LASTS), hint));
        let plain = plain.expect("a vector takes all of it");
        let keys = &snapshot.sessions.keys;
        let sealed = keys.seal(Purpose::SignOutHint, b"", &plain, random::bytes());
        query.append_pair(OWN_HINT, &sealed);
    }
    let own = snapshot.site.path("end_session");
    match query.finish() {
        query if query.is_empty() => own,
        query => format!("{own}?{query}"),
    }
}

fn open(text: &str, keys: &KeyRing, now: Timestamp) -> Option<Hint> {
    let plain = keys.open(Purpose::SignOutHint, b"", text)?;
    let (end, hint): (Timestamp, Hint) = postcard::from_bytes(&plain).ok()?;
    (now < end).then_some(hint)
}

/// Where to go on to, when it is one of the client's addresses.
struct Onward<'a> {
    client_id: String,
    uri: &'a str,
    state: Option<&'a str>,
}

/// The client is the one that the hint was given to, or that the request names; of two that differ it is neither.
fn address<'a>(
    issuer: &Issuer,
    parameters: &'a Parameters,
    hint: Option<&Hint>,
) -> Option<Onward<'a>> {
    let uri = parameters.get("post_logout_redirect_uri")?;
    let named = parameters.get("client_id");
    let id = match (hint, named) {
        (Some(hint), Some(named)) if hint.client_id != named => return None,
        (Some(hint), _) => hint.client_id.as_str(),
        (None, named) => named?,
    };
    let client = issuer.configured_client(id)?;
    let mut known = client.post_logout_redirect_uris.iter();
    known.any(|known| known == uri).then(|| Onward {
        client_id: id.to_owned(),
        uri,
        state: parameters
            .get("state")
            .filter(|state| state.len() <= LONGEST_STATE),
    })
}

impl Onward<'_> {
    /// The address, with `state` as it came.
    fn with_state(&self) -> String {
        let Some(state) = self.state else {
            return self.uri.to_owned();
        };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("state", state)
            .finish();
        let joint = if self.uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{query}", self.uri)
    }

    /// This endpoint once more, which leads on when nobody is signed in any more: also by way of the provider, which knows of
    /// one address here alone.
    fn way_back(&self, snapshot: &Snapshot) -> Option<ReturnTo> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        self.write(&mut query);
        let own = snapshot.site.path("end_session");
        let address = format!("{own}?{}", query.finish());
        snapshot.site.return_rules.check(&address)
    }

    fn write(&self, query: &mut form_urlencoded::Serializer<'_, String>) {
        query.append_pair("client_id", &self.client_id);
        query.append_pair("post_logout_redirect_uri", self.uri);
        if let Some(state) = self.state {
            query.append_pair("state", state);
        }
    }
}

/// The parameters: of the query, or of a form (§2).
async fn read(head: &Parts, body: Incoming) -> Result<Parameters, Reject> {
    let parsed = if head.method == Method::POST {
        Parameters::parse(&form::read_up_to(LARGEST_FORM, body).await?)
    } else {
        Parameters::parse(head.uri.query().unwrap_or_default().as_bytes())
    };
    parsed.map_err(|_| Reject::BadRequest("a parameter stands twice".into()))
}

/// The parameter that carries what an ID token said. Its meaning is the provider's own (RP-Initiated Logout §2).
const OWN_HINT: &str = "logout_hint";
/// How long a browser may take from a form to the page behind it.
const HINT_LASTS: Duration = Duration::from_mins(2);
/// The bytes of the longest `state`.
const LONGEST_STATE: usize = 512;
/// The bytes of the form: an ID token has some hundred, with many groups some thousand.
const LARGEST_FORM: usize = 64 * 1024;
