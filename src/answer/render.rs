//! Writes a refusal for each kind of client.

use std::{ops::Not, slice};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ALLOW, REFERER, REFRESH, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use url::Url;

use super::{
    Notice, Reject,
    explain::{INSUFFICIENT_SCOPE, INSUFFICIENT_USER_AUTHENTICATION},
    reply,
};
use crate::{
    access::{Shortfall, allow::Held},
    audience::Audience,
    credential::Refused,
    decide::Insufficient,
    login::LoginError,
    rate_limit,
    response::Body,
    site::Site,
};

/// The answer to a refusal. Never cacheable, never sets a cookie.
pub fn render(
    reject: &Reject,
    audience: Audience,
    site: &Site,
    request_id: &str,
) -> Response<Body> {
    let explanation = reject.explain(site);
    let mut response = match (audience, reject) {
        (Audience::Grpc, _) => return reply::grpc(explanation.status, explanation.error),
        (Audience::Navigation, _) if let Some(login) = reject.login(site) => {
            reply::redirect(StatusCode::FOUND, &login)
        }
        (Audience::Program, _) => {
            let login = reject.login(site);
            let refusal = Refusal {
                error: explanation.error,
                message: match reject {
                    Reject::SignIn { .. } => "Nobody is signed in. Send the user to login_url.",
                    Reject::StepUp { insufficient, .. } => error_description(insufficient),
                    _ => &explanation.message,
                },
                login_url: login.map(|path| site.origin() + &path),
                held: reject.held().and_then(HeldJson::of),
                scope: reject.needed_scopes().map(|needed| needed.join(" ")),
                request_id,
            };
            reply::json(explanation.status, &refusal)
        }
        (Audience::Navigation | Audience::Submission | Audience::Framed, _) => {
            let mut notice = Notice {
                host: site.public_url.authority(),
                title: explanation.title,
                message: &explanation.message,
                account: reject.account(site),
                quote: reject.providers_words(),
                form: None,
                links: reject.links(audience, site),
                request_id: Some(request_id),
            };
            if let Reject::ConfirmSignOut { return_to } = reject {
                notice.form = Some(("Sign out", site.sign_out(return_to.as_deref())));
                notice.request_id = None;
                reply::form_page(StatusCode::OK, &notice)
            } else {
                reply::page(explanation.status, &notice)
            }
        }
    };
    advise(reject, audience, site, &mut response);
    response
}

/// Where a login asked for by this request should lead back to: for a navigation what it asked for,
/// otherwise the page it was sent from, if that is ours. `host` is the authority that the browser asked for. The answer to a script's call is no page.
pub fn return_address(
    audience: Audience,
    headers: &HeaderMap,
    host: &HeaderValue,
    target: &str,
    site: &Site,
) -> String {
    let page = (audience != Audience::Navigation)
        .then(|| Url::parse(headers.get(REFERER)?.to_str().ok()?).ok())
        .flatten()
        .and_then(|page| {
            let is_public = page.origin() == site.public_url.url.origin();
            let path = &page[url::Position::BeforePath..url::Position::AfterQuery];
            let origin = page.origin().ascii_serialization();
            if is_public {
                return Some(path.to_owned());
            }
            let host = HeaderValue::from_str(page.authority()).ok()?;
            (site.app_origin(&host) == Some(origin))
                .then(|| page[..url::Position::AfterQuery].to_owned())
        });
    page.unwrap_or_else(|| site.way_back(host, target).into_owned())
}

/// The headers that RFC 9110 asks for beside a status.
fn advise(reject: &Reject, audience: Audience, site: &Site, response: &mut Response<Body>) {
    let status = response.status();
    let headers = response.headers_mut();
    if let Reject::MethodNotAllowed(methods) = reject {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if status == StatusCode::UNAUTHORIZED {
        // Browsers ask for no password under this scheme, as they would under Basic.
        let challenge = match reject {
            Reject::StepUp { insufficient, .. } => step_up_challenge(insufficient),
            Reject::Credential(_) => format!(
                "Bearer realm=\"{}\", error=\"invalid_token\"",
                site.public_url.authority()
            ),
            _ => format!("Bearer realm=\"{}\"", site.public_url.authority()),
        };
        let challenge = HeaderValue::try_from(challenge)
            .expect("authorities and classes are ASCII without quotes or control characters");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if status == StatusCode::FORBIDDEN
        && let Some(needed) = reject.needed_scopes()
    {
        let challenge = format!(
            "Bearer realm=\"{}\", error=\"{INSUFFICIENT_SCOPE}\", scope=\"{}\"",
            site.public_url.authority(),
            needed.join(" ")
        );
        let challenge = HeaderValue::try_from(challenge);
        headers.extend(
            challenge
                .ok()
                .map(|challenge| (WWW_AUTHENTICATE, challenge)),
        );
    }
    if let Reject::Limited(exceeded) = reject {
        headers.insert(RETRY_AFTER, rate_limit::seconds(exceeded.wait).into());
        exceeded.fields.write(headers);
    }
    if let Reject::Login(error) = reject
        && let LoginError::TooMany { wait } = **error
    {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Reject::OutOfService(wait) | Reject::Credential(Refused::Throttled(wait)) = reject {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    } else if status == StatusCode::SERVICE_UNAVAILABLE || matches!(reject, Reject::TooManyRequests)
    {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    // A person waits before this page for what a moment mends; it was asked for without doing anything.
    if audience == Audience::Navigation && matches!(reject, Reject::Unavailable { .. }) {
        headers.insert(REFRESH, HeaderValue::from_static(RETRY_SECONDS));
    }
}

/// What a program has to ask a login for (RFC 9470 §3).
fn step_up_challenge(insufficient: &Insufficient) -> String {
    let step_up = &insufficient.step_up;
    let mut challenge = format!(
        "Bearer error=\"{INSUFFICIENT_USER_AUTHENTICATION}\", error_description=\"{}\"",
        error_description(insufficient)
    );
    for (name, value) in [
        ("max_age", step_up.max_age_parameter()),
        ("acr_values", step_up.acr_parameter()),
    ] {
        if let Some(value) = value {
            for part in [", ", name, "=\"", &value, "\""] {
                challenge.push_str(part);
            }
        }
    }
    challenge
}

/// For whoever writes the program; ASCII without quotes.
fn error_description(insufficient: &Insufficient) -> &'static str {
    match insufficient.shortfall {
        Shortfall::AgeUnknown | Shortfall::AheadOfTime | Shortfall::TooOld(_) => {
            "More recent authentication is required"
        }
        Shortfall::OtherClass => "A different authentication level is required",
    }
}

/// What programs get.
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldJson<'a>>,
    /// The scopes that are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    request_id: &'a str,
}

/// What somebody has where a list looks: their own data.
#[derive(Serialize)]
pub struct HeldJson<'a> {
    /// Whether the provider sent no such claim.
    absent: bool,
    /// Whether it said that there is something, and not what.
    #[serde(skip_serializing_if = "Not::not")]
    withheld: bool,
    /// How many names.
    count: usize,
    /// How many of them the session had no room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<u32>,
    /// How many more stand there that are no names.
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<u32>,
    /// The first of them.
    names: &'a [String],
}

impl<'a> HeldJson<'a> {
    /// None where it is not known, or no list of names.
    pub fn of(held: &'a Held) -> Option<Self> {
        let nothing = Self {
            absent: true,
            withheld: false,
            count: 0,
            omitted: None,
            unusable: None,
            names: &[],
        };
        match held {
            Held::NotKept | Held::Unvouched { .. } | Held::Scopes { .. } => None,
            Held::NoneOf(ways) => ways.iter().find_map(|way| Self::of(&way.held)),
            Held::Absent { .. } => Some(nothing),
            Held::Withheld { .. } => Some(Self {
                withheld: true,
                ..nothing
            }),
            Held::Shown { name, .. } => Some(Self {
                absent: false,
                count: 1,
                names: slice::from_ref(name),
                ..nothing
            }),
            Held::Names {
                first,
                count,
                omitted,
                unusable,
                ..
            } => Some(Self {
                absent: false,
                count: *count,
                omitted: Some(*omitted).filter(|omitted| *omitted > 0),
                unusable: Some(*unusable).filter(|unusable| *unusable > 0),
                names: first,
                ..nothing
            }),
        }
    }
}

const RETRY_SECONDS: &str = "5";
