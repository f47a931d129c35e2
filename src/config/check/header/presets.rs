//! `headers.preset`: the headers that apps for other products read. Signed headers are signed by this gate: apps must be configured with its
//! key set.

use http::HeaderName;

use crate::identity_headers::HeaderSource;

/// A preset's headers.
pub(super) type Preset = Vec<(HeaderName, HeaderSource)>;

pub(super) const HINT: &str = "\"sidegate\", \"oauth2-proxy\", \"remote-user\", \"grafana\", \"authelia\", \"pomerium\", \
     \"cloudflare-access\", \"google-iap\", \"aws-alb\" or \"none\"; `set` adds names of your own";

fn sidegate() -> Preset {
    preset(&[
        ("x-user", HeaderSource::User),
        ("x-user-id", HeaderSource::UserId),
        ("x-user-email", HeaderSource::Email),
        ("x-user-name", HeaderSource::Name),
        ("x-user-groups", HeaderSource::Groups),
        ("x-user-provider", HeaderSource::Provider),
        ("x-user-auth", HeaderSource::Credential),
        ("x-user-scopes", HeaderSource::Scopes),
        ("x-user-client", HeaderSource::Client),
        ("x-user-assertion", HeaderSource::Assertion),
    ])
}

/// Each by its name.
pub(super) fn all() -> [(&'static str, Preset); 10] {
    use HeaderSource::{Assertion, Email, Groups, Name, Subject, User};
    [
        ("sidegate", sidegate()),
        // The names of a request that was proxied, and those that nginx copies from the answer of `/auth`. Its user is the
        // provider's `sub`, by which apps behind it know people.
        (
            "oauth2-proxy",
            preset(&[
                ("x-forwarded-user", Subject),
                ("x-forwarded-email", Email),
                ("x-forwarded-groups", Groups),
                ("x-forwarded-preferred-username", User),
                ("x-auth-request-user", Subject),
                ("x-auth-request-email", Email),
                ("x-auth-request-groups", Groups),
                ("x-auth-request-preferred-username", User),
            ]),
        ),
        // What CGI and WSGI know as HTTP_REMOTE_USER.
        ("remote-user", preset(&[("remote-user", User)])),
        // The names in Grafana's own documentation of `auth.proxy`.
        (
            "grafana",
            preset(&[
                ("x-webauth-user", User),
                ("x-webauth-name", Name),
                ("x-webauth-email", Email),
                ("x-webauth-groups", Groups),
            ]),
        ),
        (
            "authelia",
            preset(&[
                ("remote-user", User),
                ("remote-name", Name),
                ("remote-email", Email),
                ("remote-groups", Groups),
            ]),
        ),
        (
            "pomerium",
            preset(&[
                ("x-pomerium-claim-user", Subject),
                ("x-pomerium-claim-name", Name),
                ("x-pomerium-claim-email", Email),
                ("x-pomerium-claim-groups", Groups),
                ("x-pomerium-jwt-assertion", Assertion),
            ]),
        ),
        (
            "cloudflare-access",
            preset(&[
                ("cf-access-authenticated-user-email", Email),
                ("cf-access-jwt-assertion", Assertion),
            ]),
        ),
        // Apps cut off what stands before the colon.
        (
            "google-iap",
            preset(&[
                ("x-goog-authenticated-user-email", of_google(Email)),
                ("x-goog-authenticated-user-id", of_google(Subject)),
                ("x-goog-iap-jwt-assertion", Assertion),
            ]),
        ),
        (
            "aws-alb",
            preset(&[
                ("x-amzn-oidc-identity", Subject),
                ("x-amzn-oidc-data", Assertion),
            ]),
        ),
        ("none", Vec::new()),
    ]
}

fn of_google(source: HeaderSource) -> HeaderSource {
    HeaderSource::Prefixed("accounts.google.com:", Box::new(source))
}

fn preset(headers: &[(&'static str, HeaderSource)]) -> Preset {
    let headers = headers.iter().cloned();
    let named = headers.map(|(name, source)| (HeaderName::from_static(name), source));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::identity::ReservedNames;

    /// An app may be reached by two gates, or have read another proxy's headers before.
    #[test]
    fn no_client_may_send_what_any_preset_writes() {
        let always = ReservedNames::new(&[]);
        for (preset, headers) in all() {
            for (name, _) in headers {
                assert!(always.contains(name.as_str()), "{preset}: {name}");
            }
        }
    }

    #[test]
    fn the_hint_names_every_preset() {
        for (preset, _) in all() {
            assert!(HINT.contains(&format!("\"{preset}\"")), "{preset}");
        }
    }
}
