//! GitLab, at gitlab.com or by itself. Groups are told at userinfo alone, by their full paths; a path
//! belongs to whoever holds it now, so a renamed group's path can come to others.

use super::{
    super::kind::Kind, AUTHORIZE_URL, END_SESSION_URL, JWKS_URL, TOKEN_URL, USERINFO_URL,
    flavour::Flavour, issuer,
};

/// GitLab.
pub(in crate::provider) const KIND: Kind = Kind {
    name: "gitlab",
    label: "GitLab",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" aria-hidden="true">"#,
        r##"<path fill="#e2432a" d="M12 21 6.5 10h11z"/>"##,
        r##"<path fill="#fc6d27" d="M12 21 6.5 10H2.5zM12 21 17.5 10h4z"/>"##,
        r##"<path fill="#fca327" d="M12 21 2.5 10 1.5 14zM12 21 21.5 10l1 4z"/>"##,
        r##"<path fill="#e2432a" d="M2.5 10h4L4.7 3.5zM21.5 10h-4l1.8-6.5z"/></svg>"##,
    ),
    endpoints: &[
        issuer(Some("https://gitlab.com"), ""),
        AUTHORIZE_URL,
        TOKEN_URL,
        JWKS_URL,
        USERINFO_URL,
        END_SESSION_URL,
    ],
    scopes: &["openid", "profile", "email"],
    required_scope: Some("openid"),
    allow: &["groups"],
    claims_by_hand: false,
    check: |_| Vec::new(),
    build: |config, headers, http| super::build(config, &FLAVOUR, headers, http),
};

/// It knows how to ask for a password again, and not how to offer a choice of accounts.
const FLAVOUR: Flavour = Flavour {
    switch_prompt: Some("login"),
    ..Flavour::STANDARD
};
