//! `check --without-secrets`, where secrets are not at hand.

use std::{path::Path, process::Output};

use super::{GOOD, run, text};
use crate::support::house::sidegate;

/// A file of a machine that does not have its secrets, and what `check` says of it with `arguments`.
fn check_elsewhere(toml: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("test.toml");
    std::fs::write(&file, toml).expect("the file is written");
    let mut command = sidegate();
    command.args(["check", "-c"]).arg(&file).args(arguments);
    command.output().expect("the binary runs")
}

#[test]
fn where_no_secrets_are_all_else_is_checked() {
    let toml = GOOD.replace("\"canary-secret\"", "{ env = \"NOT_HERE\" }")
        + "[session]\nsecret = [{ file = \"/not/there/new\" }, { file = \"/not/there/old\" }]\n\
           store = { env = \"REDIS_NOT_HERE\" }\n";
    let toml =
        format!("tls = {{ cert = \"/not/there/tls.crt\", key = \"/not/there/tls.key\" }}\n{toml}");
    let missing = [
        ("providers.corp.client_secret", "NOT_HERE"),
        ("session.store", "REDIS_NOT_HERE"),
        ("session.secret", "/not/there/new"),
        ("session.secret", "/not/there/old"),
        ("tls.cert", "/not/there/tls.crt"),
        ("tls.key", "/not/there/tls.key"),
    ];
    let strict = check_elsewhere(&toml, &[]);
    assert_eq!(strict.status.code(), Some(2));
    let said = text(&strict.stderr);
    assert!(said.contains("6 problems"), "{said}");
    assert!(said.contains("--without-secrets"), "{said}");

    let lenient = check_elsewhere(&toml, &["--without-secrets"]);
    let said = text(&lenient.stderr);
    assert!(lenient.status.success(), "{said}");
    assert!(text(&lenient.stdout).contains("/oauth2/callback/corp"));
    let notes: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("note: "))
        .collect();
    assert_eq!(notes.len(), missing.len(), "{said}");
    for (key, source) in missing {
        let start = format!("note: {key} is not checked: ");
        let is_it = |note: &&str| note.starts_with(&start) && note.contains(source);
        assert!(notes.iter().any(is_it), "{key}: {said}");
    }
}

#[test]
fn where_no_secrets_are_nothing_else_is_forgiven() {
    let toml = GOOD.replace("\"canary-secret\"", "{ env = \"NOT_HERE\" }");
    for (wrong, message) in [
        (toml.replace("issuer", "isuer"), "did you mean `issuer`?"),
        (
            format!("{toml}[session]\nsecret = \"short\"\n"),
            "this session secret is weak",
        ),
        (
            toml.replace("\"NOT_HERE\"", "\"canary.secret\""),
            "`env` is no variable's name",
        ),
    ] {
        let output = check_elsewhere(&wrong, &["--without-secrets"]);
        assert_eq!(output.status.code(), Some(2), "{message}");
        let said = text(&output.stderr);
        assert!(said.contains(message), "{said}");
        assert!(said.contains("1 problem in"), "{said}");
        // It does not help there.
        let strict = text(&check_elsewhere(&wrong, &[]).stderr);
        assert!(!strict.contains("--without-secrets"), "{strict}");
    }
    // Whoever runs the gate needs them, and whoever asks Redis does, too.
    assert_eq!(run(&["run", "--without-secrets"]).status.code(), Some(2));
    let both = check_elsewhere(&toml, &["--without-secrets", "--online"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn what_deploy_ships_passes_without_secrets() {
    for folder in ["compose", "kubernetes", "systemd"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy")
            .join(folder)
            .join("sidegate.toml");
        let output = sidegate()
            .args(["check", "--without-secrets", "-c"])
            .arg(file)
            .output()
            .expect("it runs");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{folder}: {said}");
        assert_eq!(said.matches("note: ").count(), 2, "{folder}: {said}");
    }
}
