//! Client ID metadata documents: the client id is the https address of a document about the client. Pure; [`fetch`](super::fetch) fetches
//! it.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use super::{
    client::{Authentication, Client, Kind},
    redirect::{RedirectUri, is_loopback, is_plain_host},
    registration::{MOST_URIS, names_device_flow, shown},
};
use crate::jose::KeySet;

/// The address of a document, which is its client's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentUrl {
    written: String,
    url: Url,
}

impl DocumentUrl {
    /// Reads a `client_id`. In plain http, and on this machine, only where `loopback` is allowed.
    ///
    /// # Errors
    /// Why no document is fetched from there.
    pub fn parse(text: &str, loopback: bool) -> Result<Self, &'static str> {
        if text.len() > LONGEST
            || !text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        {
            return Err("it is too long, or no plain ASCII");
        }
        let url = Url::parse(text).map_err(|_| "it is no address")?;
        let is_here = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if is_here && loopback => {}
            _ => return Err("it does not begin with https://"),
        }
        if is_here && !loopback {
            return Err(
                "it is an address of this machine (allow_loopback_clients is for development)",
            );
        }
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("it has a fragment or names a user");
        }
        if matches!(url.path(), "" | "/") {
            return Err("it has no path");
        }
        // Dots, default ports and capital letters: what the parser changes is not what the document could be equal to.
        if url.as_str() != text || !is_plain_host(&url) {
            return Err("it is not in its plain form");
        }
        Ok(Self {
            written: text.to_owned(),
            url,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether `domains` name its host: exactly, or with a leading dot all below one. No list names any.
    pub fn is_among(&self, domains: &[String]) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let names = |domain: &String| match domain.strip_prefix('.') {
            Some(parent) => host
                .strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
            None => host == domain,
        };
        domains.is_empty() || domains.iter().any(names)
    }
}

/// The client that a document describes. What it names may lie on this machine where `loopback` is allowed.
///
/// # Errors
/// What is wrong with it.
pub fn read(at: &DocumentUrl, body: &[u8], loopback: bool) -> Result<Client, &'static str> {
    let document: Value = serde_json::from_slice(body).map_err(|_| "it is no JSON")?;
    let members = document.as_object().ok_or("it is no JSON object")?;
    if members.get("client_id").and_then(Value::as_str) != Some(at.as_str()) {
        return Err("its client_id is not the address that it was fetched from");
    }
    if members.keys().any(|name| name.starts_with("client_secret")) {
        return Err("it holds a secret, which everybody can read");
    }
    let authentication = authentication(members, loopback)?;
    let name = members.get("client_name").and_then(Value::as_str);
    let name = name
        .filter(|name| !name.trim().is_empty())
        .ok_or("client_name is missing")?;
    let uris = members.get("redirect_uris").and_then(Value::as_array);
    let uris = uris
        .filter(|uris| !uris.is_empty())
        .ok_or("redirect_uris is missing")?;
    if uris.len() > MOST_URIS {
        return Err("it has more than 20 redirect_uris");
    }
    let uri = |uri: &Value| {
        uri.as_str()
            .and_then(|text| RedirectUri::parse_of_stranger(text).ok())
    };
    let uris = uris.iter().map(uri).collect::<Option<Vec<_>>>();
    let uris = uris.ok_or("codes are not sent to one of its redirect_uris")?;
    let mut client = Client::listed(at.as_str().to_owned(), shown(name), Kind::Document, &uris);
    client.uses_device_flow = names_device_flow(members);
    client.authentication = authentication;
    Ok(client)
}

/// How the client proves itself. Who says that it has keys is never taken without a proof: whoever knows its id could speak for it.
fn authentication(
    members: &Map<String, Value>,
    loopback: bool,
) -> Result<Authentication, &'static str> {
    let method = match members.get("token_endpoint_auth_method") {
        None => "none",
        Some(method) => method
            .as_str()
            .ok_or("its token_endpoint_auth_method is no text")?,
    };
    match method {
        "none" => return Ok(Authentication::None),
        "private_key_jwt" => {}
        _ => {
            return Err("its token_endpoint_auth_method needs a secret, which nobody has given it");
        }
    }
    match (members.get("jwks"), members.get("jwks_uri")) {
        (Some(keys), None) => Ok(Authentication::Keys(Arc::new(key_set(keys)?))),
        (None, Some(at)) => {
            let at = at.as_str().ok_or("its jwks_uri is no text")?;
            let at = DocumentUrl::parse(at, loopback);
            let at = at.map_err(|_| "its jwks_uri is no plain https address with a path")?;
            Ok(Authentication::KeysAt(at.written))
        }
        (None, None) => Err("it says private_key_jwt, and names no keys (jwks_uri or jwks)"),
        // RFC 7591 §2.
        (Some(_), Some(_)) => Err("it has both jwks and jwks_uri"),
    }
}

/// The keys of a client.
///
/// # Errors
/// What is wrong with them.
pub fn read_keys(body: &[u8]) -> Result<KeySet, &'static str> {
    let document = serde_json::from_slice(body).map_err(|_| "its jwks_uri has no JSON")?;
    key_set(&document)
}

fn key_set(document: &Value) -> Result<KeySet, &'static str> {
    let keys = KeySet::read(document).map_err(|_| "its keys are no key set")?;
    match keys.len() {
        0 => Err("none of its keys can verify a signature"),
        count if count > MOST_KEYS => Err("it has more than 20 keys"),
        _ => Ok(keys),
    }
}

/// The bytes of the longest address.
const LONGEST: usize = 512;
/// Keys of one client.
const MOST_KEYS: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jose::TestKey;

    const HERE: &str = "https://app.example/client.json";

    fn here() -> DocumentUrl {
        DocumentUrl::parse(HERE, false).unwrap()
    }

    fn good() -> Value {
        json!({
            "client_id": HERE, "client_name": "App", "redirect_uris": ["https://app.example/cb", "http://127.0.0.1/cb"],
            "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "x"], "logo_uri": "http://10.0.0.1/",
        })
    }

    #[test]
    fn a_good_document_is_a_client() {
        let client = read(&here(), good().to_string().as_bytes(), false).unwrap();
        assert_eq!((client.id.as_str(), client.name.as_str()), (HERE, "App"));
        assert_eq!(client.proven_host().as_deref(), Some("app.example"));
        assert!(client.redirect_uri("http://127.0.0.1:7/cb").is_some());
        assert!(client.redirect_uri("https://app.example/cb2").is_none());
        assert!(!client.uses_device_flow);
        let mut terminal = good();
        terminal["grant_types"] = json!(["urn:ietf:params:oauth:grant-type:device_code"]);
        assert!(
            read(&here(), terminal.to_string().as_bytes(), false)
                .unwrap()
                .uses_device_flow
        );
    }

    #[test]
    fn m13_a_bad_document_is_none() {
        let changed = |name: &str, value: Value| {
            let mut document = good();
            document[name] = value;
            document
        };
        for document in [
            json!([]),
            json!("x"),
            json!({}),
            changed("client_id", json!("https://app.example/client.json/")),
            changed("client_id", json!("https://APP.example/client.json")),
            changed("client_id", json!(null)),
            changed("client_id", json!([HERE])),
            changed("client_name", json!(null)),
            changed("client_name", json!("  ")),
            changed("client_name", json!(7)),
            changed("client_secret", json!("s")),
            changed("client_secret_expires_at", json!(0)),
            changed("token_endpoint_auth_method", json!("client_secret_basic")),
            changed("token_endpoint_auth_method", json!("client_secret_jwt")),
            changed("redirect_uris", json!(null)),
            changed("redirect_uris", json!([])),
            changed("redirect_uris", json!("https://app.example/cb")),
            changed("redirect_uris", json!([7])),
            changed(
                "redirect_uris",
                json!(["https://app.example/cb", "javascript:alert(1)"]),
            ),
            changed("redirect_uris", json!(["http://app.example/cb"])),
            changed("redirect_uris", json!(["https://*.app.example/"])),
            changed("redirect_uris", json!(vec!["https://app.example/"; 21])),
        ] {
            assert!(
                read(&here(), document.to_string().as_bytes(), false).is_err(),
                "{document}"
            );
        }
        assert!(read(&here(), b"", false).is_err());
        assert!(read(&here(), b"<html>", false).is_err());
    }

    #[test]
    fn a_client_that_has_keys_proves_itself_by_them_and_no_other_way() {
        let read_with = |changes: &Value| {
            let mut document = good();
            document["token_endpoint_auth_method"] = "private_key_jwt".into();
            for (name, value) in changes.as_object().unwrap() {
                document[name] = value.clone();
            }
            let client = read(&here(), document.to_string().as_bytes(), false);
            client.map(|client| client.authentication)
        };
        let jwk = TestKey::ec("a").jwk();
        let keys = json!({"keys": [jwk]});
        let at = "https://app.example/jwks.json";
        assert!(matches!(
            read_with(&json!({"jwks": keys})),
            Ok(Authentication::Keys(_))
        ));
        let found = read_with(&json!({"jwks_uri": at}));
        assert!(matches!(found, Ok(Authentication::KeysAt(found)) if found == at));
        for bad in [
            json!({}),
            json!({"jwks": keys, "jwks_uri": at}),
            json!({"jwks": {"keys": []}}),
            json!({"jwks": {"keys": vec![jwk; 21]}}),
            json!({"jwks": "x"}),
            json!({"jwks_uri": 7}),
            json!({"jwks_uri": "http://app.example/jwks.json"}),
            json!({"jwks_uri": "https://127.0.0.1/jwks.json"}),
            json!({"jwks_uri": "file:///etc/passwd"}),
            json!({"jwks_uri": at, "token_endpoint_auth_method": 7}),
        ] {
            assert!(read_with(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_a_plain_https_address_with_a_path() {
        for text in [HERE, "https://app.example:8443/a/b?c=d"] {
            assert!(DocumentUrl::parse(text, false).is_ok(), "{text}");
        }
        let long = format!("https://app.example/{}", "a".repeat(LONGEST));
        for text in [
            "",
            "app",
            "http://app.example/a",
            "https://app.example",
            "https://app.example/",
            "https://app.example/a#b",
            "https://u@app.example/a",
            "https://u:p@app.example/a",
            "https://app.example/a/../b",
            "https://app.example/./a",
            "https://app.example/%2e%2e/a",
            "https://APP.example/a",
            "https://app.example:443/a",
            "https:\\\\app.example/a",
            "https://app.example/\u{e9}",
            "file:///etc/passwd",
            "ftp://app.example/a",
            "http://127.0.0.1/a",
            "https://127.0.0.1/a",
            "https://localhost/a",
            "https://[::1]/a",
            "https://0x7f.1/a",
            "https://2130706433/a",
            &long,
        ] {
            assert!(DocumentUrl::parse(text, false).is_err(), "{text}");
        }
        assert!(DocumentUrl::parse("http://127.0.0.1:9/a", true).is_ok());
        assert!(DocumentUrl::parse("http://app.example/a", true).is_err());
    }

    #[test]
    fn only_listed_domains_where_there_is_a_list() {
        let among = |domains: &[&str]| {
            let domains: Vec<_> = domains.iter().map(|&domain| domain.to_owned()).collect();
            DocumentUrl::parse("https://a.app.example/c", false)
                .unwrap()
                .is_among(&domains)
        };
        assert!(among(&[]) && among(&["x.example", "a.app.example"]) && among(&[".app.example"]));
        assert!(
            !among(&["app.example"]) && !among(&[".a.app.example"]) && !among(&[".pp.example"])
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, id in "\\PC{0,60}") {
            let _ = (read(&here(), &body, true), read_keys(&body));
            let _ = DocumentUrl::parse(&id, true);
        }
    }
}
