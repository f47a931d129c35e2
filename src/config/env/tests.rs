//! The environment laid over files.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn overlaid(source: &str, pairs: &[(&str, &str)]) -> (Node, String) {
    let mut root = crate::config::raw::parse(source)
        .ok()
        .expect("the test's TOML is right");
    let mut problems = Problems::default();
    overlay(&mut root, &environment(pairs), &mut problems);
    let text = if problems.is_empty() {
        String::new()
    } else {
        crate::config::Report::new("test.toml".as_ref(), source, Some(&root), problems).to_string()
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
