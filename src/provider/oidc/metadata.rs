//! Pure: a discovery document (OpenID Connect Discovery 1.0 §3) becomes [`Metadata`], or is refused.

use std::str::FromStr;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::super::{http::endpoint_url, oauth::ClientAuthentication};

/// What a provider publishes about itself, as far as we use it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// What the provider calls itself: the configured issuer, but for vendors who do otherwise.
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) end_session_endpoint: Option<Url>,
    pub(super) revocation_endpoint: Option<Url>,
    /// What ID tokens may be signed with: the provider's list and ours. Never empty.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) authentication: ClientAuthentication,
    /// `iss` comes with every authorization response (RFC 9207 §3).
    pub(super) sends_iss: bool,
    /// The value of `prompt` that offers another account.
    pub(super) switch_prompt: Option<&'static str>,
    /// The claims that the provider says it knows; none where it does not say.
    pub(super) claims: Option<Vec<String>>,
}

impl Metadata {
    /// Whether the provider could know a standard claim.
    pub(super) fn may_have(&self, claim: &str) -> bool {
        self.claims
            .as_ref()
            .is_none_or(|claims| claims.iter().any(|known| known == claim))
    }

    /// With the addresses that the configuration sets by themselves.
    pub(super) fn moved(mut self, endpoints: &[(&'static str, Url)]) -> Self {
        for (key, url) in endpoints {
            match *key {
                "authorize_url" => self.authorization_endpoint = url.clone(),
                "token_url" => self.token_endpoint = url.clone(),
                "jwks_url" => self.jwks_uri = url.clone(),
                "userinfo_url" => self.userinfo_endpoint = Some(url.clone()),
                "end_session_url" => self.end_session_endpoint = Some(url.clone()),
                "revocation_url" => self.revocation_endpoint = Some(url.clone()),
                _ => {}
            }
        }
        self
    }

    /// Reads a document whose issuer `is_ours`. The error says what is wrong with it.
    pub(super) fn read(
        is_ours: impl Fn(&str) -> bool,
        document: Value,
    ) -> Result<Self, &'static str> {
        let document: Document =
            serde_json::from_value(document).map_err(|_| "not a discovery document")?;
        // §4.3: another issuer's document would let that issuer sign in users.
        if !is_ours(&document.issuer) {
            return Err("issuer is not the configured one");
        }
        let required = |url: &str, problem| endpoint_url(url).ok_or(problem);
        let optional = |url: Option<&str>, problem| {
            url.map(|url| endpoint_url(url).ok_or(problem)).transpose()
        };
        if !document
            .response_types_supported
            .iter()
            .any(|kind| kind == "code")
        {
            return Err("response_types_supported lacks code");
        }
        let algorithms: Vec<Algorithm> = document
            .id_token_signing_alg_values_supported
            .iter()
            .filter_map(|name| Algorithm::from_str(name).ok())
            .filter(|algorithm| ALGORITHMS.contains(algorithm))
            .collect();
        if algorithms.is_empty() {
            return Err(
                "id_token_signing_alg_values_supported has no asymmetric algorithm we know",
            );
        }
        Ok(Self {
            issuer: document.issuer,
            authorization_endpoint: required(
                &document.authorization_endpoint,
                "authorization_endpoint is neither https nor loopback",
            )?,
            token_endpoint: required(
                &document.token_endpoint,
                "token_endpoint is neither https nor loopback",
            )?,
            jwks_uri: required(&document.jwks_uri, "jwks_uri is neither https nor loopback")?,
            userinfo_endpoint: optional(
                document.userinfo_endpoint.as_deref(),
                "userinfo_endpoint is neither https nor loopback",
            )?,
            end_session_endpoint: optional(
                document.end_session_endpoint.as_deref(),
                "end_session_endpoint is neither https nor loopback",
            )?,
            revocation_endpoint: optional(
                document.revocation_endpoint.as_deref(),
                "revocation_endpoint is neither https nor loopback",
            )?,
            algorithms,
            authentication: authentication(
                document.token_endpoint_auth_methods_supported.as_deref(),
            ),
            sends_iss: document.authorization_response_iss_parameter_supported,
            switch_prompt: switch_prompt(document.prompt_values_supported.as_deref()),
            claims: document.claims_supported,
        })
    }
}

/// Basic is the default (§3), and wins where both are offered.
fn authentication(methods: Option<&[String]>) -> ClientAuthentication {
    let offers =
        |name: &str| methods.is_none_or(|methods| methods.iter().any(|method| method == name));
    if !offers("client_secret_basic") && offers("client_secret_post") {
        ClientAuthentication::Post
    } else {
        ClientAuthentication::Basic
    }
}

/// Choosing an account is what is wanted; signing in anew is the next best. A value that a provider
/// does not list may be an error there.
fn switch_prompt(values: Option<&[String]>) -> Option<&'static str> {
    let Some(values) = values else {
        return Some("select_account");
    };
    ["select_account", "login"]
        .into_iter()
        .find(|wanted| values.iter().any(|value| value == wanted))
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    response_types_supported: Vec<String>,
    id_token_signing_alg_values_supported: Vec<String>,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    prompt_values_supported: Option<Vec<String>>,
    claims_supported: Option<Vec<String>>,
}

/// What we verify: public keys only. With a shared secret, whoever can check a token can make one.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example.com/";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://keys.example.net/keys",
            "response_types_supported": ["code", "code id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256", "none", "RS256", "XS1", "ES256"],
        })
    }

    fn read(document: Value) -> Result<Metadata, &'static str> {
        Metadata::read(|published| published == ISSUER, document)
    }

    fn with(name: &str, value: Value) -> Result<Metadata, &'static str> {
        let mut document = document();
        document[name] = value;
        read(document)
    }

    #[test]
    fn reads_a_document_with_its_defaults() {
        let metadata = read(document()).unwrap();
        assert_eq!(metadata.algorithms, [Algorithm::RS256, Algorithm::ES256]);
        assert_eq!(metadata.authentication, ClientAuthentication::Basic);
        assert_eq!(metadata.userinfo_endpoint, None);
        assert!(!metadata.sends_iss);
        assert_eq!(metadata.switch_prompt, Some("select_account"));
        assert!(metadata.may_have("email"));
    }

    #[test]
    fn the_issuer_is_compared_exactly() {
        for other in [
            "https://id.example.com",
            "https://ID.example.com/",
            "https://id.example.com:443/",
            "https://evil.example/",
            "",
        ] {
            assert!(with("issuer", json!(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn what_we_rely_on_must_be_there() {
        for name in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "response_types_supported",
            "id_token_signing_alg_values_supported",
        ] {
            assert!(with(name, Value::Null).is_err(), "{name}");
            let mut document = document();
            document.as_object_mut().unwrap().remove(name);
            assert!(read(document).is_err(), "{name}");
        }
        assert!(with("response_types_supported", json!(["id_token"])).is_err());
        for weak in [json!([]), json!(["none"]), json!(["HS256"])] {
            assert!(with("id_token_signing_alg_values_supported", weak).is_err());
        }
        for not_a_document in [json!([]), json!("x"), json!(null)] {
            assert!(read(not_a_document).is_err());
        }
    }

    #[test]
    fn endpoints_do_not_leave_tls() {
        for name in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
            "revocation_endpoint",
        ] {
            for bad in ["http://id.example.com/x", "javascript:alert(1)", "/x", ""] {
                assert!(with(name, json!(bad)).is_err(), "{name} {bad}");
            }
            assert!(with(name, json!("http://127.0.0.1:9/x")).is_ok(), "{name}");
        }
    }

    #[test]
    fn client_authentication_follows_the_offer() {
        let chosen = |methods: Value| {
            with("token_endpoint_auth_methods_supported", methods)
                .unwrap()
                .authentication
        };
        let (basic, post) = (ClientAuthentication::Basic, ClientAuthentication::Post);
        assert_eq!(chosen(json!(["client_secret_post"])), post);
        assert_eq!(
            chosen(json!(["client_secret_post", "client_secret_basic"])),
            basic
        );
        assert_eq!(chosen(json!(["private_key_jwt"])), basic);
        assert_eq!(chosen(Value::Null), basic);
    }

    #[test]
    fn another_account_is_asked_for_in_a_way_the_provider_knows() {
        let chosen = |values| {
            with("prompt_values_supported", values)
                .unwrap()
                .switch_prompt
        };
        assert_eq!(
            chosen(json!(["none", "login", "select_account"])),
            Some("select_account")
        );
        assert_eq!(chosen(json!(["none", "login", "consent"])), Some("login"));
        assert_eq!(chosen(json!(["none"])), None);
    }
}
