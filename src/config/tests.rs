//! Whole configurations: files that pass, and files that do not with the reports they get.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderName, Method};

use super::*;
use crate::{
    access::Allow, identity_headers::HeaderSource, provider::settings::ClientAuthentication,
    route::Access, secret::Secret,
};

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn environment() -> Environment {
    environment_of(&[
        ("APP_SECRET", "uT5rWq8zKd3mXc7vBn1sLp9eYg2hJf4a"),
        ("CLIENT_SECRET", "from the environment"),
        ("DISCORD_CLIENT_SECRET", "s"),
        ("FACEBOOK_CLIENT_SECRET", "s"),
        ("FORTY_TWO_NEXT_SECRET", "t"),
        ("FORTY_TWO_SECRET", "s"),
        ("FORUM_CLIENT_SECRET", "s"),
        ("GITHUB_CLIENT_SECRET", "s"),
        ("GITLAB_CLIENT_SECRET", "s"),
        ("GOOGLE_CLIENT_SECRET", "s"),
        ("MICROSOFT_CLIENT_SECRET", "s"),
        ("OLD_SECRET", "bW9yZSBlbnRyb3B5IHRoYW4gdGhpcyBsaW5lIGhhcw"),
        (
            "OLD_SESSION_SECRET",
            "bW9yZSBlbnRyb3B5IHRoYW4gdGhpcyBsaW5lIGhhcw",
        ),
    ])
}

pub(super) fn environment_of(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has files");
    files
}

/// The report of a file, with the path as it is within the repository.
fn report(path: &Path) -> String {
    let report = load(Some(path), &environment())
        .expect_err("the file is bad")
        .to_string();
    report.replace(&format!("{}/", root().display()), "")
}

#[test]
fn good_files_pass() {
    for path in toml_files("tests/config/good") {
        if let Err(report) = load(Some(&path), &environment()) {
            panic!("{report}");
        }
    }
}

/// `UPDATE_REPORTS=1 cargo test` writes the expected reports anew; read them before they are kept.
#[test]
fn bad_files_get_their_reports() {
    let update = std::env::var_os("UPDATE_REPORTS").is_some();
    for path in toml_files("tests/config/bad") {
        let actual = report(&path);
        let expected = path.with_extension("report");
        if update {
            fs::write(&expected, &actual).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(actual, expected, "{}:\n{actual}", path.display());
    }
}

/// Each warning on a line; `UPDATE_REPORTS=1` writes them anew, as it does the reports.
#[test]
fn files_that_pass_get_their_warnings() {
    let update = std::env::var_os("UPDATE_REPORTS").is_some();
    for path in toml_files("tests/config/warned") {
        let warnings = load(Some(&path), &environment()).unwrap().warnings;
        let expected = path.with_extension("warnings");
        if update {
            let end = if warnings.is_empty() { "" } else { "\n" };
            fs::write(&expected, warnings.join("\n") + end).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        let expected: Vec<&str> = expected.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(warnings, expected, "{}", path.display());
    }
}

#[test]
fn no_report_shows_a_secret() {
    for path in toml_files("tests/config/bad") {
        assert!(!report(&path).contains("hunter"), "{}", path.display());
        let report = load(Some(&path), &environment()).unwrap_err();
        assert!(
            !report.render(true).contains("hunter"),
            "{}",
            path.display()
        );
        assert!(
            !format!("{report:?}").contains("hunter"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn all_problems_come_at_once() {
    let path = root().join("tests/config/bad/six_problems.toml");
    let report = load(Some(&path), &environment()).unwrap_err();
    let text = report.to_string();
    for what in [
        "`upstream` is no address",
        "`public_url` may not have a path",
        "`workers` is a whole number",
        "did you mean `lifetime`?",
        "did you mean `issuer`?",
        "it begins with a slash",
    ] {
        assert!(text.contains(what), "{what}\n{text}");
    }
    assert_eq!(report.len(), 6, "{text}");
}

#[test]
fn reads_every_key() {
    let path = root().join("tests/config/good/everything.toml");
    let Loaded {
        config, warnings, ..
    } = load(Some(&path), &environment()).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.listen.len(), 3);
    assert_eq!(
        config.listen[2].address,
        ListenAddress::Unix("/run/sidegate.sock".into())
    );
    let proxied = config.listen.iter().map(|listen| listen.is_proxied);
    assert_eq!(proxied.collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(
        config.admin_listen,
        Some(ListenAddress::Unix("/run/sidegate-admin.sock".into()))
    );
    assert_eq!(config.public_url.authority(), "app.example.com:8443");
    assert!(config.public_url.is_https());
    assert_eq!(
        config.upstreams[0].addresses,
        [crate::forward::settings::UpstreamAddress::Unix(
            "/run/app.sock".into()
        )]
    );
    assert_eq!(config.upstreams[0].head_timeout, Duration::from_mins(15));
    assert_eq!(config.trusted_proxies[1].to_string(), "192.0.2.1/32");
    assert_eq!(config.prefix, "/gate/own");
    assert_eq!(
        config.redirect_hosts,
        [
            HostPattern::Subdomains(".example.com".into()),
            HostPattern::Exact("other.example.net:8443".into())
        ]
    );
    assert_eq!(
        (config.workers, config.shutdown_grace),
        (2, Duration::from_secs(5))
    );
    assert_eq!(config.log, "warn,sidegate=debug");

    let session = &config.session;
    assert_eq!(
        session.secrets[0].expose(),
        "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9"
    );
    assert_eq!(session.secrets[1].expose(), environment()["OLD_SECRET"]);
    assert!(!session.ephemeral);
    assert_eq!(session.lifetime, Duration::from_hours(1));
    assert_eq!(
        session.idle_timeout, session.lifetime,
        "the default gives way"
    );
    assert_eq!(session.cookie_name, "gate");
    assert_eq!(session.cookie_domain.as_deref(), Some("example.com"));

    assert_eq!(config.headers.identity.len(), 2);
    assert_eq!(
        config.headers.identity[0],
        (
            HeaderName::from_static("x-campus"),
            HeaderSource::Claim("campus.0.name".into())
        )
    );
    assert_eq!(config.routes.len(), 3);
    assert_eq!(config.routes[0].methods, [Method::GET]);
    assert_eq!(config.routes[1].access, Access::Login);
}

#[test]
fn reads_every_key_of_a_provider() {
    let path = root().join("tests/config/good/everything.toml");
    let config = load(Some(&path), &environment()).unwrap().config;
    let [corp, oidc] = &config.providers[..] else {
        panic!("two providers, in the file's order");
    };
    assert_eq!(
        (corp.name.as_str(), corp.label.as_str()),
        ("my-corp", "Corporation")
    );
    assert_eq!(
        corp.endpoint("issuer"),
        Some("http://localhost:9000/realms/corp/")
    );
    let secrets: Vec<_> = corp.client_secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["the current one", "from the environment"]);
    assert_eq!(corp.client_authentication, Some(ClientAuthentication::Post));
    assert_eq!(corp.scopes, ["openid", "email"]);
    let params = [("prompt", "select_account"), ("max_age", "3600")];
    assert_eq!(
        corp.authorize_params,
        params.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(corp.callback_path, "/oauth/callback/");
    assert_eq!(corp.deny_message.as_deref(), Some("Ask the front desk."));
    assert_eq!(
        corp.allow,
        Allow::for_test(&[
            ("emails", &["Ann@example.com"]),
            ("domains", &[".example.com"]),
            ("users", &["Ann", "7"]),
            ("groups", &["eng, ops"]),
            ("claims.https://example.com/level", &["3", "x"]),
            ("claims.staff", &["true"]),
            ("claims.a.b", &["c"]),
        ])
    );
    assert_eq!(corp.claims.user.as_deref(), Some("nickname"));
    assert_eq!(corp.claims.groups.as_deref(), Some("realm_access.roles"));
    assert_eq!((oidc.label.as_str(), &oidc.allow), ("Oidc", &Allow::Anyone));
    assert!(oidc.client_secrets.is_empty());
    assert_eq!(oidc.callback_path, "/gate/own/callback/oidc");
    assert_eq!(oidc.endpoint("issuer"), Some("https://login.example.com"));
}

#[test]
fn defaults_are_as_documented() {
    let path = root().join("tests/config/good/smallest.toml");
    let Loaded {
        config, warnings, ..
    } = load(Some(&path), &environment()).unwrap();
    assert_eq!(
        config.listen,
        [Listen {
            address: ListenAddress::Tcp(([0, 0, 0, 0], 4180).into()),
            is_proxied: false,
        }]
    );
    assert!(config.tls.is_none() && config.admin_listen.is_none());
    assert_eq!(config.upstreams[0].head_timeout, Duration::from_mins(1));
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!(
        (config.prefix.as_str(), config.log.as_str()),
        ("/oauth2", "info")
    );
    assert!(config.trusted_proxies.is_empty() && config.redirect_hosts.is_empty());
    assert!(config.workers >= 1);
    assert_eq!(config.session.lifetime, Duration::from_hours(7 * 24));
    assert_eq!(config.session.idle_timeout, Duration::from_hours(12));
    assert_eq!(config.session.cookie_name, "sidegate");
    assert!(config.session.ephemeral);
    assert_eq!(config.session.secrets[0].expose().len(), 43);
    // That the secret is not set, and that nothing is said of the proxy that ends TLS.
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let provider = &config.providers[0];
    assert_eq!(
        (provider.label.as_str(), &provider.claims.groups),
        ("Corp", &None)
    );
    assert_eq!(provider.scopes, ["openid", "profile", "email"]);
    assert_eq!(provider.client_secrets[0].expose(), "from the environment");
    let names: Vec<_> = config
        .headers
        .identity
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "x-user",
            "x-user-id",
            "x-user-email",
            "x-user-name",
            "x-user-groups",
            "x-user-provider",
            "x-user-auth",
            "x-user-scopes",
            "x-user-client",
            "x-user-assertion"
        ]
    );
}

#[test]
fn the_environment_is_enough() {
    let settings = [
        ("SIDEGATE_UPSTREAM", "http://127.0.0.1:8000"),
        ("SIDEGATE_PUBLIC_URL", "https://app.example.com"),
        ("SIDEGATE_WORKERS", "3"),
        ("SIDEGATE_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("SIDEGATE_LISTEN", "127.0.0.1:4180, unix:/run/gate.sock"),
        (
            "SIDEGATE_SESSION__SECRET",
            "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9,9Al6Jh3Fe7Cu4Wt1Rx8Km5NbVs2pZ0qY",
        ),
        ("SIDEGATE_PROVIDERS__CORP__TYPE", "oidc"),
        (
            "SIDEGATE_PROVIDERS__CORP__ISSUER",
            "https://login.example.com",
        ),
        ("SIDEGATE_PROVIDERS__CORP__CLIENT_ID", "app"),
        (
            "SIDEGATE_PROVIDERS__CORP__CLIENT_SECRET__ENV",
            "SIDEGATE_OF_MY_OWN",
        ),
        ("SIDEGATE_OF_MY_OWN", "a,b"),
        (
            "SIDEGATE_PROVIDERS__CORP__ALLOW__DOMAINS",
            "example.com,.example.com",
        ),
        ("SIDEGATE_HEADERS__SET__X_MAIL", "email"),
    ];
    // No default file stands in the package's root, where tests run.
    let Loaded {
        config, warnings, ..
    } = load(None, &environment_of(&settings)).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.workers, config.listen.len()), (3, 2));
    assert_eq!(config.session.secrets.len(), 2);
    assert_eq!(config.providers[0].client_secrets[0].expose(), "a,b");
    assert_eq!(config.headers.identity.len(), 11);

    let named = load(Some(Path::new("no-such.toml")), &environment_of(&settings)).unwrap_err();
    assert!(
        named.to_string().contains("no such file"),
        "a file that is named must be there"
    );
    let nothing = load(None, &environment()).unwrap_err().to_string();
    assert!(nothing.contains("SIDEGATE_ variables"), "{nothing}");
}

#[test]
fn problems_of_the_environment_name_the_variable() {
    let path = root().join("tests/config/good/smallest.toml");
    let mut settings = environment();
    settings.extend(environment_of(&[
        ("SIDEGATE_LISTEN", "nowhere"),
        ("SIDEGATE_SESSION__SECRET", "hunter2"),
        ("SIDEGATE_PROVIDERS__CORP__CLIENT_SECRT", "hunter3"),
        ("SIDEGATE_UPSTREAM", "http://ann:hunter4@app"),
    ]));
    let report = load(Some(&path), &settings).unwrap_err();
    let text = report.to_string();
    for name in settings.keys().filter(|name| name.starts_with("SIDEGATE_")) {
        assert!(
            text.contains(&format!("environment: {name}")),
            "{name}\n{text}"
        );
    }
    assert_eq!(report.len(), 4, "{text}");
    assert!(!text.contains("hunter"), "{text}");
}
