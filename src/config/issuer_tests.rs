//! `[issuer]`: what it must agree with in other tables.

use super::{load::Loaded, provider_tests::loaded};

const HASH: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn with(tables: &str) -> Result<Loaded, String> {
    loaded(&format!(
        "[providers.oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\nallow = \"anyone\"\n{tables}"
    ))
}

fn client(id: &str) -> String {
    format!("[[issuer.clients]]\nid = \"{id}\"\nsecret_hash = \"{HASH}\"\n")
}

#[test]
fn no_client_has_the_name_of_an_app_that_gets_assertions() {
    let wiki = "[upstreams.wiki]\nurl = \"http://127.0.0.1:8001\"\n";
    let named = "[upstreams.wiki]\nurl = \"http://127.0.0.1:8001\"\naudience = \"books\"\n";
    let off = "[headers]\nassertion = false\n";
    for (id, tables, is_good) in [
        ("wiki", wiki, false),
        ("default", wiki, false),
        ("books", named, false),
        ("wiki", named, true),
        ("other", wiki, true),
    ] {
        let loaded = with(&format!("{tables}{}", client(id)));
        assert_eq!(loaded.is_ok(), is_good, "{id}: {:?}", loaded.err());
        if let Err(loaded) = loaded {
            let expected = format!("\"{id}\" is a client's id and the audience");
            assert!(loaded.contains(&expected), "{loaded}");
        }
        let loaded = with(&format!("{tables}{off}{}", client(id)));
        assert!(loaded.is_ok(), "{id}: {:?}", loaded.err());
    }
}

#[test]
fn a_key_that_signs_is_known_before_and_after() {
    for (lifetime, is_good) in [("59m", false), ("1s", false), ("1h", true), ("90d", true)] {
        let loaded = with(&format!(
            "[issuer]\nsigning_key_lifetime = \"{lifetime}\"\n"
        ));
        assert_eq!(loaded.is_ok(), is_good, "{lifetime}");
    }
}

/// The rules for tools are of a route, and another may lead to the same server.
#[test]
fn a_way_around_the_rules_for_tools_is_warned_of() {
    let ruled = "[issuer]\n[upstreams.files]\nurl = \"http://127.0.0.1:8001\"\n\
        [[routes]]\npath = \"/mcp/**\"\nmcp = true\nupstream = \"files\"\ntools = { deny = [\"delete_*\"] }\n";
    let is_warned = |route: &str| {
        let warnings = with(&format!("{ruled}[[routes]]\n{route}\n"))
            .unwrap()
            .warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("has no `tools`"))
    };
    for route in [
        "path = \"/other/**\"\nupstream = \"files\"",
        "path = \"/other/**\"\nmcp = true\nupstream = \"files\"",
        "path = \"/other/**\"\naccess = \"public\"\nupstream = \"files\"",
    ] {
        assert!(is_warned(route), "{route}");
    }
    for route in [
        "path = \"/other/**\"",
        "path = \"/other/**\"\naccess = \"deny\"\nupstream = \"files\"",
        "path = \"/other/**\"\nmcp = true\nupstream = \"files\"\ntools = { allow = [\"read_*\"] }",
    ] {
        assert!(!is_warned(route), "{route}");
    }
    let shared = "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\ntools = { deny = [\"delete_*\"] }\n\
        [[routes]]\npath = \"/tools/**\"\nmcp = true\n";
    let warnings = with(shared).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("has no `tools`")),
        "{warnings:?}"
    );
}

/// Who proves nothing is nobody by itself; but it may bring what proves its users.
#[test]
fn a_public_client_acts_for_nobody_but_its_users() {
    let public = |line: &str| with(&format!("[[issuer.clients]]\nid = \"phone\"\n{line}\n"));
    assert!(public("").is_err());
    for line in ["device_flow = true", "token_exchange = true"] {
        let config = public(line).unwrap().config;
        let client = &config.issuer.unwrap().clients[0];
        assert!(client.machine.is_none(), "{line}");
    }
    assert!(public("token_exchange = true\nclient_credentials = true").is_err());
}
