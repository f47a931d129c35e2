//! Resources (RFC 8707): the addresses that tokens are for. Pure.

use url::Url;

use crate::canonical_path::CanonicalPath;

/// The address of what a token is for: an origin and a path, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    origin: String,
    path: String,
}

impl Resource {
    /// Reads a `resource` parameter. Scheme and host may be of any case, the scheme's own port may be written out, and one
    /// slash at the end makes no difference: clients put one behind an origin, and leave it away elsewhere.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST
            || text.contains('#')
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return None;
        }
        let (_, rest) = text.split_once("://")?;
        let written = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
        let url = Url::parse(text).ok()?;
        let is_plain = matches!(url.scheme(), "https" | "http")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none();
        if !is_plain || url.host().is_none() || rest[..rest.len() - written.len()].contains('@') {
            return None;
        }
        // The path as it was written: the parser would take dots and backslashes for what they are not.
        let path = CanonicalPath::parse(if written.is_empty() { "/" } else { written }).ok()?;
        if path.deep.is_some() {
            return None;
        }
        Some(Self::new(
            &url.origin().ascii_serialization(),
            &path.surface,
        ))
    }

    /// The resource at `path`, a canonical one, of `origin` as browsers write it.
    pub fn new(origin: &str, path: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            path: path.strip_suffix('/').unwrap_or(path).to_owned(),
        }
    }

    /// The origin as browsers write it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path, `/` at least.
    pub fn path(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }

    /// As it is kept and compared.
    pub fn to_text(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }
}

/// Whether a request for `path` of `origin` is one for the `resource`, as [`Resource::to_text`] wrote it: for that address or
/// one below it.
pub fn covers(resource: &str, origin: &str, path: &str) -> bool {
    let Some(own) = resource.strip_prefix(origin) else {
        return false;
    };
    match path.strip_prefix(own) {
        Some(rest) => {
            (own.is_empty() || own.starts_with('/')) && (rest.is_empty() || rest.starts_with('/'))
        }
        None => false,
    }
}

/// The bytes of the longest address of a resource.
const LONGEST: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t24_spellings_of_one_resource_are_one() {
        for (text, expected) in [
            ("https://h.example", "https://h.example"),
            ("https://h.example/", "https://h.example"),
            ("HTTPS://H.Example/mcp", "https://h.example/mcp"),
            ("https://h.example:443/mcp/", "https://h.example/mcp"),
            (
                "https://h.example:8443/a/mcp",
                "https://h.example:8443/a/mcp",
            ),
            ("http://127.0.0.1:1/mcp", "http://127.0.0.1:1/mcp"),
        ] {
            let found = Resource::parse(text).map(|resource| resource.to_text());
            assert_eq!(found.as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "h.example/mcp",
            "/mcp",
            "https://",
            "https://h.example/mcp#a",
            "https://h.example/mcp?a=b",
            "https://u@h.example/mcp",
            "https://@h.example/",
            "ftp://h.example/",
            "https://h.example/a%2fb",
            "https://h.example/\u{e9}",
            "https://h.example/a b",
        ] {
            assert_eq!(Resource::parse(text), None, "{text}");
        }
    }

    #[test]
    fn m10_a_token_is_for_its_address_and_what_lies_below() {
        let origin = "https://h.example";
        for (resource, path, expected) in [
            ("https://h.example/mcp", "/mcp", true),
            ("https://h.example/mcp", "/mcp/", true),
            ("https://h.example/mcp", "/mcp/a", true),
            ("https://h.example/mcp", "/mcp-b", false),
            ("https://h.example/mcp", "/", false),
            ("https://h.example", "/", true),
            ("https://h.example", "/any", true),
            ("https://h.example.evil", "/", false),
            ("https://h.example:8443/mcp", "/mcp", false),
            ("https://other.example/mcp", "/mcp", false),
        ] {
            assert_eq!(
                covers(resource, origin, path),
                expected,
                "{resource} {path}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_again_alike(text in "https?://[a-z.:0-9/%\\\\@-]{0,40}") {
            if let Some(resource) = Resource::parse(&text) {
                let again = Resource::parse(&resource.to_text());
                prop_assert_eq!(again.as_ref(), Some(&resource));
                prop_assert!(covers(&resource.to_text(), resource.origin(), resource.path()));
            }
        }
    }
}
