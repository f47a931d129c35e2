//! `session.cookie_domain`: which hosts share one login.

use url::{Host, Url};

use super::{
    super::problem::{Origin, Problem},
    Reader, Table,
    address::is_host_name,
};
use crate::{public_url::PublicUrl, route::Route};

/// A domain in lower case, without the leading dot that browsers leave out too (RFC 6265 §5.2.3).
pub(super) fn cookie_domain(text: &str, origin: &Origin) -> Result<String, Problem> {
    let problem = Problem::new(
        origin,
        format!("`{text}` is no domain to share a cookie in"),
    );
    if text.contains("://") || text.contains('/') {
        return Err(problem.hint("write the domain alone: \"example.com\""));
    }
    if let Some(name) = text.strip_prefix("*.") {
        return Err(problem.hint(format!(
            "a cookie is for all names below its domain anyway: \"{name}\""
        )));
    }
    let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
    let host = Url::parse(&format!("https://{name}/"));
    let host = host.as_ref().ok().and_then(Url::host);
    match host {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => Err(problem.hint(
            "browsers share no cookie between addresses; the hosts need names in one domain",
        )),
        // What the URL standard would repair is refused, and so is a port.
        Some(Host::Domain(host)) if host == name && is_host_name(&name) => {
            if is_public_suffix(&name) {
                Err(problem.hint(
                    "strangers have names in it, so browsers take no cookie for it; name a domain of your own below it",
                ))
            } else {
                Ok(name)
            }
        }
        _ => Err(problem.hint("as in \"example.com\"; other letters in their xn-- form")),
    }
}

/// `text` as such a domain, where its cookie goes to `host`.
pub(in crate::config) fn covering(text: &str, host: &str) -> Option<String> {
    let domain = cookie_domain(text, &Origin::Nowhere).ok()?;
    is_within(host, &domain).then_some(domain)
}

impl Reader<'_> {
    /// The login has to reach every host that is named.
    pub(super) fn check_cookie_domain(
        &mut self,
        root: &Table<'_>,
        domain: &str,
        public_url: &PublicUrl,
        routes: &[Route],
    ) {
        let session = root.node.get("session");
        let node = session.and_then(|session| session.get("cookie_domain"));
        let origin = node.map_or(Origin::Nowhere, |node| node.origin.clone());
        let outside = |named: &str, what: &str| {
            let message =
                format!("`cookie_domain` \"{domain}\" does not cover {what}, \"{named}\"");
            Problem::new(&origin, message)
                .hint("name a domain that all hosts lie in, or give that host a gate of its own")
        };
        let host = public_url.url.host_str();
        if let Some(host) = host.filter(|host| !is_within(host, domain)) {
            self.problem(outside(host, "public_url's host"));
        }
        for route in routes {
            let Some(host) = &route.host else { continue };
            if !is_within(host.name(), domain) {
                let what = format!("the host of {}", route.name);
                self.problem(outside(&host.to_string(), &what));
            }
        }
    }
}

/// Whether a cookie for `domain` goes to `host` (RFC 6265 §5.1.3).
fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether strangers have names in `name`, as far as can be told without the whole list (publicsuffix.org), which browsers
/// have and hold against each cookie: what is missed here is a login that never holds, and nothing worse.
fn is_public_suffix(name: &str) -> bool {
    let Some((first, rest)) = name.split_once('.') else {
        return true;
    };
    let is_of_country = rest.len() == 2 && !rest.contains('.');
    (is_of_country && BELOW_COUNTRIES.contains(&first)) || HOSTERS.contains(&name)
}

/// What countries divide their domains into.
const BELOW_COUNTRIES: &[&str] = &[
    "ac", "co", "com", "edu", "gob", "gouv", "gov", "govt", "gv", "mil", "ne", "net", "or", "org",
    "sch",
];

/// Those that give names below one of their own to everybody.
const HOSTERS: &[&str] = &[
    "appspot.com",
    "azurewebsites.net",
    "azurestaticapps.net",
    "blogspot.com",
    "cloudapp.net",
    "cloudfront.net",
    "ddns.net",
    "deno.dev",
    "duckdns.org",
    "dyndns.org",
    "firebaseapp.com",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "hf.space",
    "hopto.org",
    "lovable.app",
    "myshopify.com",
    "netlify.app",
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "nip.io",
    "no-ip.org",
    "on.aws",
    "onrender.com",
    "pages.dev",
    "readthedocs.io",
    "run.app",
    "sslip.io",
    "streamlit.app",
    "surge.sh",
    "trycloudflare.com",
    "up.railway.app",
    "vercel.app",
    "web.app",
    "workers.dev",
    "zapto.org",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_of_ones_own() {
        for (text, expected) in [
            ("example.com", "example.com"),
            (".Example.com", "example.com"),
            ("intra.example.co.uk", "intra.example.co.uk"),
            ("example.co", "example.co"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("corp.internal", "corp.internal"),
        ] {
            let found = cookie_domain(text, &Origin::Nowhere);
            assert_eq!(found.ok().as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_strangers_share_or_no_cookie_can_name_is_refused() {
        for text in [
            "com",
            ".com",
            "localhost",
            "co.uk",
            "com.au",
            "github.io",
            "*.example.com",
            "..example.com",
            "example.com.",
            "example.com:443",
            "https://example.com",
            "example.com/path",
            "192.0.2.1",
            "[::1]",
            "1.2",
            "user@example.com",
            "b\u{fc}cher.example",
            "a b.example",
            "example.com; Secure",
        ] {
            assert!(cookie_domain(text, &Origin::Nowhere).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cookie_goes_to_its_domain_and_below() {
        for (host, expected) in [
            ("example.com", true),
            ("a.b.example.com", true),
            ("evilexample.com", false),
            ("example.com.evil.test", false),
            ("com", false),
        ] {
            assert_eq!(is_within(host, "example.com"), expected, "{host}");
        }
    }
}
