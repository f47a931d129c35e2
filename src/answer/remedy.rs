//! What an operator can do about a refusal. Only for the log.

use super::{BadGateway, CrossSite, Reject};
use crate::{
    body_error::SLOW_UPLOAD, credential::Refused, login::LoginError, provider::error::Misfit,
};

impl Reject {
    /// What to do about it, where it is more than an everyday answer.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Forbidden(_) => "if this should be open, change the route's access",
            Self::CrossSite(what) => what.remedy(),
            Self::Barred { barred, .. } => match barred.denied.held.withheld() {
                Some(why) => Misfit::Withheld(why).remedy(),
                None => ALLOW,
            },
            Self::Elsewhere(_) => {
                "if they should pass, add their network to the route's networks; behind a proxy, name it in trusted_proxies"
            }
            Self::Misdirected => {
                "if the gate should serve this host, give a route with it, or write it as public_url"
            }
            Self::Login(error) => return login(error),
            Self::SessionTooLarge => {
                "set session.store to \"memory\" or Redis, or ask the provider for fewer claims"
            }
            Self::Unavailable { .. } | Self::NotKept(_) => {
                "see that the session store and the provider can be reached; /ready on admin_listen names what is missing"
            }
            Self::NotAudited(_) => {
                "see why the file of audit.to cannot be written; the log's line above says it"
            }
            Self::Credential(Refused::Unavailable(_)) => {
                "see that whoever vouches for the credential can be reached: the provider, or the store of tokens"
            }
            Self::Credential(Refused::Invalid(_)) => {
                "whoever sent it needs one that is good here; the detail says what is wrong with this one"
            }
            Self::RequestTimeout(Some(_)) => SLOW_UPLOAD,
            Self::StaleForm => {
                "if it happens to everybody, see that public_url is the address that browsers use, and that a proxy passes Origin on"
            }
            Self::Limited(_) => "if they may come so often, raise the route's limit",
            Self::TooManyRequests => {
                "raise limits.requests_per_client; if it is a proxy, name it in trusted_proxies"
            }
            Self::ContentTooLarge => "if it may be so large, raise the upstream's max_body",
            Self::OutOfService(_) => {
                "see that the app runs and listens at one of the upstream's addresses; each is tried again soon"
            }
            Self::NoRoom => "raise the limit on open files (ulimit -n, LimitNOFILE)",
            Self::NotExchanged(why) => why.remedy(),
            Self::BadGateway(why) => why.remedy(),
            Self::GatewayTimeout => {
                "see why the app is slow, or raise upstream_timeout (head_timeout of its upstream) if it may take so long"
            }
            Self::Untold => "set trusted_proxies and forward_auth",
            Self::SignIn { .. }
            | Self::Unauthorized
            | Self::NoCredential { .. }
            | Self::SessionOnly
            | Self::StepUp { .. }
            | Self::Credential(_)
            | Self::AddressTooLong
            | Self::BadRequest(_)
            | Self::RequestTimeout(None)
            | Self::ClientGone
            | Self::NotFound
            | Self::NoSuchToken
            | Self::MethodNotAllowed(_)
            | Self::Stopping
            | Self::ConfirmSignOut { .. } => return None,
        })
    }
}

impl BadGateway {
    fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "see that the app runs and listens at upstream",
            Self::Handshake => "see what the detail says of the app's TLS, or HTTP/2",
            Self::Closed => {
                "the app closed the connection without an answer: see its own log, and whether it ends or restarts"
            }
            Self::Malformed => {
                "the app's answer is no HTTP that can be passed on: mend what the detail says, or see what listens at upstream; where its table has http2 = true, see that it speaks HTTP/2"
            }
            Self::Switched => {
                "see that the app answers 101 only to requests that ask for it, and names the protocol that they offer"
            }
        }
    }
}

impl CrossSite {
    fn remedy(self) -> &'static str {
        match self {
            Self::Write => {
                "if pages of other sites should send such requests, set cross_site = \"allow\""
            }
            Self::Upgrade => {
                "if that site's pages should open it, name its host in redirect_hosts; behind a proxy that rewrites Host, see that it is in trusted_proxies"
            }
            Self::Call => {
                "if that site's pages should call it, serve them over https; where they are the app's own, see that public_url or the route's host is their address"
            }
        }
    }
}

/// By the code with which the provider sent the browser back (RFC 6749 §4.1.2.1, Core §3.1.2.6).
fn answered(code: &str) -> &'static str {
    match code {
        "access_denied" => {
            "the user said no, or the provider does not let them use this client: its own log says which"
        }
        "login_required"
        | "consent_required"
        | "interaction_required"
        | "account_selection_required" => {
            "the provider wants the user to do something there: if it happens to everybody, see what it asks of this client's users, or consent for all of them"
        }
        "server_error" | "temporarily_unavailable" => {
            "see whether the provider works; its own log says more"
        }
        "unauthorized_client" | "unsupported_response_type" => {
            "allow this client the authorization code flow at the provider, and see client_id"
        }
        "invalid_scope" => Misfit::Scope.remedy(),
        _ => {
            "see that client_id, the redirect address and the scopes are registered at the provider"
        }
    }
}

const ALLOW: &str = "if they should pass, name them, or a group of theirs, in allow";

fn login(error: &LoginError) -> Option<&'static str> {
    Some(match error {
        LoginError::UnknownProvider => "see that the link names a table under [providers]",
        LoginError::TooMany { .. } => {
            "if many people share this address behind a proxy, name the proxy in trusted_proxies"
        }
        LoginError::Crowded => {
            "if nobody attacks, add replicas: each remembers a bounded number of logins for some minutes"
        }
        LoginError::OtherBrowser(_) => {
            "if it happens to everybody, see that public_url is the address that browsers use"
        }
        LoginError::State | LoginError::OtherProvider => {
            "if it happens to everybody, see that all replicas have the same session.secret"
        }
        LoginError::OtherIssuer(_) => {
            "if it happens to everybody, write issuer as the provider does; otherwise somebody made up the address"
        }
        LoginError::Answered { code, .. } => answered(code),
        LoginError::NotAllowed { .. } => ALLOW,
        LoginError::Insufficient { .. } => {
            "see that the provider honours max_age and acr_values and tells auth_time and acr in its ID tokens, or take them off the route"
        }
        LoginError::Provider { error, .. } => error.remedy(),
        LoginError::Callback(_) | LoginError::Expired(_) | LoginError::Spent(_) => return None,
    })
}
