//! Why a login failed, who can fix it, and what the user reads.

use std::time::Duration;

use http::StatusCode;

use super::return_to::ReturnTo;
use crate::{
    access::{Shortfall, StepUp, allow::Denied},
    identity::Identity,
    provider::{
        ProviderError,
        error::{Misfit, is_outage_code},
    },
    text::Text,
};

/// Its `Display` is for the log and holds no token, code, state or cookie.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    /// No such provider.
    #[error("no provider of that name is configured")]
    UnknownProvider,
    /// The callback's query is no authorization response.
    #[error("callback: {0}")]
    Callback(&'static str),
    /// There is no state, or not one that this gate made.
    #[error("state is missing or not ours")]
    State,
    /// Too many logins from one address that led nowhere.
    #[error("too many logins from this address that led nowhere")]
    TooMany {
        /// How long until the next.
        wait: Duration,
    },
    /// More logins ended lately than can be remembered; nothing is spent.
    #[error("too many logins lately: no room to remember another one")]
    Crowded,
    /// The state was made for another provider's callback: a mix-up, or an attempt at one.
    #[error("state belongs to another provider's callback")]
    OtherProvider,
    /// `iss` (RFC 9207) is not the provider's, or is missing where the provider promised it. Anybody can write an address,
    /// so the provider is not blamed.
    #[error(
        "iss in the callback is not the issuer of the configuration, or is missing though the provider promises it (RFC 9207)"
    )]
    OtherIssuer(Restart),
    /// The state was made for another browser: cookies are off, several tabs began at once without
    /// one, or somebody planted their own login here.
    #[error("state belongs to another browser")]
    OtherBrowser(Restart),
    /// The login took too long.
    #[error("the login took too long")]
    Expired(Restart),
    /// The login had ended already, with another code or some time ago.
    #[error("the login had ended already")]
    Spent(Restart),
    /// The provider sent the browser back with an error (RFC 6749 §4.1.2.1).
    #[error("the provider answered {code}{}", .description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Answered {
        /// The `error` code, printable ASCII, cut short.
        code: String,
        /// The `error_description`, printable ASCII, cut at 200. Hostile text: escape it.
        description: Option<String>,
        /// Where to begin anew.
        again: Restart,
    },
    /// The provider says who it is, and that somebody may not pass.
    #[error("{}: allow.{} denies {user}: {}", again.provider, denied.rule, denied.held)]
    NotAllowed {
        /// As whom they are signed in at the provider.
        user: Text,
        /// The rule and the sentence.
        denied: Denied,
        /// What the provider said of them.
        identity: Box<Identity>,
        /// Where to begin anew, with another account.
        again: Restart,
    },
    /// A fresh login was asked for, or one of some class, and the provider's was neither, or did not say so.
    #[error("provider {}: asked for a fresh login or another acr: {shortfall}", again.provider)]
    Insufficient {
        /// What is missing.
        shortfall: Shortfall,
        /// Where to begin anew, with what is asked.
        again: Restart,
    },
    /// The provider cannot be used: down, or misbehaving.
    #[error("provider {}: {error}{}", again.provider, .error.specific_remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
    Provider {
        /// What is wrong.
        error: ProviderError,
        /// Where to begin anew.
        again: Restart,
    },
}

/// What it takes to begin a failed login anew. `return_to` is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// At which provider.
    pub provider: String,
    /// Where the browser wanted to go.
    pub return_to: ReturnTo,
    /// How many failed logins this one had itself taken the place of.
    pub times: u8,
    /// What was asked of it.
    pub step_up: Box<StepUp>,
    /// Whether an earlier one was not fresh although that was asked for.
    pub reauthenticate: bool,
}

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request: forged, stale, or without cookies.
    Browser,
    /// The person: said no, or may not pass.
    User,
    /// The provider, or how the gate is set up there.
    Provider,
}

impl LoginError {
    /// Whose fault it is. Good for a metric's label.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownProvider
            | Self::Callback(_)
            | Self::State
            | Self::TooMany { .. }
            | Self::Crowded
            | Self::OtherProvider
            | Self::OtherIssuer(_)
            | Self::OtherBrowser(_)
            | Self::Expired(_)
            | Self::Spent(_) => Fault::Browser,
            Self::NotAllowed { .. } => Fault::User,
            Self::Answered { code, .. } if is_users_choice(code) => Fault::User,
            // The code was kept too long, or has been used before.
            Self::Provider { error, .. } if error.is_invalid_grant() => Fault::Browser,
            Self::Answered { .. } | Self::Provider { .. } | Self::Insufficient { .. } => {
                Fault::Provider
            }
        }
    }

    /// The status of the page that tells it.
    pub fn status(&self) -> StatusCode {
        match (self, self.fault()) {
            (Self::UnknownProvider, _) => StatusCode::NOT_FOUND,
            (Self::TooMany { .. }, _) => StatusCode::TOO_MANY_REQUESTS,
            (Self::Crowded, _) => StatusCode::SERVICE_UNAVAILABLE,
            (_, Fault::Browser) => StatusCode::BAD_REQUEST,
            (Self::Insufficient { .. }, _) | (_, Fault::User) => StatusCode::FORBIDDEN,
            (_, Fault::Provider) if self.is_outage() => StatusCode::SERVICE_UNAVAILABLE,
            (_, Fault::Provider) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether trying again later may help.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Answered { code, .. } => is_outage_code(code),
            Self::Provider { error, .. } => error.is_outage(),
            _ => false,
        }
    }

    /// What the person reads. Holds nothing that a provider or a request said.
    pub fn sentence(&self) -> &'static str {
        match self {
            Self::UnknownProvider => "There is no such way to sign in here.",
            Self::Callback(_) | Self::State | Self::OtherProvider => {
                "This address does not belong to a sign-in that began here. Please start again."
            }
            Self::TooMany { .. } => {
                "Many sign-ins were begun from your network lately and did not come to an end. Please \
                 wait a few seconds and try again."
            }
            Self::Crowded => {
                "Very many people are signing in at the moment. Nothing is lost: please try again in a minute."
            }
            Self::OtherIssuer(_) => {
                "This answer is not from where the sign-in began. Please start again; if it happens again, tell whoever \
                 runs this site."
            }
            Self::OtherBrowser(_) => {
                "This sign-in did not begin in this browser, or the browser does not keep cookies. \
                 Please start again."
            }
            Self::Expired(_) => "This sign-in took too long. Please start again.",
            Self::Spent(_) => "This sign-in has already ended. Please start again.",
            Self::NotAllowed { denied, .. } => denied.sentence,
            Self::Insufficient { shortfall, .. } => match shortfall {
                Shortfall::AgeUnknown => {
                    "This asks for a fresh sign-in, and your provider did not say when you signed in there. Please tell whoever \
                     runs this site."
                }
                Shortfall::AheadOfTime => {
                    "This asks for a fresh sign-in, and your provider says that you signed in at a time that is yet to come. \
                     Please tell whoever runs this site."
                }
                Shortfall::TooOld(_) => {
                    "This asks for a fresh sign-in, and your provider took an earlier one instead. Sign out there, and sign in \
                     again."
                }
                Shortfall::OtherClass => {
                    "This asks for a stronger sign-in than your provider gave. Sign in again in another way, or tell whoever \
                     runs this site."
                }
            },
            Self::Answered { code, .. } if code == "access_denied" => {
                "The provider did not let you sign in, or you chose not to."
            }
            Self::Answered { .. } if self.fault() == Fault::User => {
                "The provider needs you to do something first. Please start again."
            }
            _ if self.is_outage() => {
                "The provider cannot be reached at the moment. Please try again in a moment."
            }
            Self::Provider { error, .. } if error.is_invalid_grant() => {
                "The provider no longer accepts this sign-in. Please start again."
            }
            Self::Answered { code, .. } if code == "invalid_scope" => misfit(Misfit::Scope),
            Self::Answered { code, .. } if code == "unauthorized_client" => {
                "The provider does not let this site sign anybody in: the site is not allowed to there, or not in this way. \
                 Please tell whoever runs this site."
            }
            Self::Provider { error, .. } => error.misfit().map_or(UNUSABLE, misfit),
            Self::Answered { .. } => UNUSABLE,
        }
    }

    /// The provider's own words, to be shown as such. Hostile text: escape it.
    pub fn providers_words(&self) -> Option<&str> {
        match self {
            Self::Answered { description, .. } => description.as_deref(),
            _ => None,
        }
    }

    /// Where a new login may begin.
    pub fn start_again(&self) -> Option<&Restart> {
        match self {
            Self::UnknownProvider
            | Self::Callback(_)
            | Self::State
            | Self::TooMany { .. }
            | Self::Crowded
            | Self::OtherProvider => None,
            Self::OtherIssuer(again)
            | Self::OtherBrowser(again)
            | Self::Expired(again)
            | Self::Spent(again)
            | Self::Answered { again, .. }
            | Self::NotAllowed { again, .. }
            | Self::Insufficient { again, .. }
            | Self::Provider { again, .. } => Some(again),
        }
    }
}

const UNUSABLE: &str = "The provider's answer cannot be used. Please tell whoever runs this site.";

/// What does not fit, for people: enough to tell whoever runs the site. The log says what to try.
fn misfit(misfit: Misfit) -> &'static str {
    match misfit {
        Misfit::Secret => {
            "This site could not prove to the provider who it is: its client secret is wrong, or sent in the \
             wrong way. Please tell whoever runs this site."
        }
        Misfit::Scope => {
            "This site asks the provider for a scope that it does not get there. Please tell whoever runs \
             this site."
        }
        Misfit::Issuer => {
            "The provider calls itself by another issuer than this site knows it by. Please tell whoever runs \
             this site."
        }
        Misfit::Clock => {
            "This site's clock and the provider's are too far apart. Please tell whoever runs this site."
        }
        Misfit::Withheld(why) => why.sentence(),
        Misfit::MetadataTooLarge => {
            "The provider says more about itself than this site takes. Please ask whoever runs this site to raise \
             limits.provider_response."
        }
        Misfit::TooLarge => {
            "The provider says more about your account than this site takes. Please ask whoever runs this site \
             to raise limits.provider_response, or to have the provider send fewer groups."
        }
    }
}

/// RFC 6749 §4.1.2.1 and Core §3.1.2.6: a person has to act, or has chosen not to.
fn is_users_choice(code: &str) -> bool {
    matches!(
        code,
        "access_denied"
            | "login_required"
            | "consent_required"
            | "interaction_required"
            | "account_selection_required"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str) -> LoginError {
        LoginError::Answered {
            code: code.to_owned(),
            description: None,
            again: Restart {
                provider: "corp".to_owned(),
                return_to: ReturnTo::root(),
                times: 0,
                step_up: Box::default(),
                reauthenticate: false,
            },
        }
    }

    #[test]
    fn faults_have_their_status() {
        for (error, fault, status) in [
            (LoginError::UnknownProvider, Fault::Browser, 404),
            (LoginError::State, Fault::Browser, 400),
            (
                LoginError::TooMany {
                    wait: Duration::from_secs(3),
                },
                Fault::Browser,
                429,
            ),
            (LoginError::Crowded, Fault::Browser, 503),
            (answered("access_denied"), Fault::User, 403),
            (answered("login_required"), Fault::User, 403),
            (answered("server_error"), Fault::Provider, 503),
            (answered("invalid_scope"), Fault::Provider, 502),
        ] {
            assert_eq!(error.fault(), fault, "{error}");
            assert_eq!(error.status(), status, "{error}");
            assert!(!error.sentence().is_empty());
        }
    }
}
