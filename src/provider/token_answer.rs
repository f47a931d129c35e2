//! Brings the answer of a token endpoint into the form of RFC 6749 §5. Pure.
//!
//! The `oauth2` crate accepts only the standard. Providers deviate: errors with status 200 or as objects, form-encoded bodies, lifetimes as
//! text or fractions, scopes with commas. All of that is corrected here, before the crate sees it.

use std::fmt;

use http::StatusCode;
use serde_json::{Map, Number, Value};

use super::{
    error::printable,
    graph_error::{self, GraphError},
    http::{HttpError, is_busy},
};

/// Why an answer holds no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// The call failed, or its status says more than its body.
    Http(HttpError),
    /// The provider said no, and why.
    Error {
        code: String,
        description: Option<String>,
    },
    /// Neither tokens nor an error.
    Malformed(&'static str),
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(formatter),
            Self::Error { code, .. } => formatter.write_str(code),
            Self::Malformed(problem) => formatter.write_str(problem),
        }
    }
}

impl std::error::Error for TokenRefusal {}

/// The members of a success that we use, in the standard's types.
pub(super) fn normalise(
    status: StatusCode,
    body: &[u8],
) -> Result<Map<String, Value>, TokenRefusal> {
    // "Not now" is about the server, not about the code: whatever the body, it is no `invalid_grant`.
    if is_busy(status) {
        return Err(TokenRefusal::Http(HttpError::Status(status)));
    }
    let Some(members) = members(body) else {
        return Err(if status.is_success() {
            TokenRefusal::Malformed("neither JSON nor a form")
        } else {
            TokenRefusal::Http(HttpError::Status(status))
        });
    };
    if let Some(refusal) = error(&members) {
        return Err(refusal);
    }
    if !status.is_success() {
        return Err(TokenRefusal::Http(HttpError::Status(status)));
    }
    success(&members)
}

/// What an answer has, in JSON or as a form.
pub(super) fn members(body: &[u8]) -> Option<Map<String, Value>> {
    if let Ok(value) = serde_json::from_slice(body) {
        return match value {
            Value::Object(members) => Some(members),
            _ => None,
        };
    }
    let form: Map<String, Value> = url::form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    // Any text parses as a form; only one that has a known member is one.
    (form.contains_key("access_token") || form.contains_key("error")).then_some(form)
}

fn error(members: &Map<String, Value>) -> Option<TokenRefusal> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let (code, description) = match members.get("error")? {
        Value::Null => return None,
        Value::String(code) if code.is_empty() => return None,
        Value::String(code) => (code.clone(), text(members.get("error_description"))),
        // Facebook's Graph API and Google's APIs wrap it.
        Value::Object(error) => {
            if let Some(meaning) = graph_error::meaning(error) {
                return Some(graph_refusal(meaning, text(error.get("message"))));
            }
            let code = ["type", "status", "error"]
                .iter()
                .find_map(|key| text(error.get(*key)));
            (code.unwrap_or_default(), text(error.get("message")))
        }
        _ => (String::new(), None),
    };
    Some(TokenRefusal::Error {
        code: printable(&code, 60).unwrap_or_else(|| "unnamed_error".to_owned()),
        description: description.and_then(|text| printable(&text, 200)),
    })
}

/// What a Graph error means in the standard's terms.
fn graph_refusal(meaning: GraphError, message: Option<String>) -> TokenRefusal {
    let code = match meaning {
        GraphError::Throttled => {
            return TokenRefusal::Http(HttpError::Status(StatusCode::TOO_MANY_REQUESTS));
        }
        GraphError::Transient => "temporarily_unavailable",
        GraphError::Code => "invalid_grant",
        GraphError::Secret => "invalid_client",
        GraphError::Token => "invalid_token",
    };
    TokenRefusal::Error {
        code: code.to_owned(),
        description: message.and_then(|text| printable(&text, 200)),
    }
}

fn success(members: &Map<String, Value>) -> Result<Map<String, Value>, TokenRefusal> {
    let access_token = token(members, "access_token").ok_or(TokenRefusal::Malformed(
        "access_token is missing or unusable",
    ))?;
    match members.get("token_type") {
        // RFC 6749 §5.1 requires it, and some servers leave it out. What they give is a bearer token: a token of any
        // other type is of no use without the proofs that its type asks for.
        None | Some(Value::Null) => {
            tracing::debug!("a token without token_type is taken for a bearer token");
        }
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        // Any other type needs proofs that we do not make (RFC 6749 §7.1: must not be used then).
        Some(_) => return Err(TokenRefusal::Malformed("token_type is not bearer")),
    }
    let mut clean = Map::new();
    clean.insert("access_token".to_owned(), access_token.into());
    clean.insert("token_type".to_owned(), "bearer".into());
    for name in ["refresh_token", "id_token"] {
        if let Some(text) = token(members, name) {
            clean.insert(name.to_owned(), text.into());
        }
    }
    for name in ["expires_in", "secret_valid_until"] {
        // A token that is over when it comes is of no use to anybody: servers write 0 for "not known" or "never".
        let seconds = members.get(name).and_then(seconds);
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
            clean.insert(name.to_owned(), seconds.into());
        }
    }
    if let Some(scope) = members.get("scope").and_then(scope) {
        clean.insert("scope".to_owned(), scope.into());
    }
    Ok(clean)
}

/// A token: visible ASCII (RFC 6749 appendix A.12), because it goes into header lines.
fn token<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    let text = members.get(name)?.as_str()?;
    let usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then_some(text)
}

/// A lifetime as a number, a fraction or text. Whatever else it is, it is as good as absent.
fn seconds(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.clone(),
        Value::String(text) => text.trim().parse::<Number>().ok()?,
        _ => return None,
    };
    number.as_u64().or_else(|| whole_seconds(number.as_f64()?))
}

/// A point or span of time with the fraction dropped; none where it is negative or no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-int cast saturates, and the sign is checked"
)]
fn whole_seconds(seconds: f64) -> Option<u64> {
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds as u64)
}

fn scope(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(scopes) => {
            let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
            scopes.join(" ")
        }
        _ => return None,
    };
    let scopes: Vec<&str> = text
        .split([' ', ','])
        .filter(|scope| !scope.is_empty())
        .collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(status: u16, body: &str) -> Result<Map<String, Value>, TokenRefusal> {
        normalise(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    fn refused(status: u16, body: &str) -> (String, Option<String>) {
        match at(status, body) {
            Err(TokenRefusal::Error { code, description }) => (code, description),
            other => panic!("{other:?}"),
        }
    }

    fn with(member: &str) -> Map<String, Value> {
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer",{member}}}"#);
        at(200, &body).unwrap()
    }

    #[test]
    fn reads_what_the_standard_says() {
        let body = r#"{"access_token":"a.b/c","token_type":"BEARER","expires_in":3600,
            "refresh_token":"r","id_token":"x.y.z","scope":"openid email","extra":{"a":[1]}}"#;
        let clean = at(200, body).unwrap();
        assert_eq!(clean["access_token"], "a.b/c");
        assert_eq!(clean["token_type"], "bearer");
        assert_eq!(clean["expires_in"], 3600);
        assert_eq!(clean["refresh_token"], "r");
        assert_eq!(clean["id_token"], "x.y.z");
        assert_eq!(clean["scope"], "openid email");
        assert!(!clean.contains_key("extra"));
        assert!(at(201, body).is_ok());
    }

    #[test]
    fn a_token_without_a_type_is_a_bearer_token() {
        for body in [
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a","token_type":null}"#,
            "access_token=a",
        ] {
            assert_eq!(at(200, body).unwrap()["token_type"], "bearer", "{body}");
        }
    }

    #[test]
    fn an_error_is_an_error_with_any_status() {
        let body = r#"{"error":"bad_verification_code","error_description":"It <expired>.\r\n"}"#;
        for status in [200, 400, 401] {
            let (code, description) = refused(status, body);
            assert_eq!(code, "bad_verification_code");
            assert_eq!(description.as_deref(), Some("It <expired>."));
        }
        let form = "error=bad_verification_code&error_description=It+expired";
        assert_eq!(refused(200, form).1.as_deref(), Some("It expired"));
        let graph = r#"{"error":{"message":"Invalid code","type":"OAuthException","code":100}}"#;
        let expected = ("OAuthException".to_owned(), Some("Invalid code".to_owned()));
        assert_eq!(refused(400, graph), expected);
        assert_eq!(refused(400, r#"{"error":7}"#).0, "unnamed_error");
        for (code, subcode, expected) in [
            (100, 36_009, "invalid_grant"),
            (1, 0, "temporarily_unavailable"),
            (190, 460, "invalid_token"),
        ] {
            let body = format!(
                r#"{{"error":{{"message":"m","type":"OAuthException","code":{code},"error_subcode":{subcode}}}}}"#
            );
            assert_eq!(refused(400, &body).0, expected);
        }
        let throttled = r#"{"error":{"message":"m","type":"OAuthException","code":4}}"#;
        let busy = HttpError::Status(StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(at(400, throttled), Err(TokenRefusal::Http(busy)));
        // Tokens beside an error are not trusted.
        assert_eq!(
            refused(
                200,
                r#"{"error":"x","access_token":"a","token_type":"bearer"}"#
            )
            .0,
            "x"
        );
    }

    #[test]
    fn not_now_is_never_no() {
        for (status, body) in [
            (429, "429 Too Many Requests (Rate Limit Exceeded)"),
            (429, r#"{"error":"invalid_grant"}"#),
            (503, ""),
            (500, r#"{"error":"invalid_client"}"#),
        ] {
            let error = HttpError::Status(StatusCode::from_u16(status).unwrap());
            assert!(error.is_outage());
            assert_eq!(at(status, body), Err(TokenRefusal::Http(error)));
        }
        let not_found = HttpError::Status(StatusCode::NOT_FOUND);
        assert_eq!(
            at(404, "<html>"),
            Err(TokenRefusal::Http(not_found.clone()))
        );
        assert_eq!(at(404, "{}"), Err(TokenRefusal::Http(not_found)));
    }

    #[test]
    fn reads_forms() {
        let clean = at(
            200,
            "access_token=gho_1&scope=repo%2Cgist&token_type=bearer",
        )
        .unwrap();
        assert_eq!(clean["access_token"], "gho_1");
        assert_eq!(clean["scope"], "repo gist");
    }

    #[test]
    fn lifetimes_and_scopes_of_every_spelling() {
        for spelled in ["3600", "\"3600\"", "3600.0", "\"3600.9\"", "3.6e3"] {
            let clean = with(&format!(r#""expires_in":{spelled}"#));
            assert_eq!(clean["expires_in"], 3600, "{spelled}");
        }
        for useless in [
            "null", "-1", "0", "0.0", "0.9", "\"0\"", "\"soon\"", "{}", "\"\"", "true",
        ] {
            let clean = with(&format!(r#""expires_in":{useless}"#));
            assert!(!clean.contains_key("expires_in"), "{useless}");
        }
        for spelled in ["\"a b\"", "\"a,b\"", "\"a, b\"", "[\"a\",\"b\"]"] {
            assert_eq!(
                with(&format!(r#""scope":{spelled}"#))["scope"],
                "a b",
                "{spelled}"
            );
        }
        assert_eq!(
            with(r#""secret_valid_until":1797500000"#)["secret_valid_until"],
            1_797_500_000
        );
        assert!(!with(r#""secret_valid_until":null"#).contains_key("secret_valid_until"));
        assert!(!with(r#""scope":"""#).contains_key("scope"));
        assert!(!with(r#""refresh_token":null"#).contains_key("refresh_token"));
        assert!(!with(r#""refresh_token":"""#).contains_key("refresh_token"));
    }

    #[test]
    fn unusable_tokens_are_refused() {
        for body in [
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":"a b","token_type":"bearer"}"#,
            r#"{"access_token":"a\r\nx: y","token_type":"bearer"}"#,
            r#"{"access_token":1,"token_type":"bearer"}"#,
            r#"{"access_token":"a","token_type":""}"#,
            r#"{"access_token":"a","token_type":1}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a","token_type":"DPoP"}"#,
            "{}",
            "[]",
            "true",
            "",
            "hello",
        ] {
            assert!(
                matches!(at(200, body), Err(TokenRefusal::Malformed(_))),
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_clean_or_refused(status in 100u16..600, body in any::<Vec<u8>>()) {
            if let Ok(clean) = normalise(StatusCode::from_u16(status).unwrap(), &body) {
                prop_assert!((200..300).contains(&status));
                prop_assert!(clean["access_token"].as_str().is_some_and(|token| !token.is_empty()));
            }
        }
    }
}
