//! No option is left out in silence.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    options::{ALPHA_ONLY, Kind, OPTIONS, Peer, Rule},
    *,
};

const FRESH: &str = "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9";

fn import(content: &str) -> Result<Translation, Vec<String>> {
    let question = Question {
        files: &[PathBuf::from("oauth2-proxy.cfg")],
        arguments: &[],
        environment: &Environment::new(),
        fresh_secret: FRESH,
    };
    oauth2_proxy(&question, &|file: &Path| match file.to_str() {
        Some("oauth2-proxy.cfg") => Ok(content.to_owned()),
        Some("/emails") => Ok("ann@example.net\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

/// A value of the kind that is nobody's default.
fn samples(peer: &Peer) -> Vec<String> {
    let text = match peer.key {
        "provider" => "gitlab",
        "authenticated_emails_file" => "/emails",
        "redirect_url" => "https://other.example.com/callback",
        "http_address" | "https_address" | "metrics_address" => "127.0.0.1:9999",
        "real_client_ip_header" => "X-Forwarded-For",
        "session_store_type" => "redis",
        "proxy_prefix" | "ping_path" | "ready_path" => "/other",
        key if key.ends_with("_url") => "https://other.example.com/path",
        _ => "sample",
    };
    match peer.kind {
        Kind::Text | Kind::Secret => vec![format!("\"{text}\"")],
        Kind::Texts => vec!["[\"sample.example.com\"]".to_owned()],
        Kind::Flag => vec!["true".to_owned(), "false".to_owned()],
        Kind::Number => vec!["7".to_owned()],
        Kind::Duration => vec!["\"25h\"".to_owned()],
    }
}

const BASE: [(&str, &str); 4] = [
    ("client_id", "\"app\""),
    ("email_domains", "[\"*\"]"),
    (
        "redirect_url",
        "\"https://app.example.com/oauth2/callback\"",
    ),
    ("upstreams", "[\"http://127.0.0.1:8000/\"]"),
];

fn with(key: &str, value: &str, provider: &str) -> String {
    let base = BASE.iter().filter(|(other, _)| *other != key);
    let mut lines: Vec<String> = base
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    if key != "provider" {
        lines.push(format!("provider = \"{provider}\""));
    }
    lines.push(format!("{key} = {value}"));
    lines.join("\n")
}

#[test]
fn each_option_leaves_a_trace() {
    for provider in [
        "google",
        "github",
        "oidc",
        "keycloak-oidc",
        "entra-id",
        "bitbucket",
    ] {
        let base = with("client_secret", "\"s\"", provider);
        let plain = import(&base).unwrap().toml;
        for peer in OPTIONS.iter().filter(|peer| peer.flag != ALPHA_ONLY) {
            let traces = samples(peer).iter().any(|value| {
                let content = with(peer.key, value, provider);
                let content = if peer.key.starts_with("client_secret") {
                    content
                } else {
                    format!("{content}\nclient_secret = \"s\"")
                };
                match import(&content) {
                    Ok(translation) => translation.toml != plain,
                    Err(errors) => panic!("{}: {errors:?}", peer.key),
                }
            });
            assert!(traces, "{provider}: {} is left out in silence", peer.key);
        }
    }
}

/// What the list says there is nothing for, is told so; and no secret is ever told.
#[test]
fn what_has_no_equivalent_is_told_by_its_own_name() {
    for peer in OPTIONS.iter().filter(|peer| peer.flag != ALPHA_ONLY) {
        if !matches!(peer.rule, Rule::Absent { .. }) {
            continue;
        }
        let is_noted = samples(peer).iter().any(|value| {
            let content = with(peer.key, value, "oidc");
            let translation = import(&content).unwrap();
            let absent = translation.notes.lists().next();
            let (title, sentences) = absent.unwrap();
            title == "no equivalent"
                && sentences
                    .iter()
                    .any(|sentence| sentence.starts_with(&format!("{}: ", peer.key)))
        });
        assert!(is_noted, "{}", peer.key);
    }
    for peer in OPTIONS.iter().filter(|peer| peer.kind == Kind::Secret) {
        let content = with(peer.key, "\"redis://canary\"", "oidc");
        let translation = import(&content).unwrap();
        for (_, sentences) in translation.notes.lists() {
            assert!(!sentences.concat().contains("canary"), "{}", peer.key);
        }
    }
}

#[test]
fn names_are_those_of_files_and_flags() {
    for (number, peer) in OPTIONS.iter().enumerate() {
        let earlier = &OPTIONS[..number];
        assert!(
            earlier.iter().all(|other| other.key != peer.key),
            "{}",
            peer.key
        );
        let dashed = peer.key.replace('_', "-");
        // A list is in the plural in a file, and the flag in the singular.
        let is_alike = dashed.starts_with(peer.flag.trim_end_matches('s'));
        assert!(is_alike, "{} {}", peer.key, peer.flag);
    }
}

/// The page for who comes from there tells of each.
#[test]
fn the_page_has_every_flag() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/from-oauth2-proxy.md")).unwrap();
    for peer in OPTIONS.iter().filter(|peer| peer.flag != ALPHA_ONLY) {
        assert!(
            page.contains(&format!("`--{}`", peer.flag)),
            "{}",
            peer.flag
        );
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for (content, error) in [
        ("client_ib = \"a\"", "did you mean client_id?"),
        ("client_id = ", "oauth2-proxy.cfg:1:"),
        (
            "cookie_secure = \"maybe\"",
            "cookie_secure is true or false",
        ),
        ("cookie_expire = \"a week\"", "cookie_expire is a duration"),
        ("client_id = [\"a\", \"b\"]", "client_id is one text"),
        ("[table]\na = 1", "table is no option"),
        ("client_id = \"a\"", "email_domains"),
        ("email_domains = \"*\"", "client_id is not given"),
        (
            "client_id = \"a\"\nemail_domains = \"*\"\nprovider = \"okta\"",
            "\"okta\" is no provider",
        ),
    ] {
        let Err(errors) = import(content) else {
            panic!("{content} passes");
        };
        assert!(
            errors.iter().any(|one| one.contains(error)),
            "{content}: {errors:?}"
        );
    }
}
