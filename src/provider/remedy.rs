//! What an operator can do about a provider that fails. Only for the log.

use http::StatusCode;

use super::{Call, ProviderError, http::HttpError};
use crate::jose::TOO_MANY_KEYS;

impl ProviderError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        if let Some(specific) = self.specific_remedy() {
            return specific;
        }
        match self {
            Self::Http { error, .. } => http(error),
            Self::OtherIssuer { .. } => {
                "write issuer exactly as the provider publishes it, a slash at its end included"
            }
            Self::Refused { code, .. } => refused(code),
            Self::Answer {
                problem: TOO_MANY_KEYS,
                ..
            } => "have the provider publish fewer keys: no setting raises this",
            Self::Answer {
                call: Call::Discovery | Call::Keys,
                ..
            } => "see that issuer is the provider's own address, and not that of a page in front",
            Self::IdToken(_) => {
                "see that client_id and issuer are this provider's, and that this machine's clock is right"
            }
            _ => "run sidegate check --online, which asks the provider",
        }
    }
}

fn http(error: &HttpError) -> &'static str {
    match error {
        HttpError::ForbiddenUrl => "use an https address",
        HttpError::Resolve(_) => "see that the name is right, and that the gate may ask for names",
        HttpError::Connect { .. } | HttpError::ConnectTimeout => {
            "see that the gate may connect there: its network, a firewall, a proxy"
        }
        HttpError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            "see that the client and its scopes have this permission at the provider"
        }
        HttpError::Status(StatusCode::NOT_FOUND) => "see that the address is the provider's",
        HttpError::Status(StatusCode::TOO_MANY_REQUESTS) => {
            "the provider has had enough for now; if it goes on, ask it for a larger quota"
        }
        _ => "see whether the provider works; the gate goes on trying",
    }
}

/// By the code of a token endpoint (RFC 6749 §5.2).
fn refused(code: &str) -> &'static str {
    match code {
        "invalid_client" | "unauthorized_client" => {
            "see that client_id and client_secret are right, and that the secret has not ended"
        }
        "invalid_scope" => "see that the provider knows the scopes, and lets the client have them",
        "invalid_grant" => "see that public_url and the registered redirect address are the same",
        _ => "see what the provider's own log says of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_errors_have_a_remedy_of_their_own() {
        let refused = |code: &str| ProviderError::Refused {
            code: code.to_owned(),
            description: None,
        };
        assert!(refused("invalid_client").remedy().contains("client_secret"));
        assert!(refused("invalid_scope").remedy().contains("scopes"));
        let http = |error| ProviderError::Http {
            call: Call::Discovery,
            error,
        };
        let keys = ProviderError::Answer {
            call: Call::Keys,
            problem: TOO_MANY_KEYS,
        };
        assert!(keys.remedy().contains("fewer keys"));
        let unknown = http(HttpError::Resolve("idp".to_owned()));
        assert!(unknown.remedy().contains("name"));
        assert!(
            http(HttpError::TooLarge { limit: 9 })
                .remedy()
                .contains("provider_response")
        );
    }
}
