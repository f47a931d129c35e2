//! Kinds that speak plain OAuth 2.0.

use super::super::kind::{AccountSwitch, ClientType, Endpoint, Id, Kind};

/// 42.
pub const FORTY_TWO: Kind = Kind {
    id: Id::FortyTwo,
    name: "42",
    label: "42",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true"><path d=""#,
        "M19.581 16.851H24v-4.439ZM24 3.574h-4.419v4.42l-4.419 4.418v4.44h4.419v-4.44L24 7.993Z",
        "m-4.419 0h-4.419v4.42zm-6.324 8.838H4.419l8.838-8.838H8.838L0 12.412v3.595h8.838v4.419h4.419z",
        r#""/></svg>"#,
    ),
    endpoints: &[
        known(
            "authorize_url",
            "https://api.intra.42.fr/oauth/authorize",
            "/oauth/authorize",
        ),
        known(
            "token_url",
            "https://api.intra.42.fr/oauth/token",
            "/oauth/token",
        ),
        known("userinfo_url", "https://api.intra.42.fr/v2/me", "/v2/me"),
        known(
            "introspection_url",
            "https://api.intra.42.fr/oauth/token/info",
            "/oauth/token/info",
        ),
    ],
    scopes: &["public"],
    required_scope: None,
    allow: &["campus", "cursus", "staff", "kind", "groups"],
    closed: &[
        ("staff", &["true", "false"]),
        ("kind", &["student", "admin", "external"]),
    ],
    logins_ignore_case: true,
    claims_by_hand: false,
    secret: ClientType::Always,
    offers_logout: false,
    switch: AccountSwitch::SignOutFirst {
        page: Some("https://profile.intra.42.fr/"),
    },
    revokes: false,
};

/// GitHub.
pub const GITHUB: Kind = Kind {
    id: Id::GitHub,
    name: "github",
    label: "GitHub",
    mark: concat!(
        r#"<svg viewBox="0 0 16 16" fill="currentColor" aria-hidden="true"><path d=""#,
        "M8 0c4.42 0 8 3.58 8 8a8.013 8.013 0 0 1-5.45 7.59c-.4.08-.55-.17-.55-.38 0-.27.01-1.13.01-2.2 ",
        "0-.75-.25-1.23-.54-1.48 1.78-.2 3.65-.88 3.65-3.95 0-.88-.31-1.59-.82-2.15.08-.2.36-1.02-.08-2.12 ",
        "0 0-.67-.22-2.2.82-.64-.18-1.32-.27-2-.27-.68 0-1.36.09-2 .27-1.53-1.03-2.2-.82-2.2-.82-.44 1.1",
        "-.16 1.92-.08 2.12-.51.56-.82 1.28-.82 2.15 0 3.06 1.86 3.75 3.64 3.95-.23.2-.44.55-.51 1.07",
        "-.46.21-1.61.55-2.33-.66-.15-.24-.6-.83-1.23-.82-.67.01-.27.38.01.53.34.19.73.9.82 1.13.16.45",
        ".68 1.31 2.69.94 0 .67.01 1.3.01 1.49 0 .21-.15.45-.55.38A7.995 7.995 0 0 1 0 8c0-4.42 3.58-8 8-8Z",
        r#""/></svg>"#,
    ),
    endpoints: &[
        known(
            "authorize_url",
            "https://github.com/login/oauth/authorize",
            "/login/oauth/authorize",
        ),
        known(
            "token_url",
            "https://github.com/login/oauth/access_token",
            "/login/oauth/access_token",
        ),
        known(
            "userinfo_url",
            "https://api.github.com/user",
            "/api/v3/user",
        ),
        known(
            "emails_url",
            "https://api.github.com/user/emails",
            "/api/v3/user/emails",
        ),
        known(
            "orgs_url",
            "https://api.github.com/user/memberships/orgs",
            "/api/v3/user/memberships/orgs",
        ),
        known(
            "teams_url",
            "https://api.github.com/user/teams",
            "/api/v3/user/teams",
        ),
        // Where the applications are: the client and its token are below.
        known(
            "revocation_url",
            "https://api.github.com/applications",
            "/api/v3/applications",
        ),
        known(
            "introspection_url",
            "https://api.github.com/applications",
            "/api/v3/applications",
        ),
    ],
    scopes: &["read:user", "user:email"],
    required_scope: None,
    allow: &["orgs", "teams"],
    closed: &[],
    logins_ignore_case: true,
    claims_by_hand: false,
    secret: ClientType::Always,
    offers_logout: false,
    switch: AccountSwitch::Asks,
    revokes: true,
};

/// Facebook.
pub const FACEBOOK: Kind = Kind {
    id: Id::Facebook,
    name: "facebook",
    label: "Facebook",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true"><path d=""#,
        "M9.101 23.691v-7.98H6.627v-3.667h2.474v-1.58c0-4.085 1.848-5.978 5.858-5.978.401 0 .955.042 ",
        "1.468.103a8.68 8.68 0 0 1 1.141.195v3.325a8.623 8.623 0 0 0-.653-.036 26.805 26.805 0 0 0",
        "-.733-.009c-.707 0-1.259.096-1.675.309a1.686 1.686 0 0 0-.679.622c-.258.42-.374.995-.374 1.752",
        "v1.297h3.919l-.386 2.103-.287 1.564h-3.246v8.245C19.396 23.238 24 18.179 24 12.044c0-6.627",
        "-5.373-12-12-12s-12 5.373-12 12c0 5.628 3.874 10.35 9.101 11.647Z",
        r#""/></svg>"#,
    ),
    endpoints: &[
        known(
            "authorize_url",
            "https://www.facebook.com/v25.0/dialog/oauth",
            "/v25.0/dialog/oauth",
        ),
        known(
            "token_url",
            "https://graph.facebook.com/v25.0/oauth/access_token",
            "/v25.0/oauth/access_token",
        ),
        known(
            "userinfo_url",
            "https://graph.facebook.com/v25.0/me",
            "/v25.0/me",
        ),
        known(
            "revocation_url",
            "https://graph.facebook.com/v25.0/me/permissions",
            "/v25.0/me/permissions",
        ),
        known(
            "introspection_url",
            "https://graph.facebook.com/v25.0/debug_token",
            "/v25.0/debug_token",
        ),
    ],
    scopes: &["public_profile", "email"],
    required_scope: None,
    allow: &[],
    closed: &[],
    logins_ignore_case: false,
    claims_by_hand: false,
    secret: ClientType::Always,
    offers_logout: false,
    switch: AccountSwitch::Asks,
    // There is no way but to take the app's permissions away, in all browsers.
    revokes: false,
};

/// Discord.
pub const DISCORD: Kind = Kind {
    id: Id::Discord,
    name: "discord",
    label: "Discord",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true"><path d=""#,
        "M20.317 4.37a19.791 19.791 0 0 0-4.885-1.515.074.074 0 0 0-.079.037c-.211.375-.445.865-.608 1.25",
        "-1.845-.276-3.68-.276-5.487 0-.164-.393-.406-.874-.618-1.25a.077.077 0 0 0-.079-.037A19.736 19.736",
        " 0 0 0 3.677 4.37a.07.07 0 0 0-.032.028C.533 9.046-.319 13.58.099 18.058a.082.082 0 0 0 .031.056",
        "c2.053 1.508 4.041 2.423 5.993 3.029a.078.078 0 0 0 .084-.028c.462-.63.873-1.295 1.226-1.994",
        "a.076.076 0 0 0-.042-.106c-.653-.248-1.274-.55-1.872-.892a.077.077 0 0 1-.008-.128c.126-.094.252",
        "-.192.372-.291a.074.074 0 0 1 .078-.011c3.928 1.793 8.18 1.793 12.061 0a.074.074 0 0 1 .079.01",
        "c.12.099.246.198.373.292a.077.077 0 0 1-.007.128 12.299 12.299 0 0 1-1.873.891.077.077 0 0 0",
        "-.041.107c.36.698.772 1.363 1.225 1.993a.076.076 0 0 0 .084.029c1.961-.607 3.95-1.522 6.002-3.029",
        "a.077.077 0 0 0 .031-.055c.5-5.177-.838-9.674-3.549-13.66a.061.061 0 0 0-.031-.029zM8.02 15.331",
        "c-1.183 0-2.157-1.086-2.157-2.419 0-1.333.956-2.419 2.157-2.419 1.211 0 2.176 1.095 2.157 2.419 ",
        "0 1.333-.956 2.419-2.157 2.419zm7.975 0c-1.183 0-2.157-1.086-2.157-2.419 0-1.333.955-2.419 2.157",
        "-2.419 1.211 0 2.176 1.095 2.157 2.419 0 1.333-.946 2.419-2.157 2.419Z",
        r#""/></svg>"#,
    ),
    endpoints: &[
        known(
            "authorize_url",
            "https://discord.com/oauth2/authorize",
            "/oauth2/authorize",
        ),
        known(
            "token_url",
            "https://discord.com/api/oauth2/token",
            "/api/oauth2/token",
        ),
        known(
            "userinfo_url",
            "https://discord.com/api/v10/users/@me",
            "/api/v10/users/@me",
        ),
        known(
            "guilds_url",
            "https://discord.com/api/v10/users/@me/guilds",
            "/api/v10/users/@me/guilds",
        ),
        known(
            "revocation_url",
            "https://discord.com/api/oauth2/token/revoke",
            "/api/oauth2/token/revoke",
        ),
    ],
    scopes: &["identify", "email"],
    required_scope: None,
    allow: &["guilds"],
    closed: &[],
    logins_ignore_case: true,
    claims_by_hand: false,
    secret: ClientType::Usually,
    offers_logout: false,
    switch: AccountSwitch::Asks,
    // One token revoked is every token of the user's, in all browsers.
    revokes: false,
};

/// Any plain OAuth 2.0.
pub const OAUTH2: Kind = Kind {
    id: Id::OAuth2,
    name: "oauth2",
    label: "",
    mark: "",
    endpoints: &[
        by_hand("authorize_url"),
        by_hand("token_url"),
        by_hand("userinfo_url"),
        Endpoint {
            optional: true,
            ..by_hand("revocation_url")
        },
        Endpoint {
            optional: true,
            ..by_hand("introspection_url")
        },
    ],
    scopes: &[],
    required_scope: None,
    allow: &["groups"],
    closed: &[],
    logins_ignore_case: false,
    claims_by_hand: true,
    secret: ClientType::Usually,
    offers_logout: false,
    switch: AccountSwitch::Asks,
    revokes: true,
};

/// One of a kind's endpoints: at `default`, or at `below_base` where `base_url` moves it.
const fn known(key: &'static str, default: &'static str, below_base: &'static str) -> Endpoint {
    Endpoint {
        key,
        default: Some(default),
        below_base: Some(below_base),
        optional: false,
    }
}

const fn by_hand(key: &'static str) -> Endpoint {
    Endpoint {
        key,
        default: None,
        below_base: None,
        optional: false,
    }
}
