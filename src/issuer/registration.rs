//! Dynamic registration (RFC 7591) without storage: the `client_id` is the sealed registration. Pure.
//!
//! A registration costs some hundred bytes of an answer and leaves nothing behind. The client's secret is derived from the id, so it is not
//! stored either. An id is valid as long as its secret is in the list of `session.secret`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    client::{Authentication, Client, Method, UriHash, sha256, uri_hash},
    error::{Code, OAuthError},
    redirect::RedirectUri,
};
use crate::{
    clock::Timestamp,
    session::seal::{KeyIndex, KeyRing, Purpose},
};

/// What a client asks for.
#[derive(Debug)]
pub struct Registration {
    name: String,
    redirect_uris: Vec<RedirectUri>,
    method: Method,
    /// Whether it means to use the device flow.
    is_device: bool,
    application_type: Option<String>,
}

/// What the id says.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    issued_at: u64,
    name: &'a str,
    method: u8,
    only_loopback: bool,
    is_device: bool,
    redirect_uris: Vec<UriHash>,
}

fn invalid(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidClientMetadata, description)
}

impl Registration {
    /// Reads a registration request. What is unknown is passed over (RFC 7591 §2), and so is what is null or empty.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, OAuthError> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| invalid("the body is no JSON"))?;
        let members = body
            .as_object()
            .ok_or_else(|| invalid("the body is no JSON object"))?;
        let text = |name| text(members, name);
        let method = match text("token_endpoint_auth_method")? {
            None | Some("none") => Method::None,
            Some("client_secret_basic") => Method::Basic,
            Some("client_secret_post") => Method::Post,
            Some(_) => {
                return Err(invalid(
                    "token_endpoint_auth_method is none, client_secret_basic or client_secret_post",
                ));
            }
        };
        let uris = match members.get("redirect_uris") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(uris)) => uris,
            Some(_) => return Err(unfit("redirect_uris is a list")),
        };
        let is_device = names_device_flow(members);
        if uris.is_empty() && !is_device {
            return Err(unfit("redirect_uris is missing"));
        }
        if uris.len() > MOST_URIS {
            return Err(unfit("redirect_uris has more than 20 entries"));
        }
        let uri = |uri: &Value| {
            let text = uri
                .as_str()
                .ok_or_else(|| unfit("redirect_uris has something that is no text"))?;
            RedirectUri::parse_of_stranger(text)
                .map_err(|why| OAuthError::new(Code::InvalidRedirectUri, why.to_string()))
        };
        let redirect_uris = uris.iter().map(uri).collect::<Result<_, _>>()?;
        let name = text("client_name")?.unwrap_or("An app without a name");
        Ok(Self {
            name: shown(name),
            redirect_uris,
            method,
            is_device,
            application_type: text("application_type")?.map(str::to_owned),
        })
    }

    /// The answer (RFC 7591 §3.2.1).
    pub fn register(&self, keys: &KeyRing, nonce: [u8; 12], now: Timestamp) -> Value {
        let sealed = Sealed {
            issued_at: now.0,
            name: &self.name,
            method: self.method as u8,
            only_loopback: self.redirect_uris.iter().all(RedirectUri::is_loopback),
            is_device: self.is_device,
            redirect_uris: self.redirect_uris.iter().map(uri_hash).collect(),
        };
        let plain = postcard::to_extend(&sealed, vec![VERSION]).expect("a vector takes all of it");
        let id = format!(
            "{PREFIX}{}",
            keys.seal(Purpose::ClientId, b"", &plain, nonce)
        );
        let uris: Vec<_> = self.redirect_uris.iter().map(RedirectUri::as_str).collect();
        let mut answer = json!({
            "client_id_issued_at": now.0,
            "client_name": self.name,
            "redirect_uris": uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": self.method.name(),
        });
        if self.is_device {
            answer["grant_types"] = json!(["authorization_code", "refresh_token", DEVICE_GRANT]);
        }
        if let Some(kind) = &self.application_type {
            answer["application_type"] = kind.as_str().into();
        }
        if self.method != Method::None {
            let key = keys.indices().next().expect("a ring has a key");
            answer["client_secret"] = secret(keys, key, &id).into();
            answer["client_secret_expires_at"] = 0.into();
        }
        answer["client_id"] = id.into();
        answer
    }
}

/// Whether an id was meant to be one of those that registered.
pub fn looks_like_one(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// The client of an id.
pub fn open(id: &str, keys: &KeyRing) -> Option<Client> {
    if id.len() > LONGEST_ID {
        return None;
    }
    let opened = keys.open_with_key(Purpose::ClientId, b"", id.strip_prefix(PREFIX)?)?;
    let sealed: Sealed<'_> = postcard::from_bytes(opened.plain.strip_prefix(&[VERSION])?).ok()?;
    let method = match sealed.method {
        0 => Method::None,
        1 => Method::Basic,
        2 => Method::Post,
        _ => return None,
    };
    let authentication = match method {
        Method::None => Authentication::None,
        method => {
            Authentication::Registered(method, sha256(secret(keys, opened.key, id).as_bytes()))
        }
    };
    Some(Client::registered(
        id.to_owned(),
        sealed.name.to_owned(),
        authentication,
        (sealed.only_loopback, sealed.is_device),
        sealed.redirect_uris,
    ))
}

fn secret(keys: &KeyRing, key: KeyIndex, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(keys.derive_with(key, "client secret", id.as_bytes()))
}

fn unfit(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidRedirectUri, description)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, OAuthError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(OAuthError::new(
            Code::InvalidClientMetadata,
            format!("{name} is no text"),
        )),
    }
}

/// A name as people are shown it: one line, of a length that a page has room for.
pub fn shown(name: &str) -> String {
    let is_plain = |letter: &char| !letter.is_control() && !is_invisible(*letter);
    let name: String = name
        .trim()
        .chars()
        .filter(is_plain)
        .take(LONGEST_NAME)
        .collect();
    if name.trim().is_empty() {
        "An app without a name".to_owned()
    } else {
        name
    }
}

/// What would turn the rest of a line around, or hide in it: marks of direction, blanks that are letters, and what Unicode calls
/// ignorable by default.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether the metadata of a client name the device flow among its `grant_types` (RFC 7591 §2).
pub(super) fn names_device_flow(members: &Map<String, Value>) -> bool {
    let grants = members.get("grant_types").and_then(Value::as_array);
    grants.is_some_and(|grants| grants.iter().any(|grant| grant == DEVICE_GRANT))
}

/// RFC 8628 §3.4.
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What ids begin with.
const PREFIX: &str = "sgi_";
const VERSION: u8 = 2;
/// Redirect URIs of one client.
pub const MOST_URIS: usize = 20;
/// Characters of a client's name.
pub const LONGEST_NAME: usize = 100;
/// Bytes of an id: twenty redirect URIs, and a name of the longest letters.
const LONGEST_ID: usize = 1_280;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    fn ring(secrets: &[&str]) -> KeyRing {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|&secret| Secret::new(secret.to_owned()))
            .collect();
        KeyRing::new(&secrets, "app.example gate")
    }

    fn register(body: &Value) -> Result<Value, OAuthError> {
        let read = Registration::read(body.to_string().as_bytes())?;
        Ok(read.register(&ring(&["one"]), [1; 12], Timestamp(7)))
    }

    #[test]
    fn t10_redirect_uris_alone_are_enough() {
        let answer = register(&json!({"redirect_uris": ["http://127.0.0.1:3/cb"]})).unwrap();
        assert_eq!(answer["token_endpoint_auth_method"], "none");
        assert_eq!(answer["redirect_uris"], json!(["http://127.0.0.1:3/cb"]));
        assert!(answer.get("client_secret").is_none());
        let client = open(answer["client_id"].as_str().unwrap(), &ring(&["one"])).unwrap();
        assert!(client.is_public() && client.only_loopback && !client.first_party);
        assert!(client.redirect_uri("http://127.0.0.1:4/cb").is_some());
        assert!(client.redirect_uri("http://127.0.0.1:4/other").is_none());
    }

    #[test]
    fn a_secret_is_given_where_the_method_needs_one_and_outlives_the_rotation_of_ours() {
        for (method, way) in [
            ("client_secret_basic", Method::Basic),
            ("client_secret_post", Method::Post),
        ] {
            let body = json!({"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": method});
            let answer = register(&body).unwrap();
            assert_eq!(answer["client_secret_expires_at"], 0);
            let (id, secret) = (
                answer["client_id"].as_str().unwrap(),
                answer["client_secret"].as_str().unwrap(),
            );
            for keys in [ring(&["one"]), ring(&["two", "one"])] {
                let client = open(id, &keys).unwrap();
                assert!(client.has_secret(secret, way) && !client.has_secret("x", way));
            }
            assert!(open(id, &ring(&["two"])).is_none());
        }
    }

    #[test]
    fn odd_members_are_passed_over_and_bad_ones_are_refused() {
        let odd = json!({
            "redirect_uris": ["https://a.example/"], "client_name": "", "client_uri": "javascript:alert(1)", "logo_uri": null,
            "scope": 7, "grant_types": ["password"], "response_types": null, "contacts": [], "application_type": "native",
            "token_endpoint_auth_method": null, "x": {"y": []},
        });
        let answer = register(&odd).unwrap();
        assert_eq!(answer["client_name"], "An app without a name");
        assert_eq!(answer["application_type"], "native");
        assert!(answer.get("client_uri").is_none() && answer.get("logo_uri").is_none());
        for (body, code) in [
            (json!([]), Code::InvalidClientMetadata),
            (json!({}), Code::InvalidRedirectUri),
            (json!({"redirect_uris": []}), Code::InvalidRedirectUri),
            (
                json!({"redirect_uris": "https://a.example/"}),
                Code::InvalidRedirectUri,
            ),
            (json!({"redirect_uris": [7]}), Code::InvalidRedirectUri),
            (
                json!({"redirect_uris": ["https://a.example/", "javascript:x"]}),
                Code::InvalidRedirectUri,
            ),
            (
                json!({"redirect_uris": vec!["https://a.example/"; 21]}),
                Code::InvalidRedirectUri,
            ),
            (
                json!({"redirect_uris": ["https://a.example/"], "client_name": 7}),
                Code::InvalidClientMetadata,
            ),
            (
                json!({"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "x"}),
                Code::InvalidClientMetadata,
            ),
        ] {
            assert_eq!(register(&body).unwrap_err().code, code, "{body}");
        }
        assert_eq!(
            Registration::read(b"{").unwrap_err().code,
            Code::InvalidClientMetadata
        );
    }

    #[test]
    fn the_longest_id_opens_and_a_foreign_one_does_not() {
        let uris: Vec<_> = (0..MOST_URIS)
            .map(|n| format!("https://a.example/{n}{}", "x".repeat(400)))
            .collect();
        let name = "\u{1f980}".repeat(500);
        let answer = register(&json!({"redirect_uris": uris, "client_name": name})).unwrap();
        let id = answer["client_id"].as_str().unwrap();
        assert!(id.len() <= LONGEST_ID, "{}", id.len());
        assert!(open(id, &ring(&["one"])).is_some());
        for other in ["", "sgi_", "sgi_AAAA", &id[4..], &id[..id.len() - 1]] {
            assert!(open(other, &ring(&["one"])).is_none(), "{other}");
        }
    }

    #[test]
    fn a_name_is_one_line_that_reads_as_it_looks() {
        assert_eq!(shown("  <b>Probe</b> & co\r\n"), "<b>Probe</b> & co");
        assert_eq!(shown("a\u{202e}b\u{200b}c"), "abc");
        assert_eq!(shown("\u{200b} "), "An app without a name");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, id in "\\PC{0,60}") {
            let _ = Registration::read(&body);
            let _ = open(&id, &ring(&["one"]));
        }
    }
}
