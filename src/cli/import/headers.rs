//! `[headers]`: the identity headers for the app.

use super::{
    draft::Draft,
    given::Given,
    model::{Header, Source},
    notes::Notes,
    toml_text,
};

/// What the preset "oauth2-proxy" writes, and from which claim.
const PRESET: [(&str, &str); 4] = [
    ("User", "user"),
    ("Email", "email"),
    ("Groups", "groups"),
    ("Preferred-Username", "preferred_username"),
];

/// `user` is the source of what oauth2-proxy calls the user, which depends on the provider.
pub(super) fn translate(
    given: &Given,
    requests: &[Header],
    answers: &[Header],
    user: &str,
    draft: &mut Draft,
    notes: &mut Notes,
) {
    let is_claim = |header: &Header, name: &str, claim: &str| {
        let Source::Claim { claim: own, prefix } = &header.source else {
            return false;
        };
        header.name.eq_ignore_ascii_case(name) && own == claim && prefix.is_empty()
    };
    let has = |headers: &[Header], before: &str| {
        PRESET.iter().all(|(name, claim)| {
            let name = format!("{before}{name}");
            headers.iter().any(|header| is_claim(header, &name, claim))
        })
    };
    let is_preset = has(requests, "X-Forwarded-");
    let of_preset = |header: &Header| {
        is_preset
            && PRESET.iter().any(|(name, claim)| {
                ["X-Forwarded-", "X-Auth-Request-"]
                    .iter()
                    .any(|before| is_claim(header, &format!("{before}{name}"), claim))
            })
    };
    draft.headers.set(
        "preset",
        if is_preset {
            "\"oauth2-proxy\""
        } else {
            "\"none\""
        },
    );
    let mut set: Vec<(String, String)> = Vec::new();
    if is_preset && user == "user" {
        for name in ["X-Forwarded-User", "X-Auth-Request-User"] {
            set.push((name.to_owned(), toml_text::text("user")));
        }
    }
    for header in requests {
        if header.preserve {
            notes.absent(&header.label, "a client's own copies are always removed");
        }
        if !of_preset(header) {
            add(header, user, false, &mut set, notes);
        }
    }
    for header in answers {
        if !of_preset(header) {
            add(header, user, true, &mut set, notes);
        }
    }
    if !set.is_empty() {
        draft.headers.set("set", &toml_text::inline(&set));
    }
    explain(given, notes);
}

/// Options that say false, or what another one says already.
fn explain(given: &Given, notes: &mut Notes) {
    for key in [
        "pass_basic_auth",
        "pass_access_token",
        "pass_user_headers",
        "pass_authorization_header",
        "set_basic_auth",
        "set_xauthrequest",
        "set_authorization_header",
        "prefer_email_to_user",
    ] {
        if given.flag(key) == Some(false) {
            notes.needless(&given.label(key), "only the headers of [headers] are sent");
        }
    }
    if given.flag("pass_basic_auth") == Some(false) && given.is_given("basic_auth_password") {
        notes.needless(
            &given.label("basic_auth_password"),
            "pass_basic_auth is off",
        );
    }
}

fn add(
    header: &Header,
    user: &str,
    on_answers: bool,
    set: &mut Vec<(String, String)>,
    notes: &mut Notes,
) {
    let label = &header.label;
    if on_answers && matches!(header.source, Source::Constant(_) | Source::Basic { .. }) {
        notes.absent(
            label,
            "a user could open /oauth2/auth in a browser and read the value there",
        );
        return;
    }
    if !is_settable(&header.name) {
        notes.absent(
            label,
            "the connection depends on this header: choose a name of your own",
        );
        return;
    }
    let is_authorization = header.name.eq_ignore_ascii_case("authorization");
    let value = match &header.source {
        Source::Several => {
            notes.absent(
                label,
                "a header has one value here: give each a name of its own",
            );
            return;
        }
        Source::Constant(secret) => secret.table("value"),
        Source::Basic { claim, password } => {
            let Some(source) = source(claim, user).filter(|source| is_name(source)) else {
                notes.absent(
                    label,
                    "the name in credentials is a user, an address or a claim of your own",
                );
                return;
            };
            toml_text::inline(&[
                ("basic".to_owned(), toml_text::text(&source)),
                ("password".to_owned(), password.toml()),
            ])
        }
        Source::Claim { claim, prefix } => {
            let Some(source) = source(claim, user) else {
                notes.absent(
                    label,
                    "no header tells when a session began or ends, or its refresh token",
                );
                return;
            };
            let is_token = matches!(&*source, "access_token" | "id_token");
            let prefix = prefix.trim_end();
            let is_bearer = is_authorization && is_token && prefix.eq_ignore_ascii_case("Bearer");
            if !is_bearer && (!prefix.is_empty() || (is_authorization && is_token)) {
                notes.absent(
                    label,
                    "a value has no prefix here, except that a token in Authorization is sent as `Bearer`",
                );
                return;
            }
            toml_text::text(&source)
        }
    };
    let same = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(&header.name);
    match set.iter().find(same) {
        None => {
            if on_answers {
                notes.remind(
                    label,
                    "the app gets this header too: it has the same headers as the answers of /oauth2/auth and /oauth2/forward",
                );
            }
            set.push((header.name.clone(), value));
        }
        // Answers have what the app gets.
        Some((_, other)) if *other == value => {}
        Some(_) => notes.absent(
            label,
            "a header has one source here, and an earlier option gives it another",
        ),
    }
}

/// Our word for a claim of an oauth2-proxy session.
fn source(claim: &str, user: &str) -> Option<String> {
    let source = match claim {
        "user" => user,
        "preferred_username" => "user",
        "email" | "groups" | "access_token" | "id_token" => claim,
        "refresh_token" | "created_at" | "expires_on" => return None,
        other => {
            let is_path = other.split('.').all(|part| {
                !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control())
            });
            return is_path.then(|| format!("claims.{other}"));
        }
    };
    Some(source.to_owned())
}

fn is_name(source: &str) -> bool {
    matches!(source, "user" | "subject" | "email") || source.starts_with("claims.")
}

/// Names that the gate refuses to set frame a message or say which way it came.
fn is_settable(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_plain = !lower.is_empty()
        && lower
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain && crate::config::may_set_header(&lower)
}
