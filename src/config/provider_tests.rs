//! `[providers.NAME]`, for the kinds that there are.

use std::fs;

use super::*;
use crate::{
    access::Allow,
    provider::{
        catalog::{self, KINDS},
        kind::Kind,
        settings::ClientAuthentication,
    },
    secret::Secret,
};

pub(super) fn loaded(providers: &str) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidegate.toml");
    let gate = "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n";
    fs::write(&path, format!("{gate}{providers}")).unwrap();
    load(Some(&path), &Environment::new()).map_err(|report| report.to_string())
}

/// One provider, its table given whole.
fn provider(table: &str) -> Result<ProviderSettings, String> {
    loaded(table).map(|loaded| loaded.config.providers.into_iter().next().unwrap())
}

/// A table of a kind with what no kind does without, whose `base_url` is `base`.
fn whole(kind: &Kind, base: &str) -> String {
    let mut table = format!(
        "[providers.{}]\nclient_id = \"app\"\nclient_secret = \"s\"\nallow = \"anyone\"\n",
        kind.name
    );
    if kind
        .endpoints
        .iter()
        .any(|known| known.below_base.is_some())
    {
        table.extend(["base_url = \"", base, "\"\n"]);
    }
    for endpoint in kind.endpoints {
        if !endpoint.optional && endpoint.below_base.is_none() {
            table.extend([endpoint.key, " = \"https://by-hand.example/\"\n"]);
        }
    }
    if kind.claims_by_hand {
        table += "claims = { subject = \"id\" }\n";
    }
    table
}

#[test]
fn base_url_moves_every_address_and_keeps_its_path() {
    for kind in KINDS {
        for base in ["http://127.0.0.1:9000/sub", "http://127.0.0.1:9000/sub/"] {
            let provider = provider(&whole(kind, base)).unwrap();
            assert_eq!(
                provider.kind.name, kind.name,
                "the table's name is the type"
            );
            for endpoint in kind.endpoints {
                let address = provider.endpoint(endpoint.key);
                match endpoint.below_base {
                    // An issuer is compared letter by letter.
                    Some("") => assert_eq!(address, Some(base)),
                    Some(path) => {
                        let moved = format!("http://127.0.0.1:9000/sub{path}");
                        assert_eq!(address, Some(moved.as_str()), "{kind:?}");
                    }
                    None if endpoint.optional => assert_eq!(address, None),
                    None => assert_eq!(address, Some("https://by-hand.example/")),
                }
            }
        }
    }
}

#[test]
fn kinds_that_know_their_addresses_need_none() {
    for kind in KINDS.iter().filter(|kind| !kind.label.is_empty()) {
        let source = format!(
            "[providers.x]\ntype = \"{}\"\nclient_id = \"app\"\nclient_secret = \"s\"\nallow = \"anyone\"",
            kind.name
        );
        let provider = provider(&source).unwrap();
        assert_eq!(provider.label, kind.label);
        assert_eq!(provider.scopes, kind.scopes);
        assert_eq!(provider.callback_path, "/oauth2/callback/x");
        for endpoint in kind.endpoints.iter().filter(|known| !known.optional) {
            assert_eq!(provider.endpoint(endpoint.key), endpoint.default);
        }
    }
}

#[test]
fn an_address_of_its_own_goes_before_base_url() {
    let provider = provider(
        "[providers.github]\nclient_id = \"app\"\nclient_secret = \"s\"\nallow = { users = \"ann\" }\n\
         base_url = \"https://git.example.com\"\nteams_url = \"https://api.example.com/teams?x=y\"",
    )
    .unwrap();
    assert_eq!(
        provider.endpoint("teams_url"),
        Some("https://api.example.com/teams?x=y")
    );
    assert_eq!(
        provider.endpoint("orgs_url"),
        Some("https://git.example.com/api/v3/user/memberships/orgs")
    );
}

#[test]
fn keys_of_another_kind_are_refused() {
    for kind in KINDS {
        let own: Vec<_> = kind.endpoints.iter().map(|known| known.key).collect();
        for other in KINDS {
            for key in other.endpoints.iter().map(|known| known.key) {
                if !own.contains(&key) {
                    let source =
                        whole(kind, "https://a.example") + key + " = \"https://a.example\"";
                    let report = provider(&source).unwrap_err();
                    assert!(report.contains(&format!("`{key}` is only for")), "{report}");
                }
            }
            for key in other.allow {
                if !kind.allow.contains(key) && !["emails", "domains", "users"].contains(key) {
                    let allow = format!("allow = {{ {key} = [\"a\"] }}");
                    let source =
                        whole(kind, "https://a.example").replace("allow = \"anyone\"", &allow);
                    let report = provider(&source).unwrap_err();
                    assert!(report.contains(&format!("`{key}` is only for")), "{report}");
                }
            }
        }
    }
}

#[test]
fn entries_are_kept_as_text_and_some_in_lower_case() {
    let allow = |table: &str| {
        let source = format!("{table}\nclient_id = \"app\"\nclient_secret = \"s\"");
        provider(&source).unwrap().allow
    };
    assert_eq!(
        allow(
            "[providers.42]\nallow = { staff = true, cursus = [21, \"42cursus\"], campus = \"Paris\" }"
        ),
        Allow::for_test(&[
            ("staff", &["true"]),
            ("cursus", &["21", "42cursus"]),
            ("campus", &["Paris"])
        ])
    );
    assert_eq!(
        allow(
            "[providers.github]\nallow = { orgs = \"Acme\", teams = [\"Acme/Ops\"], users = [\"Ann\"] }"
        ),
        Allow::for_test(&[
            ("orgs", &["acme"]),
            ("teams", &["acme/ops"]),
            ("users", &["ann"])
        ])
        .with_caseless("users")
    );
    assert_eq!(
        allow("[providers.google]\nallow = { hosted_domains = [\"Example.COM\"] }"),
        Allow::for_test(&[("hosted_domains", &["example.com"])])
    );
}

/// Where `Ann` and `ann` can be two people, a list that names one must not admit the other.
#[test]
fn login_names_ignore_case_where_the_kind_does() {
    let users = |kind: &Kind, more: &str| {
        let allow = "allow = { users = [\"Ann\"] }";
        let source = whole(kind, "https://a.example").replace("allow = \"anyone\"", allow) + more;
        provider(&source).map(|provider| provider.allow)
    };
    let exact = Allow::for_test(&[("users", &["Ann"])]);
    let caseless = Allow::for_test(&[("users", &["ann"])]).with_caseless("users");
    for (name, expected) in [
        ("42", &caseless),
        ("github", &caseless),
        ("gitlab", &caseless),
        ("discord", &caseless),
        ("facebook", &exact),
        ("oidc", &exact),
        ("oauth2", &exact),
    ] {
        let kind = catalog::find(name).unwrap();
        assert_eq!(users(kind, "").as_ref(), Ok(expected), "{name}");
    }
    // What the kind knows of its login names it does not know of another claim.
    let kind = catalog::find("gitlab").unwrap();
    let moved = users(kind, "claims = { user = \"nickname\" }");
    assert_eq!(moved.as_ref(), Ok(&exact));
}

#[test]
fn what_the_login_sends_itself_cannot_be_set() {
    for name in [
        "state",
        "nonce",
        "client_id",
        "redirect_uri",
        "response_type",
        "scope",
        "code_challenge",
        "code_challenge_method",
        "response_mode",
    ] {
        let source = whole(KINDS[0], "https://a.example")
            + &format!("authorize_params = {{ {name} = \"x\" }}");
        let report = provider(&source).unwrap_err();
        assert!(
            report.contains(&format!("`{name}` is the gate's to say")),
            "{report}"
        );
    }
}

#[test]
fn callback_paths_have_one_reading_and_are_nobody_elses() {
    let with = |path: &str| {
        let source = whole(KINDS[0], "https://a.example") + "callback_path = '" + path + "'";
        provider(&source).map(|provider| provider.callback_path)
    };
    let own = format!("/oauth2/callback/{}", KINDS[0].name);
    for good in [
        "/oauth/callback/",
        "/oauth/callback",
        "/oauth2x",
        "/ping",
        &own,
    ] {
        assert_eq!(with(good).as_deref(), Ok(good));
    }
    for bad in [
        "oauth/callback",
        "/",
        "//a",
        "/a//b",
        "/a/../b",
        "/a;b",
        "/a\\b",
        "/%61",
        "/a%20b",
        "/a%2fb",
        "/a?b",
        "/a#b",
        "/a b",
        "/é",
        "/oauth2",
        "/oauth2/sign_in",
        "/oauth2/callback/other",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    let source = whole(KINDS[0], "https://a.example") + "callback_path = '/ping'";
    assert!(loaded(&format!("root_health = true\n{source}")).is_err());
}

#[test]
fn buttons_that_say_the_same_are_warned_of() {
    let table = |name: &str| {
        format!(
            "[providers.{name}]\ntype = \"{}\"\nclient_id = \"app\"\nclient_secret = \"s\"\nallow = \"anyone\"\n",
            KINDS[0].name
        )
    };
    let warnings = loaded(&(table("one") + &table("two"))).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("one and two")),
        "{warnings:?}"
    );
}

#[test]
fn two_secrets_at_most_and_a_message_that_fits() {
    let with = |line: &str| provider(&(whole(KINDS[0], "https://a.example") + line));
    let of = |secrets: &str| {
        let one = whole(KINDS[0], "https://a.example");
        provider(&one.replace("\"s\"", secrets))
    };
    let secrets = of("[\"new\", \"old\"]").unwrap().client_secrets;
    let secrets: Vec<_> = secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["new", "old"]);
    assert!(of("[\"a\", \"b\", \"c\"]").is_err());
    assert!(with(&format!("deny_message = \"{}\"", "é".repeat(500))).is_ok());
    assert!(with(&format!("deny_message = \"{}\"", "é".repeat(501))).is_err());
}

#[test]
fn the_environment_has_a_name_for_each() {
    let settings = [
        ("SIDEGATE_UPSTREAM", "http://127.0.0.1:8000"),
        ("SIDEGATE_PUBLIC_URL", "https://app.example.com"),
        ("SIDEGATE_PROVIDERS__42__CLIENT_ID", "app"),
        ("SIDEGATE_PROVIDERS__42__CLIENT_SECRET__0", "a,b"),
        (
            "SIDEGATE_PROVIDERS__42__CLIENT_SECRET__1__ENV",
            "SIDEGATE_NEXT",
        ),
        ("SIDEGATE_NEXT", "next"),
        ("SIDEGATE_PROVIDERS__42__BASE_URL", "http://localhost:9000"),
        ("SIDEGATE_PROVIDERS__42__CLIENT_AUTH", "basic"),
        ("SIDEGATE_PROVIDERS__42__AUTHORIZE_PARAMS__PROMPT", "login"),
        ("SIDEGATE_PROVIDERS__42__CALLBACK_PATH", "/oauth/callback/"),
        ("SIDEGATE_PROVIDERS__42__CLAIMS__NAME", "usual_full_name"),
        ("SIDEGATE_PROVIDERS__42__ALLOW__STAFF", "true"),
        ("SIDEGATE_PROVIDERS__42__ALLOW__CAMPUS", "Paris, Lausanne"),
        (
            "SIDEGATE_PROVIDERS__42__ALLOW__CLAIMS__CAMPUS__0__CITY",
            "Paris",
        ),
        (
            "SIDEGATE_PROVIDERS__42__DENY_MESSAGE",
            "Ask the bocal, please.",
        ),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = load(None, &settings.into()).unwrap().config;
    let provider = &config.providers[0];
    let secrets: Vec<_> = provider.client_secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["a,b", "next"]);
    assert_eq!(
        provider.endpoint("userinfo_url"),
        Some("http://localhost:9000/v2/me")
    );
    assert_eq!(
        provider.client_authentication,
        Some(ClientAuthentication::Basic)
    );
    assert_eq!(
        provider.authorize_params,
        [("prompt".to_owned(), "login".to_owned())]
    );
    assert_eq!(provider.claims.name.as_deref(), Some("usual_full_name"));
    assert_eq!(
        provider.deny_message.as_deref(),
        Some("Ask the bocal, please.")
    );
    let mut lists = provider.allow.lists().to_vec();
    lists.sort_by(|left, right| left.key.cmp(&right.key));
    assert_eq!(
        Allow::Lists(lists),
        Allow::for_test(&[
            ("campus", &["Paris", "Lausanne"]),
            ("claims.campus.0.city", &["Paris"]),
            ("staff", &["true"]),
        ])
    );
}

/// No code is redeemed without, so that nobody could ever sign in; elsewhere an app may be a public client.
#[test]
fn a_secret_is_missing_where_every_login_needs_one() {
    for kind in KINDS {
        let table = whole(kind, "https://login.example.com");
        let without = table.replace("client_secret = \"s\"\n", "");
        assert_ne!(table, without);
        let outcome = loaded(&without);
        let about = |warnings: &[String]| {
            let mut warnings = warnings.iter();
            warnings.any(|warning| warning.contains("has no client_secret"))
        };
        match (kind.name, outcome) {
            ("42" | "google" | "github" | "facebook", Err(report)) => {
                assert!(report.contains("`client_secret` is missing"), "{report}");
                assert!(report.contains("1 problem "), "{report}");
            }
            ("discord" | "gitlab" | "microsoft" | "oauth2", Ok(loaded)) => {
                assert!(about(&loaded.warnings), "{:?}", loaded.warnings);
            }
            ("oidc", Ok(loaded)) => {
                assert!(!about(&loaded.warnings), "{:?}", loaded.warnings);
            }
            (name, outcome) => panic!("{name}: {outcome:?}"),
        }
    }
    let environment = Environment::from([(
        "SIDEGATE_PROVIDERS__GITHUB__CLIENT_SECRET".to_owned(),
        "s".to_owned(),
    )]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidegate.toml");
    fs::write(
        &path,
        "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
         [providers.github]\nclient_id = \"app\"\nallow = \"anyone\"\n",
    )
    .unwrap();
    assert!(load(Some(&path), &environment).is_ok());
}

#[test]
fn lists_with_few_values_take_no_others() {
    let with = |allow: &str| {
        provider(&format!(
            "[providers.42]\nclient_id = \"app\"\nclient_secret = \"s\"\nallow = {{ {allow} }}\n"
        ))
    };
    for good in [
        "staff = true",
        "staff = [true, false]",
        "staff = \"true\"",
        "kind = [\"student\", \"admin\", \"external\"]",
        // For kinds that 42 thinks of later.
        "claims = { kind = [\"teacher\"] }",
    ] {
        assert!(with(good).is_ok(), "{good}");
    }
    for (bad, hint) in [
        ("staff = \"yes\"", "it is true or false"),
        ("staff = 1", "it is true or false"),
        ("staff = \"True\"", "did you mean \"true\"?"),
        ("kind = \"students\"", "did you mean \"student\"?"),
        (
            "kind = [\"admin\", \"Student\"]",
            "did you mean \"student\"?",
        ),
        (
            "kind = \"teacher\"",
            "it is one of student, admin, external;",
        ),
    ] {
        let report = with(bad).unwrap_err();
        assert!(
            report.contains(hint) && report.contains("1 problem "),
            "{bad}: {report}"
        );
    }
}
