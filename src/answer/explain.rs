//! What a refusal means to the reader: whose fault it is, and what they can do. Pure.

use std::borrow::Cow;

use http::StatusCode;

use super::{Account, Link, Reject};
use crate::{
    access::{
        Shortfall,
        allow::{Denied, Held},
    },
    audience::Audience,
    credential::Refused,
    decide::{Insufficient, RouteDenial},
    login::{Fault, LoginError},
    provider::kind::AccountSwitch,
    rate_limit::{self, Exceeded},
    site::{Site, with_step_up, with_switch},
    token_exchange::NotExchanged,
};

/// A refusal in the words of each audience.
#[derive(Debug)]
pub(super) struct Explanation {
    /// Says whose fault it is: 4xx the client's, 502-504 somebody's behind the gate, 500 our own.
    pub(super) status: StatusCode,
    /// For programs; part of the interface.
    pub(super) error: &'static str,
    /// The code of gRPC's `status.proto`.
    pub(super) grpc: u8,
    /// For people, in a few words.
    pub(super) title: &'static str,
    /// For people and programs, in sentences.
    pub(super) message: Cow<'static, str>,
}

impl Reject {
    pub(super) fn explain(&self, site: &Site) -> Explanation {
        if let Some(denial) = self.denial() {
            return denial.explain(site);
        }
        match self {
            Self::SignIn { .. } => sign_in_first(
                "You are not signed in, so what you sent did not arrive. Sign in in a new tab, then come \
                 back to this one and reload it: your browser offers to send it again.",
            ),
            Self::AddressTooLong => sign_in_first(
                "You have to sign in, and this address is too long to be kept while you do. Sign in in a new tab, then come \
                 back to this one and reload it.",
            ),
            Self::Unauthorized => {
                sign_in_first("This is for programs: they come with a session, or with a token.")
            }
            Self::StepUp { insufficient, .. } => explain_step_up(insufficient),
            Self::Elsewhere(denied) => explain_elsewhere(denied),
            Self::Misdirected => misdirected(),
            Self::CrossSite(_) => Explanation::new(
                (StatusCode::FORBIDDEN, "forbidden", PERMISSION_DENIED),
                "Not from another site",
                "A page of another site asked for this, and only the app's own pages may.",
            ),
            // Who is barred was told above.
            Self::Forbidden(_) | Self::Barred { .. } => Explanation::new(
                (StatusCode::FORBIDDEN, "forbidden", PERMISSION_DENIED),
                "Closed",
                "This page is closed to everybody.",
            ),
            Self::BadRequest(sentence) => Explanation::new(
                (StatusCode::BAD_REQUEST, "bad_request", INVALID_ARGUMENT),
                "This request cannot be served",
                format!("This request was refused: {sentence}."),
            ),
            Self::RequestTimeout => request_timeout(),
            Self::ClientGone => client_gone(),
            Self::NotFound => Explanation::new(
                (StatusCode::NOT_FOUND, "not_found", UNIMPLEMENTED),
                "Nothing here",
                "There is no page at this address.",
            ),
            Self::MethodNotAllowed(_) => Explanation::new(
                (
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    UNIMPLEMENTED,
                ),
                "Not in this way",
                "This address does not take requests of this kind.",
            ),
            Self::Login(error) => explain_login(error),
            Self::ConfirmSignOut { .. } => Explanation::new(
                (StatusCode::FORBIDDEN, "confirm_sign_out", PERMISSION_DENIED),
                "Sign out?",
                "You came here from another site. Nothing happens until you say so.",
            ),
            Self::StaleForm => Explanation::new(
                (StatusCode::FORBIDDEN, "stale_form", PERMISSION_DENIED),
                "Nothing was changed",
                "What you sent was from another site, or from a page that is out of date. Look at your account's page \
                 again, and send it from there.",
            ),
            Self::SessionTooLarge => session_too_large(),
            Self::Unavailable(_) => session_unavailable(),
            Self::Credential(refused) => explain_credential(refused),
            Self::NotKept(_) | Self::NotAudited(_) => not_kept(),
            Self::TooManyRequests => too_many_requests(),
            Self::Limited(exceeded) => limited(exceeded),
            Self::ContentTooLarge => content_too_large(),
            Self::OutOfService(_) => out_of_service(),
            Self::NotExchanged(why) => explain_not_exchanged(why),
            Self::BadGateway => Explanation::new(
                (StatusCode::BAD_GATEWAY, "bad_gateway", UNAVAILABLE),
                "The app does not answer",
                "The app behind this page cannot be reached right now. Try again in a moment.",
            ),
            Self::GatewayTimeout => gateway_timeout(),
        }
    }

    /// Who is signed in and where, to be shown.
    pub(super) fn account<'a>(&'a self, site: &'a Site) -> Option<Account<'a>> {
        let denial = self.denial()?;
        Some(Account {
            user: denial.user,
            provider: site
                .provider(denial.provider)
                .map_or(denial.provider, |face| &face.label),
            stays: matches!(denial.switch(site), AccountSwitch::SignOutFirst { .. }),
        })
    }

    /// Who may not pass and why: told at the end of a login, or of a session from before the lists
    /// became stricter.
    fn denial(&self) -> Option<Denial<'_>> {
        match self {
            Self::Barred { barred, return_to } => Some(Denial {
                user: &barred.user,
                provider: &barred.provider,
                denied: &barred.denied,
                message: barred
                    .route
                    .as_ref()
                    .and_then(|route| route.message.as_deref()),
                return_to,
            }),
            Self::Login(error) => match &**error {
                LoginError::NotAllowed {
                    user,
                    denied,
                    again,
                    ..
                } => Some(Denial {
                    user,
                    provider: &again.provider,
                    denied,
                    message: None,
                    return_to: again.return_to.as_str(),
                }),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a person has where the list looked that lets them not pass.
    pub(super) fn held(&self) -> Option<&Held> {
        let denial = self.denial()?;
        Some(&denial.denied.held)
    }

    /// The scopes that the credential would have to have (RFC 6750 §3.1).
    pub(super) fn needed_scopes(&self) -> Option<&[String]> {
        match self.held()? {
            Held::Scopes { needed } => Some(needed),
            _ => None,
        }
    }

    /// What the provider itself says, to be shown as its words.
    pub(super) fn providers_words(&self) -> Option<&str> {
        match self {
            Self::Login(error) => error.providers_words(),
            _ => None,
        }
    }

    /// What a person can do now.
    pub(super) fn links(&self, audience: Audience, site: &Site) -> Vec<Link> {
        if let Some(denial) = self.denial() {
            return denial.links(site);
        }
        match self {
            Self::SignIn { .. } | Self::AddressTooLong => {
                vec![Link::beside("Sign in", site.sign_in("/"))]
            }
            // Beside: what was sent from the page is still there.
            Self::StepUp {
                insufficient,
                return_to: Some(_),
            } => {
                let login = site.step_up("/", &insufficient.step_up);
                vec![Link::beside("Sign in again", login)]
            }
            Self::NotFound => vec![Link::new("Go to the app", "/".to_owned())],
            Self::ConfirmSignOut { .. } => vec![Link::new("Stay signed in", "/".to_owned())],
            Self::StaleForm => vec![Link::new("Your account", site.path("account"))],
            Self::Login(error) => login_links(error, site),
            Self::NotExchanged(NotExchanged::NotKept(provider)) => {
                vec![Link::beside("Sign in again", site.start(provider, "/"))]
            }
            // An empty address is the page's own. Following it is a GET, so only a GET's page offers it.
            Self::Unavailable(_)
            | Self::NotKept(_)
            | Self::NotAudited(_)
            | Self::BadGateway
            | Self::OutOfService(_)
            | Self::GatewayTimeout
            | Self::NotExchanged(NotExchanged::Failed { .. })
                if audience == Audience::Navigation =>
            {
                vec![Link::new("Try again", String::new())]
            }
            _ => Vec::new(),
        }
    }
}

/// Somebody whom the allow lists do not let pass.
struct Denial<'a> {
    user: &'a str,
    provider: &'a str,
    denied: &'a Denied,
    /// The route's own words.
    message: Option<&'a str>,
    return_to: &'a str,
}

impl Denial<'_> {
    /// The operator's words where there are some: they know whom to ask. Else the list's, and what the person's own
    /// account has there. Never the rule, which would tell a stranger what to forge.
    fn explain(&self, site: &Site) -> Explanation {
        let providers = || {
            site.provider(self.provider)
                .and_then(|face| face.deny_message.clone())
        };
        let operators_words = self.message.map(str::to_owned).or_else(providers);
        let error = match self.denied.held {
            Held::Scopes { .. } => INSUFFICIENT_SCOPE,
            _ => "forbidden",
        };
        Explanation::new(
            (StatusCode::FORBIDDEN, error, PERMISSION_DENIED),
            "No access",
            operators_words.map_or_else(|| self.words(), Cow::Owned),
        )
    }

    fn words(&self) -> Cow<'static, str> {
        match self.denied.held.sentence() {
            Some(held) => Cow::Owned(format!("{} {held}", self.denied.sentence)),
            None => Cow::Borrowed(self.denied.sentence),
        }
    }

    fn switch(&self, site: &Site) -> AccountSwitch {
        site.provider(self.provider)
            .map_or(AccountSwitch::Asks, |face| face.switch)
    }

    /// Each asks the provider anew, or it would take the same account again without a word. Where it
    /// does so all the same, nothing here promises another one.
    fn links(&self, site: &Site) -> Vec<Link> {
        let start = with_switch(&site.start(self.provider, self.return_to));
        let mut links = match self.switch(site) {
            AccountSwitch::Asks => vec![Link::new("Use another account", start)],
            AccountSwitch::SignOutFirst { page } => page
                .map(|page| Link::beside("Open the provider's page", page.to_owned()))
                .into_iter()
                .chain([Link::new("Sign in again", start)])
                .collect(),
        };
        if site.only_provider().is_none() {
            let chooser = with_switch(&site.sign_in(self.return_to));
            links.push(Link::new("Sign in another way", chooser));
        }
        links.push(Link::new("Sign out", site.sign_out_at(self.provider)));
        links
    }
}

impl Explanation {
    fn new(
        (status, error, grpc): (StatusCode, &'static str, u8),
        title: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error,
            grpc,
            title,
            message: message.into(),
        }
    }
}

fn explain_elsewhere((route, denied): &(RouteDenial, Denied)) -> Explanation {
    let words = route.message.clone().map(Cow::Owned);
    Explanation::new(
        (StatusCode::FORBIDDEN, "forbidden", PERMISSION_DENIED),
        "No access",
        words.unwrap_or(Cow::Borrowed(denied.sentence)),
    )
}

fn explain_step_up(insufficient: &Insufficient) -> Explanation {
    let message = match insufficient.shortfall {
        Shortfall::AheadOfTime => {
            "Your provider says that you signed in at a time that is yet to come, so what you sent did not arrive. Please tell \
             whoever runs this site."
        }
        Shortfall::AgeUnknown | Shortfall::TooOld(_) => {
            "You signed in some time ago, and this asks for a fresh sign-in, so what you sent did not arrive. Sign in again \
             in a new tab, then come back to this one and reload it."
        }
        Shortfall::OtherClass => {
            "This asks for a stronger sign-in than yours was, so what you sent did not arrive. Sign in again in a new tab, \
             then come back to this one and reload it."
        }
    };
    Explanation::new(
        (
            StatusCode::UNAUTHORIZED,
            INSUFFICIENT_USER_AUTHENTICATION,
            UNAUTHENTICATED,
        ),
        "Sign in again",
        message,
    )
}

fn misdirected() -> Explanation {
    Explanation::new(
        (
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            INVALID_ARGUMENT,
        ),
        "Not here",
        "There is nothing under this name. See whether the address is right.",
    )
}

fn session_too_large() -> Explanation {
    Explanation::new(
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "session_too_large",
            INTERNAL,
        ),
        "This account does not fit",
        "Signing in went well, but your account carries more data than fits into cookies, a long \
         list of groups for instance. The people who run this app can help.",
    )
}

fn explain_credential(refused: &Refused) -> Explanation {
    match refused {
        Refused::Invalid(_) => Explanation::new(
            (StatusCode::UNAUTHORIZED, "invalid_token", UNAUTHENTICATED),
            "Not known here",
            "The token or the password that came with this request is false, has ended, or is for something else.",
        ),
        Refused::Unavailable(_) => Explanation::new(
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "credential_unavailable",
                UNAVAILABLE,
            ),
            "One moment",
            "The token or the password that came with this request cannot be checked right now. Try again in a moment.",
        ),
        Refused::Throttled(_) => Explanation::new(
            (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                RESOURCE_EXHAUSTED,
            ),
            "Too many attempts",
            "Too many false tokens or passwords came from your network. Try again later.",
        ),
    }
}

fn session_unavailable() -> Explanation {
    Explanation::new(
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "session_unavailable",
            UNAVAILABLE,
        ),
        "One moment",
        "You may well be signed in, but that cannot be checked right now. Nothing is lost: try again in \
         a moment.",
    )
}

fn sign_in_first(message: &'static str) -> Explanation {
    Explanation::new(
        (StatusCode::UNAUTHORIZED, "login_required", UNAUTHENTICATED),
        "Sign in first",
        message,
    )
}

fn not_kept() -> Explanation {
    Explanation::new(
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "login_unavailable",
            UNAVAILABLE,
        ),
        "Signing in is not possible right now",
        "We cannot sign anybody in at the moment, through no fault of yours. Try again in a moment.",
    )
}

fn too_many_requests() -> Explanation {
    Explanation::new(
        (
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            RESOURCE_EXHAUSTED,
        ),
        "One at a time",
        "Too many requests come from your network at once. Try again in a moment.",
    )
}

fn limited(exceeded: &Exceeded) -> Explanation {
    let seconds = rate_limit::seconds(exceeded.wait);
    Explanation::new(
        (
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            RESOURCE_EXHAUSTED,
        ),
        "That was often",
        format!("There is a limit on how often this may be asked for. Try again in {seconds} s."),
    )
}

fn content_too_large() -> Explanation {
    Explanation::new(
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            "content_too_large",
            RESOURCE_EXHAUSTED,
        ),
        "Too large",
        "What you sent is larger than the app behind this page takes.",
    )
}

fn out_of_service() -> Explanation {
    Explanation::new(
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "out_of_service",
            UNAVAILABLE,
        ),
        "The app does not answer",
        "The app behind this page is out of service right now. Try again in a moment.",
    )
}

fn explain_not_exchanged(why: &NotExchanged) -> Explanation {
    let refusal = (
        StatusCode::FORBIDDEN,
        "no_exchangeable_token",
        PERMISSION_DENIED,
    );
    match why {
        NotExchanged::NotKept(_) => Explanation::new(
            refusal,
            "Sign in again",
            "The app behind this page acts in your name, and you signed in before it did. Sign in again in a new tab, then \
             come back to this one and reload it.",
        ),
        NotExchanged::NoToken(_) | NotExchanged::Unsupported(_) => Explanation::new(
            refusal,
            "No access",
            "The app behind this page acts in your name at another service, and the way in which you signed in does not \
             allow that.",
        ),
        NotExchanged::Failed { .. } if why.is_outage() => Explanation::new(
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "token_exchange_unavailable",
                UNAVAILABLE,
            ),
            "One moment",
            "The app behind this page acts in your name, and whoever lets it do so does not answer right now. Try again in a \
             moment.",
        ),
        NotExchanged::Failed { .. } => Explanation::new(
            (
                StatusCode::BAD_GATEWAY,
                "token_exchange_refused",
                UNAVAILABLE,
            ),
            "The app cannot act in your name",
            "The provider with which you signed in does not let it. The people who run this app can help.",
        ),
    }
}

fn gateway_timeout() -> Explanation {
    Explanation::new(
        (
            StatusCode::GATEWAY_TIMEOUT,
            "gateway_timeout",
            DEADLINE_EXCEEDED,
        ),
        "The app takes too long",
        "The app behind this page did not answer in time. Try again in a moment.",
    )
}

fn explain_login(error: &LoginError) -> Explanation {
    let status = error.status();
    if let LoginError::Insufficient { .. } = error {
        return Explanation::new(
            (status, INSUFFICIENT_USER_AUTHENTICATION, UNAUTHENTICATED),
            "A fresh sign-in is needed",
            error.sentence(),
        );
    }
    let (code, grpc, title) = match (status, error.fault()) {
        (StatusCode::NOT_FOUND, _) => ("not_found", UNIMPLEMENTED, "Nothing here"),
        (StatusCode::TOO_MANY_REQUESTS, _) => (
            "too_many_logins",
            RESOURCE_EXHAUSTED,
            "Please wait a moment",
        ),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (
            "provider_unavailable",
            UNAVAILABLE,
            "Signing in is not possible right now",
        ),
        (_, Fault::Browser) => ("login_invalid", INVALID_ARGUMENT, "Please start again"),
        (_, Fault::User) => ("login_denied", PERMISSION_DENIED, "Not signed in"),
        (_, Fault::Provider) => ("provider_failed", UNAVAILABLE, "Signing in failed"),
    };
    Explanation::new((status, code, grpc), title, error.sentence())
}

/// Where to begin anew: at the same provider for the same page as far as that is known.
fn login_links(error: &LoginError, site: &Site) -> Vec<Link> {
    let path = match error.start_again() {
        Some(again) => with_step_up(
            &site.start(&again.provider, again.return_to.as_str()),
            &again.step_up,
        ),
        None => site.sign_in("/"),
    };
    let mut links = vec![match error {
        // An empty address is the page's own: a code that was not redeemed is still good.
        LoginError::TooMany { .. } => return vec![Link::new("Try again", String::new())],
        LoginError::UnknownProvider => return vec![Link::new("Sign in", path)],
        _ if error.is_outage() => Link::new("Try again", path),
        _ => Link::new("Sign in again", path),
    }];
    if let (Some(again), None) = (error.start_again(), site.only_provider()) {
        let chooser = site.sign_in(again.return_to.as_str());
        let chooser = with_step_up(&chooser, &again.step_up);
        links.push(Link::new("Sign in another way", chooser));
    }
    links
}

fn request_timeout() -> Explanation {
    Explanation::new(
        (StatusCode::REQUEST_TIMEOUT, "request_timeout", CANCELLED),
        "It took too long to arrive",
        "What you sent did not arrive to its end in time. Check your connection, then send it again.",
    )
}

fn client_gone() -> Explanation {
    Explanation::new(
        (client_closed_request(), "client_gone", CANCELLED),
        "It did not arrive",
        "The connection broke off before all of the request had arrived. Send it again.",
    )
}

/// nginx's 499, which no standard has: for the log.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// RFC 6750 §3.1.
pub(super) const INSUFFICIENT_SCOPE: &str = "insufficient_scope";

/// RFC 9470 §3.
pub(super) const INSUFFICIENT_USER_AUTHENTICATION: &str = "insufficient_user_authentication";

const CANCELLED: u8 = 1;
const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;
