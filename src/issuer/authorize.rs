//! Reading an authorization request (RFC 6749 §4.1.1 with RFC 7636, RFC 8707 and RFC 9207). Pure.

use std::time::Duration;

use super::{
    client::Client,
    error::{Code, OAuthError, invalid_request},
    parameters::Parameters,
    redirect::RedirectUri,
};
use crate::access::StepUp;

/// What is asked for, once it is known whom the answer goes to.
#[derive(Debug, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// The challenge of PKCE, by SHA-256 alone.
    pub challenge: String,
    /// The address that a token is wanted for, as it was written.
    pub resource: Option<String>,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// Whether nobody may be asked anything.
    pub is_silent: bool,
    /// Whether somebody has to sign in anew.
    pub login: bool,
    /// Whether they are to be offered another account.
    pub select_account: bool,
    /// How long ago they may have authenticated.
    pub step_up: StepUp,
    /// Comes back in an ID token.
    pub nonce: Option<String>,
}

/// Whom the answer goes to: proven before anything else is looked at.
#[derive(Debug)]
pub struct Recipient {
    /// Where.
    pub redirect_uri: RedirectUri,
    /// Handed back as it came.
    pub state: Option<String>,
}

impl Recipient {
    /// The client's address of this request.
    ///
    /// # Errors
    /// Why there is none: nobody is sent anywhere then (RFC 6749 §4.1.2.1).
    pub fn read(parameters: &Parameters, client: &Client) -> Result<Self, &'static str> {
        let written = parameters
            .get("redirect_uri")
            .ok_or("the app did not say where its answer goes (redirect_uri)")?;
        let redirect_uri = client
            .redirect_uri(written)
            .ok_or("the address that the answer is to go to (redirect_uri) is not one that the app has named before")?;
        let state = parameters
            .get("state")
            .filter(|state| state.len() <= LONGEST_STATE);
        Ok(Self {
            redirect_uri,
            state: state.map(str::to_owned),
        })
    }
}

impl AuthorizationRequest {
    /// Reads the rest.
    ///
    /// # Errors
    /// What the client is told.
    pub fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        match parameters.get("response_type") {
            Some("code") => {}
            Some(_) => {
                return Err(OAuthError::new(
                    Code::UnsupportedResponseType,
                    "only code is given",
                ));
            }
            None => return Err(invalid_request("response_type is missing")),
        }
        if parameters
            .get("state")
            .is_some_and(|state| state.len() > LONGEST_STATE)
        {
            return Err(invalid_request("state is too long"));
        }
        if !matches!(parameters.get("response_mode"), None | Some("query")) {
            return Err(invalid_request("only response_mode=query is known"));
        }
        if parameters.get("request").is_some() {
            return Err(invalid_request("request objects are not read"));
        }
        if parameters.get("code_challenge_method") != Some("S256") {
            return Err(invalid_request(
                "PKCE with code_challenge_method=S256 is required",
            ));
        }
        let challenge = parameters
            .get("code_challenge")
            .filter(|challenge| is_sha256(challenge));
        let challenge = challenge
            .ok_or_else(|| invalid_request("code_challenge is no SHA-256 in base64url"))?;
        let prompts: Vec<_> = parameters
            .get("prompt")
            .unwrap_or_default()
            .split(' ')
            .collect();
        let is_silent = prompts.contains(&"none");
        if is_silent && prompts.len() > 1 {
            return Err(invalid_request("prompt=none stands alone"));
        }
        let max_age = match parameters.get("max_age").map(str::parse::<u64>) {
            None => None,
            Some(Ok(seconds)) => Some(seconds),
            Some(Err(_)) => return Err(invalid_request("max_age is a number of seconds")),
        };
        let nonce = parameters.get("nonce");
        if nonce.is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
            return Err(invalid_request("nonce has more than 1024 bytes"));
        }
        let written = max_age.map(|seconds| seconds.to_string());
        Ok(Self {
            challenge: challenge.to_owned(),
            resource: parameters.get("resource").map(str::to_owned),
            scopes: scopes(parameters.get("scope").unwrap_or_default())?,
            is_silent,
            login: prompts.contains(&"login") || max_age.is_some_and(|seconds| seconds == 0),
            select_account: prompts.contains(&"select_account"),
            step_up: StepUp::read(written.as_deref(), parameters.get("acr_values")),
            nonce: nonce.map(str::to_owned),
        })
    }
}

/// The words of a `scope` parameter (RFC 6749 §3.3).
///
/// # Errors
/// When it is none.
pub fn scopes(text: &str) -> Result<Vec<String>, OAuthError> {
    let is_scope_char = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let mut scopes: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if word.len() > LONGEST_SCOPE
            || !word.bytes().all(is_scope_char)
            || scopes.len() >= MOST_SCOPES
        {
            return Err(OAuthError::new(
                Code::InvalidScope,
                "scope is malformed, or too long",
            ));
        }
        if !scopes.iter().any(|known| known == word) {
            scopes.push(word.to_owned());
        }
    }
    Ok(scopes)
}

/// Whether it can be SHA-256 in base64url (RFC 7636 §4.2).
fn is_sha256(text: &str) -> bool {
    text.len() == 43
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether it is a verifier of PKCE (RFC 7636 §4.1).
pub fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// The bytes of the longest `state`: where a client is a gate, it carries the address that a login leads back to.
const LONGEST_STATE: usize = 4_096;
/// The bytes of the longest `nonce`.
const LONGEST_NONCE: usize = 1_024;
/// The bytes of the longest scope.
const LONGEST_SCOPE: usize = 200;
/// Scopes that are asked for at once.
const MOST_SCOPES: usize = 50;
/// How fresh a login is that was asked for by `prompt=login`.
pub const FRESH: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn read(changes: &[(&str, &str)]) -> Result<AuthorizationRequest, Code> {
        let mut pairs = vec![
            ("response_type", "code"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        pairs.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        pairs.extend(changes);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let parameters = Parameters::parse(query.as_bytes()).unwrap();
        AuthorizationRequest::read(&parameters).map_err(|error| error.code)
    }

    #[test]
    fn a_plain_request_is_read() {
        let request = read(&[
            ("scope", "mcp  mcp read"),
            ("resource", "https://h/mcp"),
            ("prompt", "consent"),
        ])
        .unwrap();
        assert_eq!(request.scopes, ["mcp", "read"]);
        assert_eq!(request.resource.as_deref(), Some("https://h/mcp"));
        assert!(!request.is_silent && !request.login && request.step_up.is_empty());
        assert!(read(&[("prompt", "login")]).unwrap().login);
        assert!(read(&[("max_age", "0")]).unwrap().login);
        assert_eq!(
            read(&[("max_age", "60")]).unwrap().step_up.max_age,
            Some(Duration::from_mins(1))
        );
        assert!(read(&[("prompt", "none")]).unwrap().is_silent);
    }

    #[test]
    fn t23_m5_no_code_without_s256() {
        for changes in [
            &[("code_challenge", "")][..],
            &[("code_challenge", "short")],
            &[(
                "code_challenge",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM",
            )],
            &[("code_challenge_method", "plain")],
            &[("code_challenge_method", "s256")],
            &[("code_challenge_method", "")],
            &[("response_type", "")],
            &[("response_mode", "fragment")],
            &[("request", "eyJ")],
            &[("max_age", "soon")],
            &[("max_age", "-1")],
            &[("prompt", "none login")],
            &[("state", &*"s".repeat(4_097))],
        ] {
            assert_eq!(read(changes), Err(Code::InvalidRequest), "{changes:?}");
        }
        for kind in ["token", "id_token", "code token", "none"] {
            assert_eq!(
                read(&[("response_type", kind)]),
                Err(Code::UnsupportedResponseType)
            );
        }
        for scope in ["a\"b", "a\\b", "\u{e9}", &"x".repeat(201)] {
            assert_eq!(
                read(&[("scope", scope)]),
                Err(Code::InvalidScope),
                "{scope}"
            );
        }
    }

    #[test]
    fn a_verifier_has_the_length_and_the_letters_of_one() {
        assert!(is_verifier(&"a".repeat(43)) && is_verifier(&"-._~".repeat(32)));
        for bad in [
            "",
            "a",
            &"a".repeat(42),
            &"a".repeat(129),
            &format!("{} ", "a".repeat(43)),
        ] {
            assert!(!is_verifier(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query: Vec<u8>) {
            if let Ok(parameters) = Parameters::parse(&query) {
                let _ = AuthorizationRequest::read(&parameters);
            }
        }
    }
}
