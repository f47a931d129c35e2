//! `[session]`: the secret, how long sessions last, and the cookie.

use std::path::Path;

use url::Url;

use super::{
    ReadFile,
    draft::Draft,
    given::{Given, SecretSource},
    notes::Notes,
    place::{Place, lasting},
    redis, toml_text,
};
use crate::config;

/// Browsers keep a cookie for 400 days at most.
const LONGEST: u64 = 400 * 86_400;

/// How long a session lasts where nothing is said: 168 hours.
const DEFAULT: u64 = 7 * 86_400;

pub(super) fn translate(
    given: &Given,
    read: ReadFile<'_>,
    fresh_secret: &str,
    place: &Place,
    draft: &mut Draft,
    notes: &mut Notes,
) {
    secret(given, read, fresh_secret, draft, notes);
    lifetime(given, draft, notes);
    cookie_name(given, draft, notes);
    cookie_domain(given, place, draft, notes);
    redis::store(given, draft, notes);
}

/// Neither reads the other's cookies, so a weak one is replaced by a fresh one, and nobody is worse off.
fn secret(given: &Given, read: ReadFile<'_>, fresh: &str, draft: &mut Draft, notes: &mut Notes) {
    let label = if given.text("cookie_secret").is_some() {
        given.label("cookie_secret")
    } else {
        given.label("cookie_secret_file")
    };
    let source = given.secret("cookie_secret", "cookie_secret_file");
    let value = match &source {
        None => None,
        Some(SecretSource::File(path)) => read(Path::new(path)).ok(),
        Some(_) => given.text("cookie_secret").map(str::to_owned),
    };
    let is_weak = value
        .as_deref()
        .is_some_and(|value| config::weakness_of_secret(value.trim()).is_some());
    match source {
        Some(source) if !is_weak => draft.session.set("secret", &source.toml()),
        Some(_) => {
            draft.session.set("secret", &toml_text::text(fresh));
            notes.needless(&label, "it is too short or too easy to guess for session.secret, so a fresh one is written; everybody signs in once more in any case");
        }
        None => {
            draft.session.set("secret", &toml_text::text(fresh));
            notes.needless(
                "cookie_secret",
                "none is given: session.secret is a fresh one",
            );
        }
    }
}

/// oauth2-proxy knows no idle time, so it is the whole.
fn lifetime(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    let label = given.label("cookie_expire");
    let seconds = match given.seconds("cookie_expire") {
        None => DEFAULT,
        Some(0) => {
            notes.absent(
                &label,
                "a session cannot end with the browser: `lifetime` is seven days now",
            );
            DEFAULT
        }
        Some(seconds) if seconds > LONGEST => {
            notes.absent(
                &label,
                "browsers keep a cookie for 400 days at most, and so does `lifetime`",
            );
            LONGEST
        }
        Some(seconds) => seconds,
    };
    draft.session.set("lifetime", &lasting(seconds));
    draft.session.set("idle_timeout", &lasting(seconds));
}

fn cookie_name(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    if let Some(written) = given.text("cookie_name") {
        let lower = written.to_ascii_lowercase();
        let prefix = ["__host-", "__secure-"]
            .into_iter()
            .find(|prefix| lower.starts_with(prefix));
        let name = &written[prefix.map_or(0, str::len)..];
        let is_name = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_name {
            draft.session.set("cookie_name", &toml_text::text(name));
        } else {
            notes.absent(
                &given.label("cookie_name"),
                "a cookie's name is up to 64 letters, digits, - and _",
            );
        }
    }
}

/// Of several oauth2-proxy takes the one that the request's host lies in; here there is one.
fn cookie_domain(given: &Given, place: &Place, draft: &mut Draft, notes: &mut Notes) {
    let domains = given.texts("cookie_domains");
    if domains.is_empty() {
        return;
    }
    let label = given.label("cookie_domains");
    let url = Url::parse(&place.public_url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    let domain = match (domains, host) {
        ([domain], Some(host)) => config::cookie_domain(domain.trim(), host),
        _ => None,
    };
    let Some(domain) = domain else {
        notes.absent(
            &label,
            "a login is shared in one domain of your own that public_url's host lies in: write session.cookie_domain, or give each host a gate \
             (docs/several-apps.md)",
        );
        return;
    };
    draft
        .session
        .set("cookie_domain", &toml_text::text(&domain));
    notes.remind(
        &label,
        "give each app that shares the login a route with its `host`: browsers come back from the login to these hosts alone \
         (docs/several-apps.md)",
    );
}
