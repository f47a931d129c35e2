//! Header names that only the gate may write, recognised in every spelling. Pure.
//!
//! An app that trusts a header trusts everybody who can write it. So all names of the presets, of similar products and of the
//! configuration are removed from every request, signed in or not, before the gate adds its own. This includes names that
//! the current configuration never sets.

use http::{HeaderMap, HeaderName};

use super::names::NameSet;

/// The names removed from every request: those of all presets and peers, always, and those that the
/// configuration sets. A name is compared after every character but letters and digits became `-`,
/// because upstreams map `X_User` and `X.User` to the same variable (CGI, WSGI, PHP).
#[derive(Clone, Debug)]
pub struct ReservedNames {
    names: NameSet,
}

impl ReservedNames {
    /// The fixed list and `configured`.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let configured = configured.into_iter().map(HeaderName::as_str);
        Self {
            names: NameSet::new(
                NAMES.iter().copied().chain(configured),
                PREFIXES.iter().copied(),
            ),
        }
    }

    /// Whether the name is reserved. `name` is lower case, as `HeaderName` holds it.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Removes every reserved header; trailers are a `HeaderMap`, too. Allocates nothing where there is
    /// none.
    pub fn strip(&self, headers: &mut HeaderMap) {
        self.names.remove(headers, |_| true);
    }
}

/// `x-user-` is no prefix here: gRPC-Web sends `X-User-Agent`.
const NAMES: &[&str] = &[
    // The preset `sidegate`.
    "x-user",
    "x-user-id",
    "x-user-email",
    "x-user-name",
    "x-user-groups",
    "x-user-groups-missing",
    "x-user-provider",
    "x-user-auth",
    "x-user-scopes",
    "x-user-client",
    "x-user-assertion",
    "x-user-picture",
    "x-user-roles",
    "x-email",
    "x-username",
    // oauth2-proxy; `x-forwarded-` as a whole belongs to proxies.
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-id-token",
    "gap-auth",
    "gap-signature",
    // Authelia, tinyauth, and what CGI knew as REMOTE_USER.
    "remote-user",
    "remote-email",
    "remote-name",
    "remote-groups",
    // Louketo; not `x-auth-token`, with which OpenStack's clients sign in.
    "x-auth-username",
    "x-auth-userid",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-roles",
    "x-auth-subject",
    // caddy-security.
    "x-token-subject",
];

const PREFIXES: &[&str] = &[
    // oauth2-proxy behind nginx.
    "x-auth-request-",
    // Front proxies of Kubernetes and others.
    "x-remote-",
    // Grafana and Gitea.
    "x-webauth-",
    "x-authenticated-",
    "x-authentik-",
    "x-pomerium-",
    "x-vouch-",
    "x-token-user-",
    // mod_auth_openidc.
    "oidc-",
    // Cloudflare Access, Google's Identity-Aware Proxy, AWS load balancers, Azure App Service.
    "cf-access-",
    "x-goog-iap-",
    "x-goog-authenticated-user-",
    "x-amzn-oidc-",
    "x-ms-client-principal",
    "x-ms-token-",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn reserved() -> ReservedNames {
        ReservedNames::new(&[
            HeaderName::from_static("x_campus"),
            HeaderName::from_static("x-api.token"),
        ])
    }

    #[test]
    fn every_preset_is_reserved_in_every_spelling() {
        for name in [
            "x-user",
            "x_user",
            "x.user",
            "x~user",
            "x-user-id",
            "x-user_id",
            "x-forwarded-user",
            "x_forwarded_user",
            "x-forwarded_user",
            "x.forwarded.user",
            "x-forwarded-preferred-username",
            "x-forwarded-access-token",
            "x-auth-request-user",
            "x-auth_request_user",
            "x-auth-request-anything-else",
            "remote-user",
            "remote_user",
            "x-remote-group",
            "x-webauth-user",
            "x-authentik-username",
            "x-pomerium-jwt-assertion",
            "cf-access-jwt-assertion",
            "x-goog-iap-jwt-assertion",
            "x-goog-authenticated-user-email",
            "x-amzn-oidc-data",
            "x-ms-client-principal-id",
            "oidc_claim_sub",
            "gap-auth",
            "x-campus",
            "x_campus",
            "x-api-token",
            "x-api_token",
        ] {
            assert!(reserved().contains(name), "{name}");
        }
    }

    #[test]
    fn other_headers_pass() {
        for name in [
            "x-user-agent",
            "x-users",
            "x-use",
            "xuser",
            "_x_user",
            "-x-user",
            "x--user",
            "user",
            "referer",
            "remote",
            "cookie",
            "authorization",
            "x-forwarded-for",
            "x-requested-with",
            "x-auth-token",
            "x-csrf-token",
            "origin",
            "",
        ] {
            assert!(!reserved().contains(name), "{name}");
        }
    }

    #[test]
    fn strips_all_copies_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("X-User", "root"),
            ("x_user", "root"),
            ("X-Forwarded-Groups", "admin"),
            ("Accept", "text/html"),
            ("x-user", "admin"),
            ("x-user-agent", "grpc-web"),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        reserved().strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-user-agent"]);
    }

    #[test]
    fn a_configured_name_may_begin_with_anything() {
        let names = ReservedNames::new(&[
            HeaderName::from_static("_user"),
            HeaderName::from_static("zz"),
        ]);
        assert!(names.contains("_user") && names.contains("-user") && names.contains("zz"));
        assert!(!names.contains("zuser"));
    }

    proptest! {
        #[test]
        fn any_separator_is_recognised(
            index in 0..NAMES.len(),
            separators in proptest::collection::vec("[-_.!#$%&'*+^`|~]", 8),
        ) {
            let mut separators = separators.iter();
            let spelled: String = NAMES[index]
                .split('-')
                .flat_map(|word| [word, separators.next().map_or("-", String::as_str)])
                .collect();
            let spelled = &spelled[..NAMES[index].len()];
            prop_assert!(reserved().contains(spelled), "{}", spelled);
        }

        #[test]
        fn nothing_reserved_is_left(names in proptest::collection::vec("[xr][-_.](user|remote[-_]user|for)[a-z]?", 0..9)) {
            let mut headers = HeaderMap::new();
            for name in &names {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_static("v"));
            }
            let names = reserved();
            names.strip(&mut headers);
            prop_assert!(!headers.keys().any(|name| names.contains(name.as_str())));
        }
    }
}
