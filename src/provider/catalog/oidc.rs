//! Kinds that speak OpenID Connect.

use super::super::kind::{AccountSwitch, ClientType, Endpoint, Id, Kind};

/// Any OpenID Connect provider.
pub const OIDC: Kind = Kind {
    id: Id::Oidc,
    name: "oidc",
    label: "",
    mark: "",
    endpoints: &discovered_by(issuer(None, "")),
    scopes: &["openid", "profile", "email"],
    required_scope: Some("openid"),
    allow: &["groups"],
    closed: &[],
    logins_ignore_case: false,
    claims_by_hand: false,
    secret: ClientType::Optional,
    offers_logout: true,
    switch: AccountSwitch::Asks,
    revokes: true,
};

/// Google.
pub const GOOGLE: Kind = Kind {
    id: Id::Google,
    name: "google",
    label: "Google",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke-width="4">"#,
        r##"<path stroke="#ea4335" d="M18.1 6.9A8 8 0 0 0 4.75 8.6"/>"##,
        r##"<path stroke="#fbbc05" d="M4.75 8.6a8 8 0 0 0 0 6.8"/>"##,
        r##"<path stroke="#34a853" d="M4.75 15.4a8 8 0 0 0 12.4 2.7"/>"##,
        r##"<path stroke="#4285f4" d="M17.15 18.1A8 8 0 0 0 20 12h-8"/></svg>"##,
    ),
    endpoints: &{
        let [
            issuer,
            authorize,
            token,
            jwks,
            userinfo,
            end_session,
            revocation,
            _,
        ] = discovered_by(issuer(Some("https://accounts.google.com"), ""));
        [
            issuer,
            authorize,
            token,
            jwks,
            userinfo,
            end_session,
            revocation,
            TOKEN_INFO,
            GROUPS,
        ]
    },
    allow: &["hosted_domains", "groups"],
    // One consent, one grant: to revoke one of its tokens is to revoke those of all of a user's browsers.
    revokes: false,
    secret: ClientType::Always,
    offers_logout: false,
    ..OIDC
};

/// GitLab.
pub const GITLAB: Kind = Kind {
    id: Id::GitLab,
    name: "gitlab",
    label: "GitLab",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" aria-hidden="true">"#,
        r##"<path fill="#e2432a" d="M12 21 6.5 10h11z"/>"##,
        r##"<path fill="#fc6d27" d="M12 21 6.5 10H2.5zM12 21 17.5 10h4z"/>"##,
        r##"<path fill="#fca327" d="M12 21 2.5 10 1.5 14zM12 21 21.5 10l1 4z"/>"##,
        r##"<path fill="#e2432a" d="M2.5 10h4L4.7 3.5zM21.5 10h-4l1.8-6.5z"/></svg>"##,
    ),
    endpoints: &discovered_by(issuer(Some("https://gitlab.com"), "")),
    logins_ignore_case: true,
    secret: ClientType::Usually,
    offers_logout: false,
    ..OIDC
};

/// Microsoft Entra ID.
pub const MICROSOFT: Kind = Kind {
    id: Id::Microsoft,
    name: "microsoft",
    label: "Microsoft",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" aria-hidden="true">"#,
        r##"<path fill="#f25022" d="M2 2h9.5v9.5H2z"/><path fill="#7fba00" d="M12.5 2H22v9.5h-9.5z"/>"##,
        r##"<path fill="#00a4ef" d="M2 12.5h9.5V22H2z"/>"##,
        r##"<path fill="#ffb900" d="M12.5 12.5H22V22h-9.5z"/></svg>"##,
    ),
    endpoints: &discovered_by(issuer(
        Some("https://login.microsoftonline.com/common/v2.0"),
        "/common/v2.0",
    )),
    allow: &["tenants", "groups"],
    logins_ignore_case: true,
    secret: ClientType::Usually,
    ..OIDC
};

const TOKEN_INFO: Endpoint = Endpoint {
    key: "introspection_url",
    default: Some("https://oauth2.googleapis.com/tokeninfo"),
    below_base: Some("/tokeninfo"),
    optional: true,
};

const GROUPS: Endpoint = Endpoint {
    key: "groups_url",
    default: Some(
        "https://cloudidentity.googleapis.com/v1/groups/-/memberships:searchTransitiveGroups",
    ),
    below_base: Some("/v1/groups/-/memberships:searchTransitiveGroups"),
    optional: true,
};

const fn issuer(default: Option<&'static str>, below_base: &'static str) -> Endpoint {
    Endpoint {
        key: "issuer",
        default,
        below_base: Some(below_base),
        optional: false,
    }
}

/// An address that the document tells, and the configuration may tell instead.
const fn discovered(key: &'static str) -> Endpoint {
    Endpoint {
        key,
        default: None,
        below_base: None,
        optional: true,
    }
}

/// The issuer, and what its document tells.
const fn discovered_by(issuer: Endpoint) -> [Endpoint; 8] {
    [
        issuer,
        discovered("authorize_url"),
        discovered("token_url"),
        discovered("jwks_url"),
        discovered("userinfo_url"),
        discovered("end_session_url"),
        discovered("revocation_url"),
        discovered("introspection_url"),
    ]
}
