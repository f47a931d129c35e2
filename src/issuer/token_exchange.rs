//! Reads a request for one token in exchange for another (RFC 8693 §2.1). Pure.

use super::{
    authorize::scopes,
    error::{Code, OAuthError, invalid_request},
    parameters::Parameters,
};

/// `grant_type` of such a request.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What an access token is called (§3), whoever gave it.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// Asks for a refresh token (OpenID Connect Core 1.0 §11).
const OFFLINE: &str = "offline_access";

/// A request that is well-formed. No `Debug`: it holds a credential.
pub struct Exchange<'a> {
    /// What is brought.
    pub subject_token: &'a str,
    /// Whether that is called an ID token, and not an access token.
    pub is_id_token: bool,
    /// Whose it is: the name of a provider.
    pub subject_issuer: Option<&'a str>,
    /// The address that a token is wanted for, as it was written.
    pub resource: Option<&'a str>,
    /// The scopes asked for, where any were.
    pub scopes: Option<Vec<String>>,
    /// Whether a refresh token is asked for, too.
    pub is_offline: bool,
}

impl<'a> Exchange<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// What the client is told.
    pub fn read(form: &'a Parameters) -> Result<Self, OAuthError> {
        if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
            return Err(invalid_request(
                "nobody acts for somebody else here (actor_token)",
            ));
        }
        if !matches!(form.get("requested_token_type"), None | Some(ACCESS_TOKEN)) {
            return Err(invalid_request(
                "only access tokens are given (requested_token_type)",
            ));
        }
        if form.get("audience").is_some() {
            let why = "say by resource what the token is for, and not by audience";
            return Err(OAuthError::new(Code::InvalidTarget, why));
        }
        let is_id_token = match form.get("subject_token_type") {
            Some(ACCESS_TOKEN) => false,
            Some(ID_TOKEN) => true,
            Some(_) => return Err(invalid_request("this subject_token_type is not taken here")),
            None => return Err(invalid_request("subject_token_type is missing")),
        };
        let subject_token = form
            .get("subject_token")
            .ok_or_else(|| invalid_request("subject_token is missing"))?;
        let mut requested = form.get("scope").map(scopes).transpose()?;
        let mut is_offline = false;
        if let Some(requested) = &mut requested {
            requested.retain(|scope| {
                is_offline |= scope == OFFLINE;
                scope != OFFLINE
            });
        }
        Ok(Self {
            subject_token,
            is_id_token,
            subject_issuer: form.get("subject_issuer"),
            resource: form.get("resource"),
            scopes: requested.filter(|requested| !requested.is_empty()),
            is_offline,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<(bool, Option<Vec<String>>, bool), Code> {
        let mut pairs = vec![("subject_token", "x"), ("subject_token_type", ACCESS_TOKEN)];
        pairs.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        pairs.extend(changes);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let form = Parameters::parse(query.as_bytes()).unwrap();
        let read = Exchange::read(&form);
        read.map(|read| (read.is_id_token, read.scopes, read.is_offline))
            .map_err(|error| error.code)
    }

    #[test]
    fn a_request_says_what_it_brings_and_what_it_wants() {
        assert_eq!(read(&[]), Ok((false, None, false)));
        let id_token = read(&[
            ("subject_token_type", ID_TOKEN),
            ("scope", "api offline_access"),
        ]);
        assert_eq!(id_token, Ok((true, Some(vec!["api".to_owned()]), true)));
        assert_eq!(
            read(&[("scope", "offline_access")]),
            Ok((false, None, true))
        );
        assert_eq!(
            read(&[("requested_token_type", ACCESS_TOKEN)]),
            Ok((false, None, false))
        );
        for (name, value, code) in [
            ("subject_token", "", Code::InvalidRequest),
            ("subject_token_type", "", Code::InvalidRequest),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:saml2",
                Code::InvalidRequest,
            ),
            ("requested_token_type", ID_TOKEN, Code::InvalidRequest),
            ("actor_token", "x", Code::InvalidRequest),
            ("actor_token_type", ACCESS_TOKEN, Code::InvalidRequest),
            ("audience", "api", Code::InvalidTarget),
            ("scope", "a\"b", Code::InvalidScope),
        ] {
            assert_eq!(read(&[(name, value)]), Err(code), "{name}={value}");
        }
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(encoded: Vec<u8>) {
            if let Ok(form) = Parameters::parse(&encoded) {
                let _ = Exchange::read(&form);
            }
        }
    }
}
