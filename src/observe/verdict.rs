//! What was decided about a request, as the log and the metrics name it.

use std::fmt;

use serde::{Serialize, Serializer};

/// Declares the verdicts. Each has a variant, the name that operators read, and the meaning that `docs/logging.md` tells.
macro_rules! verdicts {
    ($(#[doc = $meaning:literal] $variant:ident = $name:literal,)*) => {
        /// What was decided about a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verdict {
            $(#[doc = $meaning] $variant,)*
        }

        impl Verdict {
            /// Every verdict, in the order of the documentation. A verdict's place is its discriminant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the log and in the label `verdict` of metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The meaning, as `docs/logging.md` tells it.
            #[cfg(test)]
            const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

verdicts! {
    /// Somebody who is signed in was let through; for `/oauth2/auth`, may be.
    Pass = "pass",
    /// The route asks nobody, and the app was told of nobody.
    Public = "public",
    /// One of the gate's own addresses answered: `/oauth2/ping`, `/oauth2/ready`, the page to sign in, `/oauth2/userinfo`.
    Own = "own",
    /// Nobody is signed in: a browser was sent to the login, a program got 401.
    SignIn = "sign_in",
    /// Whoever is signed in has to authenticate anew for this route (`max_age`, `acr_values`): a browser was sent to the login, a program got 401.
    StepUp = "step_up",
    /// 401: a token or a password came that is false, has ended, or is for something else; `detail` says which.
    InvalidCredential = "invalid_credential",
    /// The client went away before there was an answer.
    ClientGone = "client_gone",
    /// A login begins: the browser was sent to the provider.
    Login = "login",
    /// A login came to its end, and somebody is signed in.
    Callback = "callback",
    /// Somebody signed out, or was led back after it.
    SignOut = "sign_out",
    /// The account's page, or a sign-out asked for there.
    Account = "account",
    /// A provider said that somebody has signed out there; `detail` says why, if it was not believed.
    BackchannelLogout = "backchannel_logout",
    /// The same through the browser.
    FrontchannelLogout = "frontchannel_logout",
    /// 421: routes go by hosts, and the request came for a host that neither a route nor `public_url` names.
    Misdirected = "misdirected",
    /// 403: `allow` does not name who is signed in, or the route is closed; `detail` says which of them.
    Forbidden = "forbidden",
    /// 400: the request cannot be judged, a path that can be read in two ways for instance.
    BadRequest = "bad_request",
    /// There is nothing at this address below the prefix.
    NotFound = "not_found",
    /// One of the gate's own addresses does not take this method.
    MethodNotAllowed = "method_not_allowed",
    /// A login did not come to its end; `detail` says why: cancelled, too late, not in `allow`, the provider refused.
    LoginFailed = "login_failed",
    /// A sign-out came from another site, and a page asks whether it is wanted.
    ConfirmSignOut = "confirm_sign_out",
    /// A form of the account's page came from another site, or was out of date.
    StaleForm = "stale_form",
    /// The session does not fit into cookies: see [sessions](sessions.md).
    SessionTooLarge = "session_too_large",
    /// Whether somebody is signed in could not be found out, or a login could not be kept: Redis, or the provider at a renewal.
    Unavailable = "unavailable",
    /// 429: the client has as many requests under way as `limits.requests_per_client` lets it have.
    TooManyRequests = "too_many_requests",
    /// 429: the route's [`limit`](rate-limits.md) is used up; `detail` says which.
    RateLimited = "rate_limited",
    /// The app could not be reached, or broke off before its answer; `detail` says how.
    BadGateway = "bad_gateway",
    /// The app did not begin its answer within `upstream_timeout`.
    GatewayTimeout = "gateway_timeout",
}

impl Verdict {
    /// Its place among [`Verdict::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Whether something broke, whatever the status says: a gRPC client is told by another one, under 200.
    pub(super) const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::LoginFailed
                | Self::Unavailable
                | Self::BadGateway
                | Self::GatewayTimeout
                | Self::SessionTooLarge
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::documented;

    #[test]
    fn every_verdict_is_documented_with_its_meaning() {
        let told = documented("docs/logging.md", "## Verdicts");
        let expected: Vec<_> = Verdict::ALL
            .iter()
            .map(|verdict| {
                (
                    verdict.name().to_owned(),
                    verdict.meaning().trim().to_owned(),
                )
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_verdict_stands_at_its_place() {
        for (place, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(verdict.index(), place);
        }
    }
}
