//! The environment laid over files.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn overlaid(source: &str, pairs: &[(&str, &str)]) -> (Node, String) {
    let mut root = crate::config::tree::parse(source)
        .ok()
        .expect("the test's TOML is right");
    let mut problems = Problems::default();
    overlay(
        &mut root,
        &crate::config::check::Reader::describe(),
        &environment(pairs),
        &mut problems,
    );
    let text = if problems.is_empty() {
        String::new()
    } else {
        crate::config::Report::new("test.toml".as_ref(), source, None, problems).to_string()
    };
    (root, text)
}

fn text(node: &Node, path: &[&str]) -> String {
    let found = path
        .iter()
        .fold(node, |node, key| match key.parse::<usize>() {
            Ok(index) => &node.items()[index],
            Err(_) => node.get(key).expect("the path is there"),
        });
    match &found.value {
        Value::Text(text) => text.to_string(),
        _ => panic!("not text"),
    }
}

#[test]
fn replaces_and_adds() {
    let (root, problems) = overlaid(
        "upstream = \"a\"\n[providers.my-corp]\nclient_id = \"a\"\n[headers.set]\nX-Campus = \"a\"\n\
         [[routes]]\npath = \"/a\"",
        &[
            ("SIDEGATE_UPSTREAM", "b"),
            ("SIDEGATE_SESSION__STORE", "cookie"),
            ("SIDEGATE_PROVIDERS__MY_CORP__CLIENT_ID", "b"),
            ("SIDEGATE_PROVIDERS__NEW_ONE__ISSUER", "b"),
            ("SIDEGATE_HEADERS__SET__X_CAMPUS", "email"),
            ("SIDEGATE_HEADERS__SET__X_MAIL", "email"),
            ("SIDEGATE_ROUTES__0__ACCESS", "deny"),
            ("SIDEGATE_ROUTES__1__PATH", "/b"),
            ("SIDEGATE_CONFIG", "x"),
        ],
    );
    assert_eq!(problems, "");
    assert_eq!(text(&root, &["upstream"]), "b");
    assert_eq!(text(&root, &["session", "store"]), "cookie");
    assert_eq!(text(&root, &["providers", "my-corp", "client_id"]), "b");
    assert_eq!(text(&root, &["providers", "new_one", "issuer"]), "b");
    assert_eq!(text(&root, &["headers", "set", "X-Campus"]), "email");
    assert_eq!(text(&root, &["headers", "set", "x-mail"]), "email");
    assert_eq!(text(&root, &["routes", "0", "path"]), "/a");
    assert_eq!(text(&root, &["routes", "0", "access"]), "deny");
    assert_eq!(text(&root, &["routes", "1", "path"]), "/b");
}

#[test]
fn a_secrets_source_replaces_the_files() {
    let (root, problems) = overlaid(
        "[session]\nsecret = { env = \"SIDEGATE_OWN\" }\n[providers.a]\nallow = \"anyone\"",
        &[
            ("SIDEGATE_OWN", "not a key"),
            ("SIDEGATE_SESSION__SECRET__FILE", "/f"),
            ("SIDEGATE_PROVIDERS__A__ALLOW__EMAILS", "a@b"),
        ],
    );
    assert_eq!(problems, "");
    assert_eq!(text(&root, &["session", "secret", "file"]), "/f");
    assert!(
        root.get("session")
            .and_then(|node| node.get("secret")?.get("env"))
            .is_none()
    );
    assert_eq!(text(&root, &["providers", "a", "allow", "emails"]), "a@b");
}

#[test]
fn several_secrets_go_by_number() {
    let (root, problems) = overlaid(
        "[providers.a]\nclient_secret = \"of the file\"",
        &[
            (
                "SIDEGATE_PROVIDERS__A__CLIENT_SECRET__0",
                "first, with a comma",
            ),
            ("SIDEGATE_PROVIDERS__A__CLIENT_SECRET__1__FILE", "/f"),
        ],
    );
    assert_eq!(problems, "");
    let secret = |path: &[&str]| {
        text(
            &root,
            &[&["providers", "a", "client_secret"], path].concat(),
        )
    };
    assert_eq!(secret(&["0"]), "first, with a comma");
    assert_eq!(secret(&["1", "file"]), "/f");

    for (names, message) in [
        (&["SIDEGATE_SESSION__SECRET__1"][..], "SECRET__0"),
        (
            &["SIDEGATE_SESSION__SECRET", "SIDEGATE_SESSION__SECRET__0"],
            "contradict",
        ),
        (
            &[
                "SIDEGATE_SESSION__SECRET__0",
                "SIDEGATE_SESSION__SECRET__0__FILE",
            ],
            "contradict",
        ),
        (
            &[
                "SIDEGATE_SESSION__SECRET__0",
                "SIDEGATE_SESSION__SECRET__FILE",
            ],
            "contradict",
        ),
        (
            &[
                "SIDEGATE_SESSION__SECRET__0",
                "SIDEGATE_SESSION__SECRET__00",
            ],
            "contradict",
        ),
    ] {
        let pairs: Vec<_> = names.iter().map(|name| (*name, "hunter2")).collect();
        let (_, report) = overlaid("", &pairs);
        assert!(report.contains(message), "{names:?}: {report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_path_to_a_claim_has_two_underscores_for_a_dot() {
    let (root, problems) = overlaid(
        "[providers.a.allow.claims]\n\"realm_access.Roles\" = \"a\"",
        &[
            (
                "SIDEGATE_PROVIDERS__A__ALLOW__CLAIMS__REALM_ACCESS__ROLES",
                "b",
            ),
            ("SIDEGATE_PROVIDERS__A__ALLOW__CLAIMS__A_B__0__C", "c"),
            (
                "SIDEGATE_PROVIDERS__A__AUTHORIZE_PARAMS__ACCESS_TYPE",
                "offline",
            ),
            ("SIDEGATE_PROVIDERS__A__CLAIMS__SUBJECT", "id"),
        ],
    );
    assert_eq!(problems, "");
    let value = |path: &[&str]| text(&root, &[&["providers", "a"], path].concat());
    assert_eq!(value(&["allow", "claims", "realm_access.Roles"]), "b");
    assert_eq!(value(&["allow", "claims", "a_b.0.c"]), "c");
    assert_eq!(value(&["authorize_params", "access_type"]), "offline");
    assert_eq!(value(&["claims", "subject"]), "id");
}

#[test]
fn unknown_names_learn_the_right_one() {
    for (name, hint) in [
        ("SIDEGATE_SESSION_STORE", "SIDEGATE_SESSION__STORE"),
        ("SIDEGATE_UPSTRAEM", "SIDEGATE_UPSTREAM?"),
        (
            "SIDEGATE_PROVIDERS__A__ISUER",
            "SIDEGATE_PROVIDERS__A__ISSUER?",
        ),
        (
            "SIDEGATE_PROVIDERS_A__ISSUER",
            "SIDEGATE_PROVIDERS__A__ISSUER",
        ),
        ("SIDEGATE_SESSION", "SIDEGATE_SESSION__SECRET"),
        ("SIDEGATE_PROVIDERS", "SIDEGATE_PROVIDERS__"),
        ("SIDEGATE_LISTEN__PORT", "nothing of that name"),
        ("SIDEGATE_ROUTES__1__PATH", "SIDEGATE_ROUTES__0__"),
        ("SIDEGATE_", "comes one of"),
        ("SIDEGATE_PORT", "comes one of"),
    ] {
        let (_, report) = overlaid("", &[(name, "hunter2")]);
        assert!(report.contains(hint), "{name}: {report}");
        assert!(report.contains(&format!("environment: {name}")), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_service_called_sidegate_is_no_configuration() {
    let (_, report) = overlaid(
        "",
        &[
            ("SIDEGATE_SERVICE_HOST", "10.0.0.1"),
            ("SIDEGATE_SERVICE_PORT", "80"),
            ("SIDEGATE_SERVICE_PORT_HTTP", "80"),
            ("SIDEGATE_PORT", "tcp://10.0.0.1:80"),
            ("SIDEGATE_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("SIDEGATE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ],
    );
    assert_eq!(report, "");
}

#[test]
fn two_variables_for_one_place_contradict() {
    let (_, report) = overlaid(
        "",
        &[
            ("SIDEGATE_PROVIDERS__A__ALLOW", "anyone"),
            ("SIDEGATE_PROVIDERS__A__ALLOW__EMAILS", "a@b"),
            ("SIDEGATE_SESSION__SECRET", "x"),
            ("SIDEGATE_SESSION__SECRET__FILE", "y"),
        ],
    );
    assert_eq!(report.matches("contradict").count(), 2, "{report}");
}

#[test]
fn an_empty_variable_is_refused() {
    let (_, report) = overlaid("", &[("SIDEGATE_TRUSTED_PROXIES", "")]);
    assert!(report.contains("is empty"), "{report}");
}
