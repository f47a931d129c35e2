//! What a refusal means to the reader: whose fault it is, and what they can do. Pure.

use std::borrow::Cow;

use http::StatusCode;

use super::{Advice, Link, Reject};
use crate::{
    access::{Shortfall, allow::Denied},
    audience::Audience,
    credential::Refused,
    decide::{Insufficient, RouteDenial},
    login::{Fault, LoginError},
    rate_limit::{self, Exceeded},
    session::Unavailable,
    site::{Site, with_step_up},
    token_exchange::NotExchanged,
};

/// A refusal in the words of each audience.
#[derive(Debug)]
pub(super) struct Explanation {
    /// Says whose fault it is: 4xx the client's, 502-504 somebody's behind the gate, 500 our own.
    pub(super) status: StatusCode,
    /// For programs; part of the interface.
    pub(super) error: &'static str,
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
            Self::NoCredential {
                advice,
                unread,
                return_to,
            } => explain_no_credential(*advice, *unread, return_to.is_some()),
            Self::SessionOnly => {
                Explanation::forbidden("Not with this", "Only a browser session manages tokens.")
            }
            Self::Untold => Explanation::forbidden(
                "Asked about nothing",
                "A proxy asks here about a request, and no trusted proxy said about which one. The operator sets trusted_proxies and \
                 forward_auth.",
            ),
            Self::StepUp { insufficient, .. } => explain_step_up(insufficient),
            Self::Elsewhere(denied) => explain_elsewhere(denied),
            Self::Misdirected => misdirected(),
            Self::CrossSite(_) => Explanation::forbidden(
                "Not from another site",
                "A page of another site asked for this, and only the app's own pages may.",
            ),
            // Who is barred was told above.
            Self::Forbidden(_) | Self::Barred { .. } => {
                Explanation::forbidden("Closed", "This page is closed to everybody.")
            }
            Self::BadRequest(sentence) => Explanation::new(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "This request cannot be served",
                format!("This request was refused: {sentence}."),
            ),
            Self::RequestTimeout(_) => request_timeout(),
            Self::ClientGone => client_gone(),
            Self::NotFound => {
                Explanation::not_found("Nothing here", "There is no page at this address.")
            }
            Self::NoSuchToken => Explanation::not_found("No such token", "You have no such token."),
            Self::MethodNotAllowed(_) => Explanation::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Not in this way",
                "This address does not take requests of this kind.",
            ),
            Self::Login(error) => explain_login(error),
            Self::ConfirmSignOut { .. } => Explanation::new(
                StatusCode::FORBIDDEN,
                "confirm_sign_out",
                "Sign out?",
                "You came here from another site. Nothing happens until you say so.",
            ),
            Self::StaleForm => stale_form(),
            Self::SessionTooLarge => session_too_large(),
            Self::Unavailable { .. } => session_unavailable(),
            Self::Credential(refused) => explain_credential(refused),
            Self::NotKept(_) | Self::NotAudited(_) => not_kept(),
            Self::TooManyRequests => too_many_requests(),
            Self::Limited(exceeded) => limited(exceeded),
            Self::ContentTooLarge => content_too_large(),
            Self::OutOfService(_) => out_of_service(),
            Self::NoRoom => no_room(),
            Self::Stopping => stopping(),
            Self::NotExchanged(why) => explain_not_exchanged(why),
            Self::BadGateway(_) => bad_gateway(),
            Self::GatewayTimeout => gateway_timeout(),
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
            Self::Unavailable {
                unavailable: Unavailable::Provider,
                return_to,
            } if audience == Audience::Navigation && site.only_provider().is_none() => {
                vec![
                    Link::new("Try again", String::new()),
                    Link::new(
                        "Sign in another way",
                        site.sign_in(return_to.as_deref().unwrap_or("/")),
                    ),
                ]
            }
            // An empty address is the page's own. Following it is a GET, so only a GET's page offers it.
            Self::Unavailable { .. }
            | Self::NotKept(_)
            | Self::NotAudited(_)
            | Self::BadGateway(_)
            | Self::OutOfService(_)
            | Self::NoRoom
            | Self::Stopping
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

impl Explanation {
    pub(super) fn new(
        status: StatusCode,
        error: &'static str,
        title: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error,
            title,
            message: message.into(),
        }
    }

    fn forbidden(title: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", title, message)
    }

    fn not_found(title: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", title, message)
    }
}

fn stale_form() -> Explanation {
    Explanation::new(
        StatusCode::FORBIDDEN,
        "stale_form",
        "Nothing was changed",
        "What you sent was from another site, or from a page that is out of date. Look at your account's page \
         again, and send it from there.",
    )
}

fn explain_no_credential(
    advice: Advice,
    unread: Option<&'static str>,
    is_led: bool,
) -> Explanation {
    let what = match (advice, is_led) {
        (Advice::Token, _) => {
            "This address accepts access tokens, API tokens and service tokens only. WWW-Authenticate names the metadata with the login."
        }
        (Advice::Session, true) => "Nobody is signed in. Send the user to login_url.",
        (Advice::SessionOrToken, true) => {
            "Nobody is signed in. Send the user to login_url. A program sends `Authorization: Bearer TOKEN`."
        }
        (Advice::Session, false) => "No credential came. Send the cookie of a session.",
        (Advice::SessionOrToken, false) => {
            "No credential came. Send `Authorization: Bearer TOKEN`, or the cookie of a session."
        }
    };
    let message = match unread {
        Some(unread) => Cow::Owned(format!("{unread} {what}")),
        None => Cow::Borrowed(what),
    };
    Explanation {
        message,
        ..sign_in_first("")
    }
}

fn explain_elsewhere((route, denied): &(RouteDenial, Denied)) -> Explanation {
    let words = route.message.clone().map(Cow::Owned);
    Explanation::forbidden("No access", words.unwrap_or(Cow::Borrowed(denied.sentence)))
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
        StatusCode::UNAUTHORIZED,
        INSUFFICIENT_USER_AUTHENTICATION,
        "Sign in again",
        message,
    )
}

fn misdirected() -> Explanation {
    Explanation::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "Not here",
        "There is nothing under this name. See whether the address is right.",
    )
}

fn session_too_large() -> Explanation {
    Explanation::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "session_too_large",
        "This account does not fit",
        "Signing in went well, but your account carries more data than fits into cookies, a long \
         list of groups for instance. Ask whoever runs this app to keep sessions in a store \
         (session.store), or to have your provider send fewer groups.",
    )
}

fn explain_credential(refused: &Refused) -> Explanation {
    match refused {
        Refused::Invalid(_) => Explanation::new(
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            "Not known here",
            "The token or the password that came with this request is wrong, has expired, or is for another address. The gate's log has \
             the reason under this request_id.",
        ),
        Refused::Unavailable(_) => Explanation::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "credential_unavailable",
            "One moment",
            "The token or the password that came with this request cannot be checked right now. Try again in a moment.",
        ),
        Refused::Throttled(wait) => Explanation::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "Too many attempts",
            format!(
                "Too many wrong tokens or passwords came from your network. Try again in {} s.",
                rate_limit::seconds(*wait)
            ),
        ),
    }
}

fn session_unavailable() -> Explanation {
    Explanation::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "session_unavailable",
        "One moment",
        "You may well be signed in, but that cannot be checked right now. Nothing is lost: try again in \
         a moment.",
    )
}

fn sign_in_first(message: &'static str) -> Explanation {
    Explanation::new(
        StatusCode::UNAUTHORIZED,
        "login_required",
        "Sign in first",
        message,
    )
}

fn not_kept() -> Explanation {
    Explanation::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "login_unavailable",
        "Signing in is not possible right now",
        "We cannot sign anybody in at the moment, through no fault of yours. Try again in a moment.",
    )
}

fn too_many_requests() -> Explanation {
    Explanation::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        "One at a time",
        "Too many requests come from your network at once. Try again in a moment.",
    )
}

fn limited(exceeded: &Exceeded) -> Explanation {
    let seconds = rate_limit::seconds(exceeded.wait);
    Explanation::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "That was often",
        format!("There is a limit on how often this may be asked for. Try again in {seconds} s."),
    )
}

fn content_too_large() -> Explanation {
    Explanation::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "content_too_large",
        "Too large",
        "What you sent is larger than the app behind this page takes.",
    )
}

fn out_of_service() -> Explanation {
    Explanation::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "out_of_service",
        "The app does not answer",
        "The app behind this page is out of service right now. Try again in a moment.",
    )
}

fn no_room() -> Explanation {
    Explanation::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_connections",
        "One moment",
        "Too many requests are under way at once. Try again in a moment.",
    )
}

fn stopping() -> Explanation {
    Explanation::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "One moment",
        "This is being restarted right now. Try again in a moment.",
    )
}

fn explain_not_exchanged(why: &NotExchanged) -> Explanation {
    let refused = |title, message| {
        Explanation::new(
            StatusCode::FORBIDDEN,
            "no_exchangeable_token",
            title,
            message,
        )
    };
    match why {
        NotExchanged::NotKept(_) => refused(
            "Sign in again",
            "The app behind this page acts in your name, and you signed in before it did. Sign in again in a new tab, then \
             come back to this one and reload it.",
        ),
        NotExchanged::NoToken(_) => refused(
            "No access",
            "Send an access token of the provider, or a session: API tokens, service tokens and passwords have none to exchange.",
        ),
        NotExchanged::Unsupported(_) => refused(
            "No access",
            "The app behind this page acts in your name at another service, and the way in which you signed in does not \
             allow that.",
        ),
        NotExchanged::Failed { .. } if why.is_outage() => Explanation::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "token_exchange_unavailable",
            "One moment",
            "The app behind this page acts in your name, and whoever lets it do so does not answer right now. Try again in a \
             moment.",
        ),
        NotExchanged::Failed { .. } => Explanation::new(
            StatusCode::BAD_GATEWAY,
            "token_exchange_refused",
            "The app cannot act in your name",
            "The provider gave no token for this app. Tell its operators.",
        ),
    }
}

fn bad_gateway() -> Explanation {
    Explanation::new(
        StatusCode::BAD_GATEWAY,
        "bad_gateway",
        "The app does not answer",
        "The app behind this page cannot be reached right now. Try again in a moment.",
    )
}

fn gateway_timeout() -> Explanation {
    Explanation::new(
        StatusCode::GATEWAY_TIMEOUT,
        "gateway_timeout",
        "The app takes too long",
        "The app behind this page did not answer in time. Try again in a moment.",
    )
}

fn explain_login(error: &LoginError) -> Explanation {
    let status = error.status();
    if let LoginError::Insufficient { .. } = error {
        return Explanation::new(
            status,
            INSUFFICIENT_USER_AUTHENTICATION,
            "A fresh sign-in is needed",
            error.sentence(),
        );
    }
    let (code, title) = match (status, error.fault()) {
        (StatusCode::NOT_FOUND, _) => ("not_found", "Nothing here"),
        (StatusCode::TOO_MANY_REQUESTS, _) => ("too_many_logins", "Please wait a moment"),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (
            "provider_unavailable",
            "Signing in is not possible right now",
        ),
        (_, Fault::Browser) => ("login_invalid", "Please start again"),
        (_, Fault::User) => ("login_denied", "Not signed in"),
        (_, Fault::Provider) => ("provider_failed", "Signing in failed"),
    };
    Explanation::new(status, code, title, error.sentence())
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
        StatusCode::REQUEST_TIMEOUT,
        "request_timeout",
        "It took too long to arrive",
        "What you sent did not arrive to its end in time. Check your connection, then send it again.",
    )
}

fn client_gone() -> Explanation {
    Explanation::new(
        client_closed_request(),
        "client_gone",
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
