//! Files that the configuration names.

use std::{fs, path::Path};

use super::{
    tests::{environment, environment_of, root},
    *,
};

#[test]
fn secrets_are_read_from_files_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidegate.toml");
    let source = fs::read_to_string(root().join("tests/config/good/smallest.toml")).unwrap();
    fs::write(
        &path,
        source.replace(
            "{ env = \"CLIENT_SECRET\" }",
            "{ file = \"client.secret\" }",
        ),
    )
    .unwrap();
    let client_secret = folder.path().join("client.secret");

    let missing = load(Some(&path), &environment()).unwrap_err().to_string();
    assert!(missing.contains("there is no such file"), "{missing}");
    fs::write(&client_secret, " \n").unwrap();
    let empty = load(Some(&path), &environment()).unwrap_err().to_string();
    assert!(empty.contains("`client_secret` is empty"), "{empty}");
    fs::write(&client_secret, "hunter2\r\n").unwrap();
    let loaded = load(Some(&path), &environment()).unwrap();
    assert_eq!(
        loaded.config.providers[0].client_secrets[0].expose(),
        "hunter2"
    );
    assert!(!format!("{loaded:?}").contains("hunter"));
}

/// Both are named from the package's root, where tests run.
#[test]
fn a_missing_file_is_named_by_the_place_where_it_was_looked_for() {
    let path = Path::new("tests/config/good/smallest.toml");
    let variable = "SIDEGATE_PROVIDERS__CORP__CLIENT_SECRET__FILE";
    let settings = environment_of(&[(variable, "no-such-file")]);
    let report = load(Some(path), &settings).unwrap_err().to_string();
    let place = root().join("no-such-file");
    assert!(
        report.contains(&format!("cannot read {}\n", place.display())),
        "{report}"
    );
    assert!(report.contains("from the working directory"), "{report}");

    let path = Path::new("tests/config/bad/session.toml");
    let report = load(Some(path), &environment()).unwrap_err().to_string();
    let place = root().join("tests/config/bad/no-such-file");
    assert!(
        report.contains(&format!("cannot read {}\n", place.display())),
        "{report}"
    );
    assert!(
        report.contains("from the configuration's folder"),
        "{report}"
    );
}

/// The gate makes the file of the trail, and no folder.
#[test]
fn a_trail_without_a_folder_is_warned_of() {
    let is_warned = |to: &str| {
        let loaded = provider_tests::loaded(&format!(
            "[providers.oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\nallow = \"anyone\"\n\
             [audit]\nto = \"{to}\"\n"
        ));
        let warnings = loaded.unwrap().warnings;
        warnings
            .iter()
            .any(|warning| warning.starts_with("audit.to: there is no folder"))
    };
    assert!(is_warned("file:no-such-folder/audit.jsonl"));
    assert!(is_warned("file:/no-such-folder/audit.jsonl"));
    assert!(!is_warned("file:audit.jsonl"));
    assert!(!is_warned("stderr"));
}
