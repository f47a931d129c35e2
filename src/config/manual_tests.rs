//! What is written of the configuration: the manual, and examples elsewhere.

use std::fs;

use super::{
    tests::{environment, environment_of, root},
    *,
};

/// The file that shows how to come from oauth2-proxy passes.
#[test]
fn the_migrated_file_passes() {
    let page = fs::read_to_string(root().join("docs/migrating-from-oauth2-proxy.md")).unwrap();
    let (_, file) = page.split_once("```toml\n").unwrap();
    let (file, _) = file.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidegate.toml");
    fs::write(&path, file).unwrap();
    let mut environment = environment();
    environment.extend(environment_of(&[(
        "SESSION_SECRET",
        "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9",
    )]));
    if let Err(report) = load(Some(&path), &environment) {
        panic!("{report}");
    }
}

/// The manual passes as it is shipped, passes with every example uncommented, and leaves out no key.
#[test]
fn the_manual_is_right_and_whole() {
    let manual = fs::read_to_string(root().join("config.example.toml")).unwrap();
    load(
        Some(&root().join("config.example.toml")),
        &Environment::new(),
    )
    .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["app.example.com".to_owned()]).unwrap();
    for (file, pem) in [
        ("tls.crt", own.cert.pem()),
        ("corp-ca.pem", own.cert.pem()),
        ("tls.key", own.signing_key.serialize_pem()),
        ("app-ca.pem", own.cert.pem()),
    ] {
        fs::write(folder.path().join(file), pem).unwrap();
    }
    fs::write(
        folder.path().join("session.secret"),
        "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9\n",
    )
    .unwrap();
    let is_example = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let uncommented: Vec<&str> = manual
        .lines()
        .map(|line| if is_example(line) { &line[1..] } else { line })
        .collect();
    let path = folder.path().join("sidegate.toml");
    fs::write(&path, uncommented.join("\n")).unwrap();
    let config = load(Some(&path), &environment()).unwrap().config;
    assert_eq!((config.session.secrets.len(), config.routes.len()), (2, 2));

    let mut names = Vec::new();
    collect_names("SIDEGATE", &keys::ROOT, &mut names);
    for name in names {
        assert!(manual.contains(&name), "{name} is not in the manual");
    }
}

/// The environment names of every key, of a provider's without the provider, and of the first route's.
fn collect_names(start: &str, keys: &[keys::Key], names: &mut Vec<String>) {
    let separator = if start == "SIDEGATE" { "_" } else { "__" };
    for key in keys {
        let name = format!("{start}{separator}{}", key.name.to_ascii_uppercase());
        collect_shape(name, &key.shape, names);
    }
}

fn collect_shape(name: String, shape: &keys::Shape, names: &mut Vec<String>) {
    match shape {
        keys::Shape::Later => {}
        keys::Shape::Value | keys::Shape::HeaderSource => names.push(name),
        keys::Shape::Secret | keys::Shape::Secrets | keys::Shape::Address => {
            collect_names(&name, keys::SECRET_SOURCE, names);
            names.push(name);
        }
        keys::Shape::Table(inner) => collect_names(&name, inner, names),
        keys::Shape::TextOrTable(inner) => {
            collect_names(&name, inner, names);
            names.push(name);
        }
        keys::Shape::Named(_, inner) => match inner {
            keys::Shape::Value | keys::Shape::HeaderSource => names.push(format!("{name}__")),
            // Whichever provider shows it.
            inner => collect_shape(String::new(), inner, names),
        },
        keys::Shape::Tables(inner) => collect_names(&format!("{name}__0"), inner, names),
    }
}
