//! Metadata for clients: of the authorization server (RFC 8414) and of protected resources (RFC 9728). Pure.

use serde_json::{Value, json};

use super::{registration::DEVICE_GRANT, settings::IssuerSettings, token_exchange::TOKEN_EXCHANGE};
use crate::jose::Algorithm;

/// Where the endpoints are.
pub struct Addresses<'a> {
    /// `public_url` without a slash at its end.
    pub issuer: &'a str,
    /// The path that the gate's own endpoints lie below.
    pub prefix: &'a str,
}

/// RFC 8414 §2.
pub fn authorization_server(
    addresses: &Addresses<'_>,
    scopes: &[String],
    settings: &IssuerSettings,
) -> Value {
    let Addresses { issuer, prefix } = addresses;
    let at = |name: &str| format!("{issuer}{prefix}/{name}");
    let methods = [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ];
    let algorithms = Algorithm::ALL.map(Algorithm::name);
    let mut grants = vec!["authorization_code", "refresh_token", "client_credentials"];
    if settings.clients.iter().any(|client| client.token_exchange) {
        grants.push(TOKEN_EXCHANGE);
    }
    if settings.device_flow {
        grants.push(DEVICE_GRANT);
    }
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "registration_endpoint": at("register"),
        "revocation_endpoint": at("revoke"),
        "introspection_endpoint": at("introspect"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": &methods[1..],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": true,
    });
    document["pushed_authorization_request_endpoint"] = at("par").into();
    document["require_pushed_authorization_requests"] =
        settings.require_pushed_authorization_requests.into();
    // OpenID Connect Discovery 1.0 §3, RP-Initiated Logout 1.0 §2.1.
    document["jwks_uri"] = at("issuer/jwks").into();
    document["userinfo_endpoint"] = at("userinfo").into();
    document["end_session_endpoint"] = at("end_session").into();
    document["subject_types_supported"] = json!(["public"]);
    document["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    document["claims_supported"] = json!(CLAIMS);
    document["claims_parameter_supported"] = false.into();
    document["request_parameter_supported"] = false.into();
    document["request_uri_parameter_supported"] = false.into();
    if settings.device_flow {
        document["device_authorization_endpoint"] = at("device_authorization").into();
    }
    document
}

/// What ID tokens and userinfo tell.
const CLAIMS: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "acr",
    "sid",
    "at_hash",
    "preferred_username",
    "name",
    "picture",
    "email",
    "email_verified",
    "groups",
];

/// RFC 9728 §2.
pub fn protected_resource(issuer: &str, resource: &str, scopes: &[String]) -> Value {
    json!({
        "resource": resource,
        "authorization_servers": [issuer],
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
    })
}
