//! `PREFIX/account/tokens`: owners make, list and end their API tokens.
//!
//! Only a browser session may do that, and only a session with a fresh login may make one: a stolen cookie or token must not become a
//! token that outlives it. Another site must do none of it: a form counts only with the token from this session's own page, and JSON only if
//! no page of another site could have sent it.

use http::{
    Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, SET_COOKIE},
};
use serde::{Deserialize, Serialize};

use super::{
    account::{has_token, signed_in},
    ending::{ended, which},
    form::{self, Form},
    sign_out::is_own_form,
};
use crate::{
    answer::{Reject, TokenPage, reply},
    api_token::{
        ApiTokens, Enabled, Facts, Listed, Made, MakeError, TokenName, Wanted,
        settings::ApiTokenSettings,
    },
    audience::Audience,
    clean::CleanRequest,
    clock::{self, Timestamp},
    credential::Proof,
    observe::{
        Record, Verdict,
        audit::{Entry, Event},
    },
    response::Body,
    session::{Session, SessionLookup, directory::UserKey},
    snapshot::Snapshot,
    when,
};

/// A token as programs are shown it.
#[derive(Serialize)]
pub struct ListedToken {
    id: String,
    start: String,
    name: String,
    scopes: Vec<String>,
    routes: Vec<String>,
    made: String,
    expires: String,
    /// To the minute; none where it was never used.
    last_used: Option<String>,
}

impl From<&Listed> for ListedToken {
    fn from(listed: &Listed) -> Self {
        Self {
            id: listed.id.to_string(),
            start: listed.start.clone(),
            name: listed.name.clone(),
            scopes: listed.scopes.clone(),
            routes: listed.routes.clone(),
            made: when::rfc3339(listed.made_at),
            expires: when::rfc3339(listed.expires_at),
            last_used: listed.used_at.map(when::rfc3339),
        }
    }
}

/// Lists them. People see them on the account's page.
pub(super) async fn list(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    #[derive(Serialize)]
    struct Answer<'a> {
        tokens: Vec<ListedToken>,
        /// The scopes that one may have.
        scopes: &'a [String],
        /// The routes that one may be for.
        routes: Vec<&'a str>,
        max_days: u32,
    }
    let visitor = Visitor::read(snapshot, request, record).await?;
    if request.audience.is_person() {
        let account = snapshot.site.path("account");
        return Ok(reply::redirect(StatusCode::SEE_OTHER, &account));
    }
    let (session, now) = (visitor.session()?, visitor.now);
    let user = UserKey::of(&session.identity);
    let listed = visitor.tokens().list(&user, now).await;
    let listed = listed?;
    let answer = Answer {
        tokens: listed.iter().map(ListedToken::from).collect(),
        scopes: &visitor.enabled.settings.scopes,
        routes: snapshot.routes.names().collect(),
        max_days: visitor.enabled.settings.max_days,
    };
    let mut response = reply::json(StatusCode::OK, &answer);
    for cookie in snapshot.sessions.touch(&visitor.visit, now) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Makes one, and shows it this once.
pub(super) async fn make(
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    #[derive(Serialize)]
    struct Answer {
        token: String,
        #[serde(flatten)]
        listed: ListedToken,
    }
    let visitor = Visitor::read(snapshot, &request, record).await?;
    let (session, now) = (visitor.session()?, visitor.now);
    let audience = request.audience;
    let wanted = read_wanted(snapshot, *request, session, &visitor.enabled.settings).await?;
    if now.since(session.created_at) > visitor.enabled.settings.max_login_age {
        record.detail = Some("the login is too long ago for a new token".to_owned());
        return Ok(sign_in_first(snapshot, session, audience));
    }
    let facts = Facts::of(session.clone());
    let made = visitor
        .tokens()
        .make(&facts, &wanted, &visitor.enabled.settings, now);
    let made = match made.await {
        Ok(made) => made,
        Err(MakeError::Unavailable(error)) => return Err(error.into()),
        Err(error @ MakeError::TooMany(_)) => {
            return Err(Reject::BadRequest(error.to_string().into()));
        }
    };
    let Made { text, listed } = made;
    record.detail = Some(format!("made API token {}…", listed.start));
    tracing::info!(
        user = &**session.identity.user(),
        token = listed.start,
        expires = when::rfc3339(listed.expires_at),
        "an API token was made"
    );
    audit(snapshot, Event::TokenMade, session, &listed, record);
    if audience.is_person() {
        let page = TokenPage {
            host: snapshot.site.public_url.authority(),
            name: &listed.name,
            token: &text,
            expires: when::date(listed.expires_at),
            back: snapshot.site.path("account"),
        };
        return Ok(reply::form_page(StatusCode::CREATED, &page));
    }
    let answer = Answer {
        token: text.as_str().to_owned(),
        listed: (&listed).into(),
    };
    Ok(reply::json(StatusCode::CREATED, &answer))
}

/// Ends one, or all, as a form of the page asks.
pub(super) async fn end_by_form(
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let visitor = Visitor::read(snapshot, &request, record).await?;
    let session = visitor.session()?;
    let is_own = is_own_form(snapshot, &request);
    let audience = request.audience;
    let form = Form::read(request.body).await?;
    if !is_own || !has_token(snapshot, session, &form) {
        return Err(Reject::StaleForm);
    }
    let name = which(&form, TokenName::parse)?;
    let count = visitor.end(name.as_ref(), record).await?;
    Ok(if audience.is_person() {
        reply::redirect(StatusCode::SEE_OTHER, &snapshot.site.path("account"))
    } else {
        ended(count)
    })
}

/// Ends the one that the address names, or all: for programs.
pub(super) async fn end(
    snapshot: &Snapshot,
    request: &CleanRequest,
    id: Option<&str>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let visitor = Visitor::read(snapshot, request, record).await?;
    if !is_own_form(snapshot, request) {
        return Err(Reject::StaleForm);
    }
    let name = match id {
        Some(id) => Some(TokenName::parse(id).ok_or(Reject::NoSuchToken)?),
        None => None,
    };
    let count = visitor.end(name.as_ref(), record).await?;
    if count == 0 && name.is_some() {
        return Err(Reject::NoSuchToken);
    }
    Ok(ended(count))
}

/// Whoever visits with a session, where there are API tokens.
struct Visitor<'s> {
    snapshot: &'s Snapshot,
    enabled: &'s Enabled,
    visit: SessionLookup,
    now: Timestamp,
}

impl<'s> Visitor<'s> {
    async fn read(
        snapshot: &'s Snapshot,
        request: &CleanRequest,
        record: &mut Record,
    ) -> Result<Self, Reject> {
        record.verdict = Verdict::Account;
        let enabled = snapshot.api_tokens.as_ref().ok_or(Reject::NotFound)?;
        let now = clock::now();
        let visit = snapshot.sessions.visit(&request.head.headers, now).await?;
        let visitor = Self {
            snapshot,
            enabled,
            visit,
            now,
        };
        let session = visitor.session().map_err(|reject| match reject {
            // It may be good elsewhere.
            Reject::SignIn { .. } if request.head.headers.contains_key(AUTHORIZATION) => {
                Reject::SessionOnly
            }
            reject => reject,
        });
        record.note_identity(Some(&session?.identity));
        Ok(visitor)
    }

    fn session(&self) -> Result<&Session, Reject> {
        signed_in(self.snapshot, &self.visit)
    }

    fn tokens(&self) -> &ApiTokens {
        &self.enabled.tokens
    }

    /// How many were ended.
    async fn end(&self, name: Option<&TokenName>, record: &mut Record) -> Result<usize, Reject> {
        let session = self.session()?;
        let user = UserKey::of(&session.identity);
        let ended = match name {
            // Another's is as good as none.
            Some(name) if !name.is_of(&user) => Vec::new(),
            Some(name) => {
                let ended = self.tokens().end(name, self.now).await;
                ended?.into_iter().collect()
            }
            None => {
                let ended = self.tokens().end_all(&user, self.now).await;
                ended?
            }
        };
        for listed in &ended {
            tracing::info!(
                user = &**session.identity.user(),
                token = listed.start,
                "an API token was ended by its owner"
            );
            audit(self.snapshot, Event::TokenEnded, session, listed, record);
        }
        record.detail = Some(format!("ended {} API tokens", ended.len()));
        Ok(ended.len())
    }
}

/// Somebody has made or ended a token of their own.
fn audit(snapshot: &Snapshot, event: Event, session: &Session, token: &Listed, record: &Record) {
    let entry = Entry {
        credential: Some(Proof::Session.name()),
        object: Some(token.start.as_str().into()),
        detail: Some(token.name.as_str().into()),
        ..Entry::of(event)
    };
    let entry = entry.about(&session.identity).with_request(record);
    snapshot.audit.record(&entry);
}

/// Whose login is too long ago signs in once more.
fn sign_in_first(snapshot: &Snapshot, session: &Session, audience: Audience) -> Response<Body> {
    #[derive(Serialize)]
    struct Answer<'a> {
        error: &'a str,
        message: &'a str,
        sign_in: &'a str,
    }
    let account = snapshot.site.path("account");
    let start = snapshot.site.start(&session.identity.provider, &account);
    if audience.is_person() {
        return reply::redirect(StatusCode::SEE_OTHER, &start);
    }
    let answer = Answer {
        error: "login_too_old",
        message: "Sign in again to make a token.",
        sign_in: &format!("{}{start}", snapshot.site.origin()),
    };
    reply::json(StatusCode::FORBIDDEN, &answer)
}

/// What a form of the page, or JSON, asks for.
async fn read_wanted(
    snapshot: &Snapshot,
    request: CleanRequest,
    session: &Session,
    settings: &ApiTokenSettings,
) -> Result<Wanted, Reject> {
    let is_own = is_own_form(snapshot, &request);
    // No page of another site can send this type without asking first.
    let is_json = request.head.headers.get(CONTENT_TYPE).is_some_and(is_json);
    let body = form::read(request.body).await?;
    let new = if is_json {
        let new = serde_json::from_slice(&body);
        new.map_err(|_| bad("the body is no JSON with `name`, `days`, `scopes` and `routes`"))?
    } else {
        let form = Form::parse(&body);
        if !has_token(snapshot, session, &form) {
            return Err(Reject::StaleForm);
        }
        NewToken::of_form(&form)?
    };
    if !is_own {
        return Err(Reject::StaleForm);
    }
    let routes: Vec<&str> = snapshot.routes.names().collect();
    new.check(settings, &routes)
        .map_err(|sentence| Reject::BadRequest(sentence.into()))
}

fn is_json(value: &http::HeaderValue) -> bool {
    let kind = value.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn bad(sentence: &'static str) -> Reject {
    Reject::BadRequest(sentence.into())
}

/// What is asked for, not yet checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    days: Option<u32>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    routes: Vec<String>,
}

impl NewToken {
    fn of_form(form: &Form) -> Result<Self, Reject> {
        let days = match form.field("days") {
            None | Some("") => None,
            Some(days) => Some(days.parse().map_err(|_| bad("`days` is no number"))?),
        };
        let all = |name| form.fields(name).map(str::to_owned).collect();
        Ok(Self {
            name: form.field("name").unwrap_or_default().to_owned(),
            days,
            scopes: all("scopes"),
            routes: all("routes"),
        })
    }

    fn check(self, settings: &ApiTokenSettings, routes: &[&str]) -> Result<Wanted, String> {
        let name = self.name.trim();
        if name.is_empty()
            || name.chars().count() > LONGEST_NAME
            || name.chars().any(char::is_control)
        {
            return Err(
                "a token has a name of 1 to 100 characters, by which you know it".to_owned(),
            );
        }
        let days = self.days.unwrap_or_else(|| settings.usual_days());
        if !(1..=settings.max_days).contains(&days) {
            let most = settings.max_days;
            return Err(format!(
                "`days` is from 1 to {most}, the operator's max_days"
            ));
        }
        let mut scopes = self.scopes.iter();
        if let Some(other) = scopes.find(|scope| !settings.scopes.contains(scope)) {
            let allowed = settings.scopes.iter().map(String::as_str);
            return Err(not_one_of(other, "scopes of a token", allowed));
        }
        let mut named = self.routes.iter();
        if let Some(other) = named.find(|route| !routes.contains(&route.as_str())) {
            return Err(not_one_of(
                other,
                "routes with a name",
                routes.iter().copied(),
            ));
        }
        Ok(Wanted {
            name: name.to_owned(),
            scopes: sorted(self.scopes),
            routes: sorted(self.routes),
            days,
        })
    }
}

/// What is allowed in the place of `name`, which is shown as far as it is plain.
fn not_one_of<'a>(name: &str, what: &str, allowed: impl Iterator<Item = &'a str>) -> String {
    let plain = name.chars().filter(|letter| !letter.is_control());
    let shown: String = plain.take(LONGEST_SHOWN).collect();
    let allowed: Vec<&str> = allowed.collect();
    if allowed.is_empty() {
        return format!("\"{shown}\" is not allowed: there are no {what} here");
    }
    format!(
        "\"{shown}\" is not allowed; the {what} are {}",
        allowed.join(", ")
    )
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list.dedup();
    list
}

/// Characters of a token's name.
const LONGEST_NAME: usize = 100;
/// Characters of a scope or route that is told to be wrong.
const LONGEST_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(json: &str) -> Result<Wanted, String> {
        let settings = ApiTokenSettings {
            owner_idle: Duration::from_hours(1),
            max_days: 30,
            max_per_user: 5,
            max_login_age: Duration::from_mins(15),
            scopes: vec!["read".to_owned(), "write".to_owned()],
        };
        let new: NewToken = serde_json::from_str(json).map_err(|_| "no JSON".to_owned())?;
        new.check(&settings, &["api"])
    }

    #[test]
    fn what_is_asked_for_is_checked() {
        let wanted =
            check(r#"{"name": " ci ", "scopes": ["write", "read", "read"], "routes": ["api"]}"#);
        assert_eq!(
            wanted,
            Ok(Wanted {
                name: "ci".to_owned(),
                scopes: vec!["read".to_owned(), "write".to_owned()],
                routes: vec!["api".to_owned()],
                days: 30,
            })
        );
        for wrong in [
            "",
            "[]",
            r#"{"days": 5}"#,
            r#"{"name": ""}"#,
            r#"{"name": "a\nb"}"#,
            r#"{"name": "ci", "days": 0}"#,
            r#"{"name": "ci", "days": 31}"#,
            r#"{"name": "ci", "days": -1}"#,
            r#"{"name": "ci", "scopes": ["admin"]}"#,
            r#"{"name": "ci", "routes": ["other"]}"#,
            r#"{"name": "ci", "admin": true}"#,
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        for (wrong, told) in [
            (
                r#"{"name": "ci", "days": 31}"#,
                "`days` is from 1 to 30, the operator's max_days",
            ),
            (
                r#"{"name": "ci", "scopes": ["read", "admin"]}"#,
                "\"admin\" is not allowed; the scopes of a token are read, write",
            ),
            (
                r#"{"name": "ci", "routes": ["other"]}"#,
                "\"other\" is not allowed; the routes with a name are api",
            ),
        ] {
            assert_eq!(check(wrong).unwrap_err(), told);
        }
    }

    #[test]
    fn forms_say_the_same() {
        let form = Form::parse(b"name=ci&days=7&scopes=read&scopes=write&routes=api&token=x");
        let new = NewToken::of_form(&form).ok().unwrap();
        assert_eq!(new.name, "ci");
        assert_eq!(new.days, Some(7));
        assert_eq!(new.scopes, ["read", "write"]);
        assert_eq!(new.routes, ["api"]);
        assert!(NewToken::of_form(&Form::parse(b"name=ci&days=x")).is_err());
    }
}
