//! Reading an authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1). Pure.

use super::DemoProviderConfig;
use crate::issuer::parameters::Parameters;

/// A request to sign somebody in, checked.
#[derive(Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    /// Those of the asked scopes that exist here.
    pub(super) scope: String,
    pub(super) code_challenge: String,
    /// `prompt=none`: answer at once, without a page.
    pub(super) silent: bool,
    /// How many seconds ago the user may have signed in.
    pub(super) max_age: Option<u64>,
    pub(super) id_token_hint: Option<String>,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// It cannot be trusted to say where the answer goes: a page, never a redirect (RFC 6749
    /// §4.1.2.1).
    Page(&'static str),
    /// The application learns of it.
    Redirect(ErrorAnswer),
}

/// An error that is sent to the application.
#[derive(Debug)]
pub(super) struct ErrorAnswer {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

impl AuthorizationRequest {
    /// Reads and checks everything that can be checked without knowing who is signed in.
    pub(super) fn read(
        parameters: &Parameters,
        config: &DemoProviderConfig,
    ) -> Result<Self, Refused> {
        let redirect_uri = trusted_redirect_uri(parameters, config)?;
        let state = parameters.get("state").map(str::to_owned);
        let checked = check(parameters).map_err(|(error, description)| {
            Refused::Redirect(ErrorAnswer {
                redirect_uri: redirect_uri.clone(),
                state: state.clone(),
                error,
                description,
            })
        })?;
        let prompt = parameters.get("prompt").unwrap_or_default();
        Ok(Self {
            redirect_uri,
            state,
            nonce: parameters.get("nonce").map(str::to_owned),
            scope: checked.scope,
            code_challenge: checked.code_challenge,
            silent: prompt == "none",
            max_age: checked.max_age,
            id_token_hint: parameters.get("id_token_hint").map(str::to_owned),
        })
    }

    /// An error for the application that asked.
    pub(super) fn error(&self, error: &'static str, description: &'static str) -> ErrorAnswer {
        ErrorAnswer {
            redirect_uri: self.redirect_uri.clone(),
            state: self.state.clone(),
            error,
            description,
        }
    }
}

fn trusted_redirect_uri(
    parameters: &Parameters,
    config: &DemoProviderConfig,
) -> Result<String, Refused> {
    if parameters.get("client_id") != Some(config.client_id.as_str()) {
        return Err(Refused::Page(
            "No application of this client_id is known here.",
        ));
    }
    // Compared as text: any cleverer comparison has been an open redirect somewhere (RFC 9700 §4.1.3).
    parameters
        .get("redirect_uri")
        .filter(|uri| config.redirect_uris.iter().any(|known| known == uri))
        .map(str::to_owned)
        .ok_or(Refused::Page(
            "The redirect_uri is not one that is registered for this application.",
        ))
}

struct Checked {
    scope: String,
    code_challenge: String,
    max_age: Option<u64>,
}

fn check(parameters: &Parameters) -> Result<Checked, (&'static str, &'static str)> {
    const INVALID: &str = "invalid_request";
    match parameters.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "only code is supported")),
        None => return Err((INVALID, "response_type is missing")),
    }
    if parameters.get("request").is_some() {
        return Err(("request_not_supported", "request objects are not supported"));
    }
    if parameters.get("request_uri").is_some() {
        return Err(("request_uri_not_supported", "request_uri is not supported"));
    }
    if !matches!(parameters.get("response_mode"), None | Some("query")) {
        return Err((INVALID, "only response_mode=query is supported"));
    }
    let scope = known_scopes(parameters.get("scope").unwrap_or_default());
    if !scope.split(' ').any(|name| name == "openid") {
        return Err(("invalid_scope", "scope must contain openid"));
    }
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err((INVALID, "PKCE with code_challenge_method=S256 is required"));
    }
    let code_challenge = parameters
        .get("code_challenge")
        .filter(|challenge| is_sha256(challenge))
        .ok_or((INVALID, "code_challenge must be a SHA-256 in base64url"))?
        .to_owned();
    let prompts: Vec<_> = parameters
        .get("prompt")
        .map(|prompt| prompt.split(' ').collect())
        .unwrap_or_default();
    if prompts.contains(&"none") && prompts.len() > 1 {
        return Err((INVALID, "prompt=none stands alone"));
    }
    let max_age = parameters
        .get("max_age")
        .map(str::parse)
        .transpose()
        .map_err(|_| (INVALID, "max_age must be a number of seconds"))?;
    Ok(Checked {
        scope,
        code_challenge,
        max_age,
    })
}

/// The asked scopes that exist here; unknown ones are to be ignored (OpenID Connect Core §3.1.2.1).
fn known_scopes(asked: &str) -> String {
    let known: Vec<_> = SCOPES
        .into_iter()
        .filter(|scope| asked.split(' ').any(|name| name == *scope))
        .collect();
    known.join(" ")
}

fn is_sha256(challenge: &str) -> bool {
    challenge.len() == 43
        && challenge
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Every scope there is.
pub(super) const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", "offline_access"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const GOOD: &str = "client_id=gate&redirect_uri=http://localhost/back&response_type=code&scope=openid+email+magic\
                        &code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&state=s";

    fn read(query: &str) -> Result<AuthorizationRequest, Refused> {
        let config = DemoProviderConfig {
            issuer: "http://127.0.0.1:1".into(),
            client_id: "gate".into(),
            client_secret: Secret::new("secret".into()),
            redirect_uris: vec!["http://localhost/back".into()],
            post_logout_redirect_uris: vec![],
        };
        AuthorizationRequest::read(&Parameters::parse(query.as_bytes()).unwrap(), &config)
    }

    #[test]
    fn a_good_request_is_read() {
        let request = read(GOOD).unwrap();
        assert_eq!(request.scope, "openid email");
        assert_eq!(request.state.as_deref(), Some("s"));
        assert!(!request.silent);
    }

    #[test]
    fn who_asks_and_where_to_answer_must_be_known() {
        for (from, to) in [
            ("client_id=gate", "client_id=other"),
            ("localhost/back", "localhost/back/"),
            ("http://localhost", "http://LOCALHOST"),
            ("http://localhost/back", ""),
        ] {
            let refused = read(&GOOD.replace(from, to));
            assert!(matches!(refused, Err(Refused::Page(_))), "{to}");
        }
    }

    #[test]
    fn other_faults_are_told_to_the_application() {
        for (from, to, error) in [
            (
                "response_type=code",
                "response_type=token",
                "unsupported_response_type",
            ),
            ("scope=openid+email+magic", "scope=email", "invalid_scope"),
            ("S256", "plain", "invalid_request"),
            ("&code_challenge=E9", "&code_challenge=", "invalid_request"),
            ("state=s", "prompt=none+login", "invalid_request"),
            ("state=s", "max_age=-1", "invalid_request"),
            ("state=s", "response_mode=fragment", "invalid_request"),
            ("state=s", "request=a.b.c", "request_not_supported"),
        ] {
            let Err(Refused::Redirect(answer)) = read(&GOOD.replace(from, to)) else {
                panic!("{to}");
            };
            assert_eq!(answer.error, error, "{to}");
        }
    }
}
