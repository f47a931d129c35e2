//! Which addresses of a provider may be called, and whether in plain http. Pure.

use url::{Host, Position, Url};

/// Where plain http is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere.
    Never,
    /// To this machine, which nobody listens in on.
    Loopback,
    /// Wherever the operator's network leads (`insecure_http = true`).
    Anywhere,
}

/// A URL that a provider's endpoint may have: https, or http where `plain` has it; no credentials in it.
pub fn endpoint_url(text: &str, plain: PlainHttp) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    url.set_fragment(None);
    (may_call(&url, plain) && !has_credentials).then_some(url)
}

/// Whether `url` is one to call at all.
pub(super) fn may_call(url: &Url, plain: PlainHttp) -> bool {
    match (url.scheme(), plain) {
        ("https", _) | ("http", PlainHttp::Anywhere) => url.has_host(),
        ("http", PlainHttp::Loopback) => is_loopback(url),
        _ => false,
    }
}

/// Whether the host is this machine by definition (RFC 6890, RFC 6761 §6.3).
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A provider that the gate reaches at another address than browsers do (`internal_url`): a server in the same
/// network as the gate, whose public name leads elsewhere from there, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internal {
    public: Place,
    internal: Place,
}

/// An origin, and the path that everything there has in common; no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    origin: Url,
    path: String,
}

impl Internal {
    /// `issuer` is what browsers call the provider. `internal` is the same address within the network: where it has no
    /// path, that of the issuer stays. What both paths end with is the provider's own; before it stands what a proxy
    /// put there.
    pub fn new(issuer: &Url, internal: &Url) -> Self {
        let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
        let (mut public_path, mut internal_path) = (path(issuer), path(internal));
        if internal_path.is_empty() {
            public_path.clear();
        }
        while let (Some((public, one)), Some((internal, other))) =
            (public_path.rsplit_once('/'), internal_path.rsplit_once('/'))
            && one == other
        {
            (public_path, internal_path) = (public.to_owned(), internal.to_owned());
        }
        let place = |url: &Url, path| Place {
            origin: root_of(url),
            path,
        };
        Self {
            public: place(issuer, public_path),
            internal: place(internal, internal_path),
        }
    }

    /// Where the gate reaches a public address; none for one that is not the provider's.
    pub fn inside(&self, url: &Url) -> Option<Url> {
        moved(url, &self.public, &self.internal)
    }

    /// What browsers call an address within the network; none for one that is not the provider's.
    pub fn outside(&self, url: &Url) -> Option<Url> {
        moved(url, &self.internal, &self.public)
    }
}

fn root_of(url: &Url) -> Url {
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    root.set_fragment(None);
    root
}

/// `url` with `to` in the place of `from`. What is at the same origin, but not below its path, keeps its path: some
/// providers have endpoints beside their issuer.
fn moved(url: &Url, from: &Place, to: &Place) -> Option<Url> {
    if url.origin() != from.origin.origin() {
        return None;
    }
    let path = match url.path().strip_prefix(from.path.as_str()) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", to.path),
        _ => url.path().to_owned(),
    };
    let mut moved = to.origin.clone();
    moved.set_path(&path);
    moved.set_query(url.query());
    Some(moved)
}

/// Path and query, as a request's line has them.
pub(super) fn path_and_query(url: &Url) -> &str {
    &url[Position::BeforePath..Position::AfterQuery]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn plain_http_is_for_loopback_or_where_the_operator_says() {
        use PlainHttp::{Anywhere, Loopback, Never};
        for (text, never, loopback, anywhere) in [
            ("https://id.example.com/token?x=1", true, true, true),
            ("http://127.0.0.1:9000/token", false, true, true),
            ("http://[::1]:9000/token", false, true, true),
            ("http://localhost/token", false, true, true),
            ("http://id.example.com/token", false, false, true),
            ("http://localhost.example.com/", false, false, true),
            ("http://10.0.0.1/", false, false, true),
            ("ftp://id.example.com/", false, false, false),
            ("https://user:pass@id.example.com/", false, false, false),
            ("http://user@127.0.0.1/", false, false, false),
            ("/token", false, false, false),
            ("javascript:alert(1)", false, false, false),
            ("", false, false, false),
        ] {
            assert_eq!(endpoint_url(text, Never).is_some(), never, "{text}");
            assert_eq!(endpoint_url(text, Loopback).is_some(), loopback, "{text}");
            assert_eq!(endpoint_url(text, Anywhere).is_some(), anywhere, "{text}");
        }
        let bare = endpoint_url("https://a/b#c", Never).unwrap();
        assert_eq!(bare.as_str(), "https://a/b");
    }

    #[test]
    fn an_internal_address_takes_the_place_of_the_issuers() {
        for (issuer, internal, public, inside) in [
            // Keycloak in compose: the origin alone.
            (
                "http://localhost:8080/realms/x",
                "http://keycloak:8080",
                "http://localhost:8080/realms/x/protocol/openid-connect/token?a=b",
                "http://keycloak:8080/realms/x/protocol/openid-connect/token?a=b",
            ),
            // The whole address of the issuer; endpoints beside it are found, too.
            (
                "https://auth.example.com/application/o/app/",
                "http://authentik:9000/application/o/app/",
                "https://auth.example.com/application/o/token/",
                "http://authentik:9000/application/o/token/",
            ),
            // A proxy in front adds a path, or takes one away.
            (
                "https://example.com/auth/realms/x",
                "http://keycloak:8080/realms/x",
                "https://example.com/auth/realms/x/certs",
                "http://keycloak:8080/realms/x/certs",
            ),
            (
                "https://id.example.com",
                "http://server:9/id",
                "https://id.example.com/token",
                "http://server:9/id/token",
            ),
            // Default ports are the same origin.
            (
                "https://id.example.com",
                "http://server",
                "https://id.example.com:443/token",
                "http://server/token",
            ),
        ] {
            let place = Internal::new(&url(issuer), &url(internal));
            assert_eq!(place.inside(&url(public)), Some(url(inside)), "{issuer}");
            assert_eq!(place.outside(&url(inside)), Some(url(public)), "{issuer}");
        }
        let place = Internal::new(&url("https://id.example.com/a"), &url("http://server/a"));
        for foreign in [
            "https://id.example.com:8443/a",
            "http://id.example.com/a",
            "https://keys.example.net/a",
        ] {
            assert_eq!(place.inside(&url(foreign)), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn an_address_leads_to_the_internal_origin_or_nowhere(
            issuer in "/[a-c/]{0,6}", internal in "/[a-c/]{0,6}", path in "/[a-d/.%]{0,10}",
        ) {
            let place = Internal::new(
                &url(&format!("https://id.example.com{issuer}")),
                &url(&format!("http://inside:8080{internal}")),
            );
            let public = url(&format!("https://id.example.com{path}"));
            let inside = place.inside(&public).unwrap();
            prop_assert_eq!(inside.authority(), "inside:8080");
            let outside = place.outside(&inside).unwrap();
            prop_assert_eq!(outside.authority(), "id.example.com");
        }
    }
}
