//! The verdict on a request, as the log and the metrics name it.

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
    /// A signed-in user was let through. For `/oauth2/auth`: may be let through.
    Pass = "pass",
    /// The route needs no login, and the app did not get a user.
    Public = "public",
    /// One of the gate's own endpoints answered: `/oauth2/ping`, `/oauth2/ready`, the sign-in page, `/oauth2/userinfo`.
    Own = "own",
    /// Nobody is signed in: a browser was sent to the login, a program got 401.
    SignIn = "sign_in",
    /// The route needs a fresh login (`max_age`, `acr_values`): a browser was sent to the login, a program got 401.
    StepUp = "step_up",
    /// 401: the request has a token or password that is wrong, has ended, or is for something else. `detail` says which.
    InvalidCredential = "invalid_credential",
    /// The client left before there was an answer, or a stop was over (`ended` is `stop`).
    ClientGone = "client_gone",
    /// A login begins: the browser was sent to the provider.
    Login = "login",
    /// A login has succeeded.
    Callback = "callback",
    /// A user signed out, or was redirected back after it.
    SignOut = "sign_out",
    /// The account page, or a sign-out from there.
    Account = "account",
    /// A provider reported a sign-out there. If it was rejected, `detail` says why.
    BackchannelLogout = "backchannel_logout",
    /// The same, through the browser.
    FrontchannelLogout = "frontchannel_logout",
    /// 421: routes use hosts, and neither a route nor `public_url` names the host of this request.
    Misdirected = "misdirected",
    /// 403: `allow` does not name the user, or the route is closed. `detail` says which.
    Forbidden = "forbidden",
    /// 400: the request cannot be judged, for example because its path can be read in two ways. 408, 413: its body came too slowly, or is too large.
    BadRequest = "bad_request",
    /// There is no endpoint at this address below the prefix.
    NotFound = "not_found",
    /// One of the gate's own endpoints does not accept this method.
    MethodNotAllowed = "method_not_allowed",
    /// A login has failed. `detail` says why: cancelled, too late, not in `allow`, refused by the provider.
    LoginFailed = "login_failed",
    /// A sign-out came from another site. A page asks the user to confirm it.
    ConfirmSignOut = "confirm_sign_out",
    /// A form of the account page came from another site, or was out of date.
    StaleForm = "stale_form",
    /// The session does not fit into cookies: see [sessions](sessions.md).
    SessionTooLarge = "session_too_large",
    /// 503: a session could not be read, refreshed or stored, because Redis or the provider is away, or there was no room for another connection to the app, or the gate stopped before the app answered. `detail` says which.
    Unavailable = "unavailable",
    /// 429: the client has as many running requests as `limits.requests_per_client` allows.
    TooManyRequests = "too_many_requests",
    /// 429: the route's [`limit`](rate-limits.md) is used up. `detail` says which.
    RateLimited = "rate_limited",
    /// The app could not be reached, or broke off before its answer. `detail` says how.
    BadGateway = "bad_gateway",
    /// 502 or 503: the provider gave no token for the app ([`token_exchange`](token-exchange.md)). `detail` says why.
    TokenExchange = "token_exchange",
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
                | Self::TokenExchange
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
        let rows = documented("docs/logging.md", "## Verdicts");
        let expected: Vec<_> = Verdict::ALL
            .iter()
            .map(|verdict| {
                (
                    verdict.name().to_owned(),
                    verdict.meaning().trim().to_owned(),
                )
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_verdict_stands_at_its_place() {
        for (place, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(verdict.index(), place);
        }
    }
}
