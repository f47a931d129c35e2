//! Turns a refusal into what the client can use: a redirect, a page, JSON or a gRPC status.
//!
//! What to say is in [`explain`], and how to say it in [`render`](mod@render). No answer names the rule, the upstream or anything
//! from the request. The request id leads to the log line that does. A provider's own words appear on a page as a
//! quotation, escaped like every text.

mod audit;
mod denial;
mod explain;
mod page;
mod password;
mod remedy;
mod render;
pub mod reply;
#[cfg(test)]
mod tests;
mod unread;

pub use page::{
    Account, AccountGrant, AccountGrants, AccountPage, AccountSession, AccountToken, AccountTokens,
    Choice, ConsentPage, DeviceAsked, DevicePage, Link, Notice, SignInPage, TokenPage,
};
pub use password::PasswordChallenge;
pub use render::{HeldJson, render, return_address};
pub use unread::unread;

use std::{borrow::Cow, time::Duration};

use http::StatusCode;

use crate::{
    access::allow::Denied,
    audience::Audience,
    credential::{Flaw, Proof, Refused},
    decide::{Barred, Deny, Insufficient, RouteDenial},
    kv,
    login::LoginError,
    observe::{Verdict, audit::NotWritten, metrics::Limit},
    rate_limit::Exceeded,
    route::{Access, NoRoute, Route},
    session::{KeepError, StoreError, Unavailable},
    site::{LONGEST_RETURN, Site},
    token_exchange::NotExchanged,
};

/// Why a request is answered by the gate and not by the upstream. The one error of the request path.
#[derive(Debug)]
pub enum Reject {
    /// Nobody is signed in, and the route asks for somebody. `return_to` is path and query asked for.
    SignIn {
        /// Path and query of the request, for the way back.
        return_to: String,
    },
    /// Nobody is signed in, and the route is for programs: nobody is led to the login.
    Unauthorized,
    /// The same, told to a program.
    NoCredential {
        /// What it can send.
        advice: Advice,
        /// What it has sent in vain.
        unread: Option<&'static str>,
        /// Path and query of the request, for the way back; none where nobody is led to the login.
        return_to: Option<String>,
    },
    /// The endpoint takes sessions alone, and another credential came.
    SessionOnly,
    /// Nobody told which request a proxy asks about, and routes narrow some.
    Untold,
    /// Whoever is signed in has to authenticate anew. `return_to` is path and query asked for; none where nobody is led
    /// to the login.
    StepUp {
        /// What is asked for, and what is lacking.
        insufficient: Box<Insufficient>,
        /// Path and query of the request, for the way back.
        return_to: Option<String>,
    },
    /// The route is closed to where the request comes from, whoever it is.
    Elsewhere(Box<(RouteDenial, Denied)>),
    /// The request came for a host that is nobody's here.
    Misdirected,
    /// Nobody is signed in, and the address asked for is too long to be kept through a login.
    AddressTooLong,
    /// Closed to everybody, whoever is signed in; the rule, for the log.
    Forbidden(&'static str),
    /// A page of another site asks, and only the app's own pages may.
    CrossSite(CrossSite),
    /// Whoever is signed in may not pass. `return_to` is path and query asked for.
    Barred {
        /// Who, and why.
        barred: Box<Barred>,
        /// Path and query of the request, for the way back with another account.
        return_to: String,
    },
    /// The request cannot be judged; the sentence says why.
    BadRequest(Cow<'static, str>),
    /// No own endpoint of that name.
    NotFound,
    /// An API token is to be ended that its owner does not have.
    NoSuchToken,
    /// The endpoint does not take this method; the `Allow` header's value.
    MethodNotAllowed(&'static str),
    /// A login did not come to its end.
    Login(Box<LoginError>),
    /// A sign-out was asked for from another site: a person must confirm.
    ConfirmSignOut {
        /// Where to go afterwards, checked.
        return_to: Option<String>,
    },
    /// A form of ours that another site sent, or that is of another session.
    StaleForm,
    /// The session does not fit into cookies.
    SessionTooLarge,
    /// Whether somebody is signed in cannot be found out now. `return_to` is path and query asked for; none where nobody is led to the login.
    Unavailable {
        /// Why.
        unavailable: Unavailable,
        /// Path and query of the request, for the way back from another login.
        return_to: Option<String>,
    },
    /// A credential came that proves nobody.
    Credential(Refused),
    /// Whoever signs in cannot be kept signed in now.
    NotKept(StoreError),
    /// Nobody signs in while the audit trail cannot be written.
    NotAudited(NotWritten),
    /// The client has as many requests under way as one client may.
    TooManyRequests,
    /// A limit of the route is used up.
    Limited(Box<Exceeded>),
    /// The client did not send its body in time: within a limit that the operator sets, or what a route with `tools` waits.
    RequestTimeout(Option<Limit>),
    /// The client went away before it had sent all of its request. Nobody reads the answer.
    ClientGone,
    /// The request's body is longer than its upstream takes.
    ContentTooLarge,
    /// No address of the upstream is in service; one is tried again after so long.
    OutOfService(Duration),
    /// There are as many connections to apps as there may be.
    NoRoom,
    /// The gate stops before the app has answered.
    Stopping,
    /// The app is to get a token in the user's name, and there is none.
    NotExchanged(NotExchanged),
    /// The upstream cannot be reached or broke off before it answered.
    BadGateway(BadGateway),
    /// The upstream did not answer in time.
    GatewayTimeout,
}

/// Why the upstream gives no answer that can be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadGateway {
    /// No connection comes about.
    Unreachable,
    /// A connection does, and TLS or HTTP/2 does not.
    Handshake,
    /// The app closes the connection without an answer.
    Closed,
    /// What it sends is no HTTP, or not the HTTP that is spoken with it.
    Malformed,
    /// It switches to a protocol that nobody asked for.
    Switched,
}

/// What a program without a credential can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The cookie of a session.
    Session,
    /// That, or a bearer token.
    SessionOrToken,
    /// A token alone.
    Token,
}

/// What a page of another site does in the visitor's name, and may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSite {
    /// It sends a request that changes something.
    Write,
    /// It opens a WebSocket, or another tunnel.
    Upgrade,
    /// It calls a server for programs.
    Call,
}

impl CrossSite {
    /// The rule, for the log.
    fn rule(self) -> &'static str {
        match self {
            Self::Write => "cross_site = \"refuse\"",
            Self::Upgrade => "an upgrade asked for by another site",
            Self::Call => "a page of another origin asks",
        }
    }
}

impl From<NoRoute> for Reject {
    fn from(no_route: NoRoute) -> Self {
        match no_route {
            NoRoute::Ambiguous => Self::BadRequest(
                "the path can be read in two ways that fall under different rules".into(),
            ),
            NoRoute::Misdirected => Self::Misdirected,
        }
    }
}

/// Where tokens and grants are kept does not answer.
impl From<kv::Error> for Reject {
    fn from(error: kv::Error) -> Self {
        Self::Credential(Refused::Unavailable(error.to_string()))
    }
}

impl From<Unavailable> for Reject {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable {
            unavailable,
            return_to: None,
        }
    }
}

impl From<Flaw> for Reject {
    fn from(flaw: Flaw) -> Self {
        Self::BadRequest(flaw.to_string().into())
    }
}

impl From<Refused> for Reject {
    fn from(refused: Refused) -> Self {
        Self::Credential(refused)
    }
}

impl From<KeepError> for Reject {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::TooLarge => Self::SessionTooLarge,
            KeepError::Store(error) => Self::NotKept(error),
        }
    }
}

impl From<Exceeded> for Reject {
    fn from(exceeded: Exceeded) -> Self {
        Self::Limited(Box::new(exceeded))
    }
}

impl From<NotWritten> for Reject {
    fn from(error: NotWritten) -> Self {
        Self::NotAudited(error)
    }
}

impl From<LoginError> for Reject {
    fn from(error: LoginError) -> Self {
        Self::Login(Box::new(error))
    }
}

impl Reject {
    /// What a client gets that `deny` keeps from passing by `route`. `return_to` is where a login would lead back.
    pub fn of(deny: Deny, route: &Route, return_to: impl FnOnce() -> String) -> Self {
        match deny {
            // A session would not help.
            Deny::NotSignedIn if !route.takes_sessions() => Self::NoCredential {
                advice: Advice::Token,
                unread: None,
                return_to: None,
            },
            // A program is led nowhere, whatever its request looks like.
            Deny::NotSignedIn if route.access == Access::Api => Self::Unauthorized,
            Deny::NotSignedIn => Self::SignIn {
                return_to: return_to(),
            },
            Deny::Closed => Self::Forbidden("access = \"deny\""),
            Deny::Elsewhere(denied) => Self::Elsewhere(denied),
            Deny::Barred(barred) => Self::Barred {
                barred,
                return_to: return_to(),
            },
            Deny::StepUp(insufficient) => {
                // Whoever comes with a credential would come back with the same.
                let is_led = route.access != Access::Api && insufficient.proof == Proof::Session;
                Self::StepUp {
                    return_to: is_led.then(return_to),
                    insufficient,
                }
            }
        }
    }

    /// The same for a program, which is told what it can send: a token, too, where the gate `takes_tokens`. `came` is what it has sent in vain.
    #[must_use]
    pub fn for_program(self, takes_tokens: bool, came: Option<&'static str>) -> Self {
        let advice = if takes_tokens {
            Advice::SessionOrToken
        } else {
            Advice::Session
        };
        match self {
            Self::SignIn { return_to } => Self::NoCredential {
                advice,
                unread: came,
                return_to: Some(return_to),
            },
            Self::Unauthorized => Self::NoCredential {
                advice,
                unread: came,
                return_to: None,
            },
            Self::NoCredential {
                advice, return_to, ..
            } => Self::NoCredential {
                advice,
                unread: came,
                return_to,
            },
            other => other,
        }
    }

    /// The same; where a person would be led to a login that cannot keep the way back, they are told so.
    #[must_use]
    pub fn or_too_long(self, audience: Audience) -> Self {
        match self {
            Self::SignIn { return_to }
                if audience == Audience::Navigation && return_to.len() > LONGEST_RETURN =>
            {
                Self::AddressTooLong
            }
            Self::StepUp {
                return_to: Some(return_to),
                ..
            } if audience == Audience::Navigation && return_to.len() > LONGEST_RETURN => {
                Self::AddressTooLong
            }
            Self::Unavailable {
                unavailable,
                return_to: Some(return_to),
            } if return_to.len() > LONGEST_RETURN => unavailable.into(),
            other => other,
        }
    }

    /// The path of the login that mends it, and leads back; none where no login does, or nobody is led to one.
    pub fn login(&self, site: &Site) -> Option<String> {
        match self {
            Self::SignIn { return_to }
            | Self::NoCredential {
                return_to: Some(return_to),
                ..
            } => Some(site.sign_in(return_to)),
            Self::StepUp {
                insufficient,
                return_to: Some(return_to),
            } => Some(site.step_up(return_to, &insufficient.step_up)),
            _ => None,
        }
    }

    /// The status that says so to a program.
    pub fn status(&self, site: &Site) -> StatusCode {
        self.explain(site).status
    }

    /// What the log and the metrics call it.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::SignIn { .. }
            | Self::AddressTooLong
            | Self::Unauthorized
            | Self::NoCredential { .. } => Verdict::SignIn,
            Self::StepUp { .. } => Verdict::StepUp,
            Self::NotExchanged(NotExchanged::Failed { .. }) => Verdict::TokenExchange,
            Self::Forbidden(_)
            | Self::SessionOnly
            | Self::Untold
            | Self::CrossSite(_)
            | Self::Barred { .. }
            | Self::Elsewhere(_)
            | Self::NotExchanged(_) => Verdict::Forbidden,
            Self::Misdirected => Verdict::Misdirected,
            Self::BadRequest(_) | Self::RequestTimeout(_) | Self::ContentTooLarge => {
                Verdict::BadRequest
            }
            Self::ClientGone => Verdict::ClientGone,
            Self::NotFound | Self::NoSuchToken => Verdict::NotFound,
            Self::MethodNotAllowed(_) => Verdict::MethodNotAllowed,
            Self::Login(_) => Verdict::LoginFailed,
            Self::ConfirmSignOut { .. } => Verdict::ConfirmSignOut,
            Self::StaleForm => Verdict::StaleForm,
            Self::SessionTooLarge => Verdict::SessionTooLarge,
            Self::Credential(Refused::Invalid(_)) => Verdict::InvalidCredential,
            Self::Unavailable { .. }
            | Self::NotKept(_)
            | Self::NotAudited(_)
            | Self::NoRoom
            | Self::Stopping
            | Self::Credential(Refused::Unavailable(_)) => Verdict::Unavailable,
            Self::TooManyRequests | Self::Credential(Refused::Throttled(_)) => {
                Verdict::TooManyRequests
            }
            Self::Limited(_) => Verdict::RateLimited,
            Self::BadGateway(_) | Self::OutOfService(_) => Verdict::BadGateway,
            Self::GatewayTimeout => Verdict::GatewayTimeout,
        }
    }

    /// What only the log may say.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::AddressTooLong => Some(format!(
                "the address has more than {LONGEST_RETURN} bytes and cannot be come back to"
            )),
            Self::Forbidden(rule) => Some((*rule).to_owned()),
            Self::NoCredential { unread, .. } => unread.map(str::to_owned),
            Self::SessionOnly => Some("another credential than a session".to_owned()),
            Self::Untold => Some(
                "no trusted proxy told which path is asked about, and routes narrow some"
                    .to_owned(),
            ),
            Self::CrossSite(what) => Some(what.rule().to_owned()),
            Self::Barred { barred, .. } => {
                let Denied { rule, held, .. } = &barred.denied;
                Some(match &barred.route {
                    Some(route) => format!("{}: allow.{rule}: {held}", route.name),
                    None => format!("{}: allow.{rule}: {held}", barred.provider),
                })
            }
            Self::Elsewhere(denied) => {
                let (route, Denied { rule, held, .. }) = &**denied;
                Some(format!("{}: allow.{rule}: {held}", route.name))
            }
            Self::StepUp { insufficient, .. } => Some(format!(
                "{}: {}",
                insufficient.route, insufficient.shortfall
            )),
            Self::Misdirected => {
                Some("the host is neither public_url's nor any route's".to_owned())
            }
            Self::RequestTimeout(None) => Some(
                "the body of a request to a route with tools did not come within 30 s".to_owned(),
            ),
            Self::BadRequest(sentence) => Some(sentence.clone().into_owned()),
            Self::Login(error) => Some(error.to_string()),
            Self::Unavailable { unavailable, .. } => Some(unavailable.to_string()),
            Self::NotKept(error) => Some(error.to_string()),
            Self::NotExchanged(why) => Some(format!("token_exchange: {why}")),
            Self::NotAudited(error) => Some(error.to_string()),
            Self::Credential(Refused::Invalid(why) | Refused::Unavailable(why)) => {
                Some(why.clone())
            }
            Self::Credential(Refused::Throttled(_)) => {
                Some("too many false credentials from there".to_owned())
            }
            Self::Limited(exceeded) => Some(exceeded.rule.clone()),
            Self::TooManyRequests => Some("limits.requests_per_client".to_owned()),
            _ => None,
        }
    }
}
