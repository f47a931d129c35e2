//! Why a provider could not identify a user.

use std::fmt;

use http::StatusCode;

use super::{claims::ClaimError, http::HttpError};
use crate::{
    identity::Withheld,
    jose::JwtError,
    provider::{
        bearer::{SignedFlaw, TokenFlaw},
        token_error::LogoutTokenError,
    },
};

/// Its `Display` is for the log: no token, code or secret, and the provider's own words only as
/// printable ASCII, cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// A call failed.
    #[error("{call}: {error}")]
    Http {
        /// Which call.
        call: Call,
        /// How.
        error: HttpError,
    },
    /// A call was answered with something that the standards, or we, do not accept.
    #[error("{call}: {problem}")]
    Answer {
        /// Which call.
        call: Call,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The discovery document is of another issuer (Discovery §4.3).
    #[error(
        "discovery: the provider's issuer is \"{published}\", the configured one \"{configured}\""
    )]
    OtherIssuer {
        /// As the configuration has it.
        configured: String,
        /// As the document has it, printable and cut short.
        published: String,
    },
    /// The token endpoint said no (RFC 6749 §5.2).
    #[error("token endpoint refused: {code}{}", .description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The `error` code.
        code: String,
        /// The `error_description`.
        description: Option<String>,
    },
    /// The `iss` parameter names another issuer, or is missing though promised (RFC 9207 §2.4).
    #[error("the authorization response's iss is missing or not this provider's")]
    Issuer,
    /// The ID token does not hold.
    #[error("ID token: {0}")]
    IdToken(#[from] JwtError),
    /// The access token that claims are to be taken from does not hold.
    #[error("access token (claims_from): {0}")]
    AccessToken(JwtError),
    /// The logout token does not hold.
    #[error("logout token: {0}")]
    LogoutToken(#[from] LogoutTokenError),
    /// A bearer token that the provider signed is not good.
    #[error("bearer token: {0}")]
    Bearer(#[from] SignedFlaw),
    /// A bearer token for which the provider was asked is not good.
    #[error("bearer token: {0}")]
    Token(#[from] TokenFlaw),
    /// The provider's signature below an answer about a token does not hold (RFC 9701).
    #[error("introspection endpoint: the signed answer does not hold: {0}")]
    SignedAnswer(JwtError),
    /// It says that there is something where an allow list looks, and not what. That must not be taken for nothing.
    #[error("the provider withholds the claim \"{claim}\", for which an allow list asks, {why}")]
    Withheld {
        /// The path of the claim.
        claim: String,
        /// Why it does.
        why: Withheld,
    },
    /// The claims do not make an identity.
    #[error("claims: {0}")]
    Claims(#[from] ClaimError),
}

impl ProviderError {
    /// Whether trying again later may help.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Http { error, .. } => error.is_outage(),
            Self::Refused { code, .. } => is_outage_code(code),
            _ => false,
        }
    }

    /// Whether a bearer token is to blame, and neither the provider nor the way there.
    pub fn is_of_token(&self) -> bool {
        match self {
            Self::Bearer(_)
            | Self::Token(_)
            | Self::IdToken(_)
            | Self::Claims(_)
            | Self::Withheld { .. } => true,
            // What its holder may not be asked with it.
            Self::Answer { call, .. } => matches!(
                call,
                Call::Token | Call::Userinfo | Call::Emails | Call::Memberships | Call::Groups
            ),
            _ => false,
        }
    }

    /// Whether the refusal of a bearer token is worth remembering: the provider has said it, of the token or of its user.
    pub fn is_worth_remembering(&self) -> bool {
        match self {
            // What is signed is judged without a call, and what cannot be read may be read in a moment.
            Self::Bearer(_) | Self::Token(TokenFlaw::Unreadable) => false,
            error => error.is_of_token(),
        }
    }

    /// What of the gate's own setup is wrong, where the provider's answer tells.
    pub fn misfit(&self) -> Option<Misfit> {
        match self {
            _ if self.is_invalid_client() => Some(Misfit::Secret),
            Self::Refused { code, .. } if code == "invalid_scope" => Some(Misfit::Scope),
            Self::OtherIssuer { .. } | Self::Issuer | Self::IdToken(JwtError::Issuer) => {
                Some(Misfit::Issuer)
            }
            Self::IdToken(JwtError::Expired | JwtError::IssuedAt | JwtError::NotBefore) => {
                Some(Misfit::Clock)
            }
            Self::Http {
                call,
                error: HttpError::TooLarge { .. },
            } => Some(match call {
                Call::Discovery | Call::Keys => Misfit::MetadataTooLarge,
                _ => Misfit::TooLarge,
            }),
            Self::Withheld { why, .. } => Some(Misfit::Withheld(*why)),
            _ => None,
        }
    }

    /// What whoever runs the gate can try, for the log.
    pub fn specific_remedy(&self) -> Option<&'static str> {
        if let Some(misfit) = self.misfit() {
            return Some(misfit.remedy());
        }
        let error = match self {
            Self::AccessToken(_) => return Some(CLAIMS_FROM),
            Self::Http { error, .. } => error,
            _ => return None,
        };
        match error {
            HttpError::Tls { reason, .. } => Some(tls(reason)),
            HttpError::Proxy { status, .. }
                if *status == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                Some("put user and password into proxy_url")
            }
            HttpError::Proxy { .. } => Some("see NO_PROXY, or what the proxy allows"),
            _ => None,
        }
    }

    /// Whether the code or the refresh token is no good any more (RFC 6749 §5.2).
    pub fn is_invalid_grant(&self) -> bool {
        // GitHub has words of its own.
        let spent = |code: &str| {
            matches!(
                code,
                "invalid_grant" | "bad_verification_code" | "bad_refresh_token"
            )
        };
        matches!(self, Self::Refused { code, .. } if spent(code))
    }

    /// Whether a refresh token is no good any more, or only together with a person: some servers ask for a second
    /// factor or a consent again, in the words of OpenID Connect Core §3.1.2.6.
    pub fn ends_grant(&self) -> bool {
        let needs_person = |code: &str| {
            matches!(
                code,
                "interaction_required"
                    | "login_required"
                    | "consent_required"
                    | "account_selection_required"
            )
        };
        self.is_invalid_grant() || matches!(self, Self::Refused { code, .. } if needs_person(code))
    }

    /// Whether a refresh token may have been spent by the refresh that failed so: it was sent, and nothing says that it was
    /// turned away. A provider that rotates tokens takes a second use for a theft (RFC 9700 §4.14.2).
    pub fn may_have_spent(&self) -> bool {
        match self {
            Self::Http { call, error } => *call == Call::Token && error.may_have_been_heeded(),
            Self::Answer { call, .. } => *call == Call::Token,
            // Of the ID token that came with the new one.
            Self::Withheld { .. } => true,
            _ => false,
        }
    }

    /// Whether the token endpoint does not take the client's secret (RFC 6749 §5.2). Clients are looked at
    /// before codes, so the code is still good.
    pub fn is_invalid_client(&self) -> bool {
        match self {
            // Keycloak says `unauthorized_client`, GitHub its own word.
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "invalid_client" | "unauthorized_client" | "incorrect_client_credentials"
            ),
            Self::Http { call, error } => {
                matches!(call, Call::Token | Call::TokenExchange)
                    && *error == HttpError::Status(StatusCode::UNAUTHORIZED)
            }
            _ => false,
        }
    }
}

/// What of the gate's setup does not fit the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The client's id or secret, or how it is sent.
    Secret,
    /// A scope that the provider does not know, or does not give to this client.
    Scope,
    /// The issuer's name.
    Issuer,
    /// One of the two clocks.
    Clock,
    /// The provider says more of a user than we take.
    TooLarge,
    /// The provider says more of itself than we take.
    MetadataTooLarge,
    /// The provider does not send what rules ask for.
    Withheld(Withheld),
}

impl Misfit {
    /// For the log.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Secret => {
                "see client_id and client_secret, or try client_auth = \"post\" or \"basic\": `sidegate check --online` tries \
                 them"
            }
            Self::Scope => "take it out of scopes, or allow it to this client at the provider",
            Self::Issuer => "write issuer as the provider does, to the slash at its end",
            Self::Clock => "set the clocks: `sidegate check --online` says how far apart they are",
            Self::TooLarge => {
                "raise limits.provider_response, or have the provider send less (groups, claims)"
            }
            Self::MetadataTooLarge => {
                "raise limits.provider_response: the provider's own metadata or keys are larger"
            }
            // Entra ID names no group if they are too many.
            Self::Withheld(Withheld::TooMany) => {
                "have the provider send fewer groups: in Entra ID only those assigned to the application, or app roles"
            }
            Self::Withheld(Withheld::Elsewhere) => {
                "have the provider send the claim itself: the gate does not follow _claim_names"
            }
        }
    }
}

/// What to do about an access token that claims cannot be taken from.
const CLAIMS_FROM: &str = "claims_from takes claims from the access token, which only some providers sign: take \
                           \"access_token\" out of it, or have the provider sign access tokens whose azp or aud is this client";

/// What to do about a TLS handshake that failed for this `reason`, in the words of rustls.
fn tls(reason: &str) -> &'static str {
    // Where it has the circumstances, it has words of its own for them.
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["CaUsedAsEndEntity", "UnsupportedCertVersion"]) {
        "its certificate must be one of a server, version 3, and not the authority's own"
    } else if says(&["NotValidForName", "not valid for name"]) {
        "write its address with a name that its certificate has"
    } else if says(&["Expired", "expired", "NotValidYet", "not valid yet"]) {
        "have its certificate renewed, or set this machine's clock"
    } else {
        "where an own authority signed its certificate, name that by ca"
    }
}

/// Whether an OAuth error code speaks of the provider's state (RFC 6749 §4.1.2.1).
pub(crate) fn is_outage_code(code: &str) -> bool {
    matches!(code, "server_error" | "temporarily_unavailable")
}

/// The calls that a provider gets from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The discovery document.
    Discovery,
    /// The key set.
    Keys,
    /// The token endpoint.
    Token,
    /// The userinfo endpoint.
    Userinfo,
    /// Where a provider has addresses of email apart.
    Emails,
    /// Where a provider has organisations, teams or guilds apart.
    Memberships,
    /// Where groups are listed, apart from userinfo.
    Groups,
    /// Where tokens are taken back.
    Revocation,
    /// Where tokens are asked about.
    Introspection,
    /// The token endpoint, for a token that is exchanged.
    TokenExchange,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Discovery => "discovery",
            Self::Keys => "key set",
            Self::Token => "token endpoint",
            Self::Userinfo => "userinfo endpoint",
            Self::Emails => "emails endpoint",
            Self::Memberships => "memberships endpoint",
            Self::Groups => "groups endpoint",
            Self::Revocation => "revocation endpoint",
            Self::Introspection => "introspection endpoint",
            Self::TokenExchange => "token exchange",
        })
    }
}

/// A provider's words as they may be shown or logged: printable ASCII without `"` and `\`
/// (RFC 6749 §5.2 allows no more), cut at `limit`. They are hostile text: a page must still escape them.
pub(crate) fn printable(text: &str, limit: usize) -> Option<String> {
    let clean: String = text
        .chars()
        .filter(|&letter| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\'))
        .take(limit)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio_rustls::rustls::{
        self, CertificateError, OtherError,
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    #[test]
    fn what_does_not_fit_is_told_by_its_class() {
        let refused = |code: &str| ProviderError::Refused {
            code: code.to_owned(),
            description: None,
        };
        let http = |call, error| ProviderError::Http { call, error };
        for (error, misfit) in [
            (refused("invalid_client"), Some(Misfit::Secret)),
            (
                refused("incorrect_client_credentials"),
                Some(Misfit::Secret),
            ),
            (refused("invalid_scope"), Some(Misfit::Scope)),
            (refused("invalid_grant"), None),
            (ProviderError::Issuer, Some(Misfit::Issuer)),
            (JwtError::Issuer.into(), Some(Misfit::Issuer)),
            (JwtError::Expired.into(), Some(Misfit::Clock)),
            (JwtError::IssuedAt.into(), Some(Misfit::Clock)),
            (JwtError::Signature.into(), None),
            (
                http(Call::Keys, HttpError::TooLarge { limit: 1 }),
                Some(Misfit::MetadataTooLarge),
            ),
            (
                http(Call::Userinfo, HttpError::TooLarge { limit: 1 }),
                Some(Misfit::TooLarge),
            ),
            (http(Call::Token, HttpError::Timeout), None),
        ] {
            assert_eq!(error.misfit(), misfit, "{error}");
            assert_eq!(
                error.specific_remedy().is_some(),
                misfit.is_some(),
                "{error}"
            );
        }
        let opaque = ProviderError::AccessToken(JwtError::Malformed);
        let remedy = opaque.specific_remedy().unwrap();
        assert!(remedy.starts_with("claims_from"), "{remedy}");
    }

    /// What a verifier says beside rustls's own kinds.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Flaw(&'static str);

    /// The words are those of rustls.
    #[test]
    fn what_fails_in_tls_says_what_to_do() {
        let other = |flaw| CertificateError::Other(OtherError(Arc::new(Flaw(flaw))));
        let name = ServerName::try_from("id.example.com").unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(9));
        for (error, word) in [
            (CertificateError::UnknownIssuer, "by ca"),
            (other("CaUsedAsEndEntity"), "authority's own"),
            (other("UnsupportedCertVersion"), "version 3"),
            (CertificateError::NotValidForName, "a name"),
            (
                CertificateError::NotValidForNameContext {
                    expected: name,
                    presented: Vec::new(),
                },
                "a name",
            ),
            (CertificateError::Expired, "clock"),
            (
                CertificateError::ExpiredContext {
                    time,
                    not_after: time,
                },
                "clock",
            ),
            (CertificateError::NotValidYet, "clock"),
            (
                CertificateError::NotValidYetContext {
                    time,
                    not_before: time,
                },
                "clock",
            ),
        ] {
            let reason = rustls::Error::InvalidCertificate(error).to_string();
            assert!(tls(&reason).contains(word), "{reason}");
        }
    }

    #[test]
    fn foreign_words_are_cut_to_printable_ascii() {
        let hostile = "a\r\nb\u{1b}[31m\"\\é<script>";
        assert_eq!(printable(hostile, 200).as_deref(), Some("ab[31m<script>"));
        assert_eq!(printable(&"x".repeat(10_000), 200).unwrap().len(), 200);
        assert_eq!(printable("\n \"", 200), None);
    }
}
