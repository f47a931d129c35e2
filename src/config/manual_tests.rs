//! What is written of the configuration: the manual, and examples elsewhere.

use std::fs;

use super::{
    schema::{Kind, Shape},
    tests::{environment, environment_of, root},
    *,
};

/// The file that shows how to come from oauth2-proxy passes.
#[test]
fn the_migrated_file_passes() {
    let page = fs::read_to_string(root().join("docs/from-oauth2-proxy.md")).unwrap();
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

/// What a page has to copy, behind a file that passes without it.
#[test]
fn blocks_of_pages_pass() {
    const FILE: &str = "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
        [providers.corp]\ntype = \"oidc\"\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\n\
        allow = \"anyone\"\n";
    let mut environment = environment();
    environment.extend(environment_of(&[(
        "SESSION_SECRET",
        "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9",
    )]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sidegate.toml");
    for page in ["routes.md", "assertion.md", "mcp.md", "sessions.md"] {
        let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
        let blocks: Vec<&str> = text.split("```toml\n").skip(1).collect();
        assert!(!blocks.is_empty(), "{page}");
        for block in blocks {
            let (block, _) = block.split_once("\n```").unwrap();
            fs::write(&path, format!("{FILE}{block}\n")).unwrap();
            if let Err(report) = load(Some(&path), &environment) {
                panic!("{page}:\n{block}\n{report}");
            }
        }
    }
}

/// What stands at the beginning of a page passes, with a provider.
#[test]
fn pages_begin_with_what_passes() {
    let provider = "[providers.corp]\ntype = \"oidc\"\nissuer = \"https://id.example.com\"\nclient_id = \"app\"\n\
                    client_secret = \"client-words-of-length\"\nallow = { domains = [\"example.com\"] }\n";
    for page in [
        "docs/several-apps.md",
        "docs/client-address.md",
        "docs/admin.md",
        "docs/metrics.md",
        "docs/logging.md",
    ] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let (_, file) = text.split_once("```toml\n").unwrap();
        let (file, _) = file.split_once("```").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sidegate.toml");
        fs::write(&path, format!("{file}\n{provider}")).unwrap();
        if let Err(report) = load(Some(&path), &environment()) {
            panic!("{page}: {report}");
        }
    }
}

fn manual() -> String {
    fs::read_to_string(root().join("config.example.toml")).unwrap()
}

/// The manual with every example in force. In the place of hashes, which nobody should copy, stands one.
pub(super) fn uncommented() -> String {
    let is_example = |line: &str| {
        line.starts_with('#') && !line.starts_with("# ") && !line.starts_with("#:") && line != "#"
    };
    let manual = manual();
    let lines = manual
        .lines()
        .map(|line| if is_example(line) { &line[1..] } else { line });
    let lines = lines.collect::<Vec<_>>().join("\n");
    lines.replace("sha256:…", &format!("sha256:{}", "5e".repeat(32)))
}

/// The manual passes as it is shipped, passes with every example uncommented, and leaves out no key.
#[test]
fn the_manual_is_right_and_whole() {
    let manual = manual();
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
        ("client-ca.pem", own.cert.pem()),
        ("tls.key", own.signing_key.serialize_pem()),
        ("app-ca.pem", own.cert.pem()),
    ] {
        fs::write(folder.path().join(file), pem).unwrap();
    }
    fs::write(
        folder.path().join("htpasswd"),
        format!(
            "ada:{0}\nbob:{0}\n",
            "$2y$05$NDJBewmsurG4KCAEt.1fxuVvYRRHC8wHKsNGpDad.0tcrKkD.eRbO"
        ),
    )
    .unwrap();
    fs::write(
        folder.path().join("session.secret"),
        "Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9\n",
    )
    .unwrap();
    let path = folder.path().join("sidegate.toml");
    fs::write(&path, uncommented()).unwrap();
    let config = load(Some(&path), &environment()).unwrap().config;
    assert_eq!((config.session.secrets.len(), config.routes.len()), (2, 8));

    let mut names = Vec::new();
    collect_names("SIDEGATE_", &check::Reader::describe(), &mut names);
    for name in names {
        // Lists of a route are those of a provider.
        let list = [
            "SIDEGATE_ROUTES__0__ALLOW__",
            "SIDEGATE_ROUTES__0__ANY__0__",
        ]
        .iter()
        .find_map(|start| name.strip_prefix(start));
        let is_told = list.is_some_and(|list| manual.contains(&format!("__ALLOW__{list}")));
        assert!(
            is_told || manual.contains(&name),
            "{name} is not in the manual"
        );
    }
}

/// The environment names of every key, of a provider's without the provider, and of the first route's.
fn collect_names(start: &str, keys: &schema::Keys, names: &mut Vec<String>) {
    for key in keys.all() {
        let name = format!("{start}{}", key.name.to_ascii_uppercase());
        let below = format!("{name}__");
        match key.shape {
            Shape::Value(Kind::Secrets | Kind::Address) => {
                collect_names(&below, &schema::Keys::of_source(), names);
                names.push(name);
            }
            Shape::Value(_) => names.push(name),
            Shape::Table(inner) => collect_names(&below, &inner, names),
            Shape::WordOrTable(_, inner) => {
                collect_names(&below, &inner, names);
                names.push(name);
            }
            Shape::Map(..) => names.push(below),
            // Whichever provider shows it.
            Shape::Named(inner) => collect_names("__", &inner, names),
            Shape::Tables(inner) => collect_names(&format!("{name}__0__"), &inner, names),
        }
    }
}
