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

/// Whoever has a token of the gate's client at the provider could be its user by a client that proves nothing.
#[test]
fn tokens_that_apps_get_and_could_exchange_are_warned_of() {
    let is_warned = |client: &str, tables: &str| {
        let client =
            format!("[[issuer.clients]]\nid = \"phone\"\ntoken_exchange = true\n{client}\n");
        let routes = "[[routes]]\npath = \"/api/**\"\ntokens = true\n";
        let warnings = with(&format!("{client}{routes}{tables}")).unwrap().warnings;
        let mut warnings = warnings.iter();
        warnings
            .any(|warning| warning.contains("\"phone\" has token_exchange = true and no secret"))
    };
    let secret = format!("secret_hash = \"{HASH}\"");
    let app = "[app]\nsecret = \"uT5rWq8zKd3mXc7vBn1sLp9eYg2hJf4a\"\n";
    for tables in [
        app,
        "[[routes]]\npath = \"/orders/**\"\ntoken_exchange = { audience = \"orders\" }\n",
        "[headers]\nset = { X-Token = \"access_token\" }\n",
        "[headers]\nset = { X-Token = \"id_token\" }\n",
    ] {
        assert!(is_warned("", tables), "{tables}");
        assert!(!is_warned(&secret, tables), "{tables}");
    }
    assert!(!is_warned("", "[headers]\nset = { X-Name = \"name\" }\n"));
}

/// What is signed for an address looks like an assertion to an app of that name.
#[test]
fn an_audience_that_access_tokens_may_be_for_is_warned_of() {
    let is_warned = |format: &str, audience: &str, more: &str| {
        let issuer = format!("[issuer]\ntoken_format = \"{format}\"\n");
        let routes = "[[routes]]\npath = \"/api/**\"\ntokens = true\nupstream = \"api\"\n";
        let upstream = format!(
            "[upstreams.api]\nurl = \"http://127.0.0.1:8001\"\naudience = \"{audience}\"\n"
        );
        let warnings = with(&format!("{issuer}{upstream}{routes}{more}"))
            .unwrap()
            .warnings;
        let mut warnings = warnings.iter();
        warnings.any(|warning| warning.contains("take an access token for an assertion"))
    };
    let own = "https://app.example.com/api";
    assert!(is_warned("jwt", own, ""));
    assert!(is_warned("jwt", "https://app.example.com/api/v1", ""));
    assert!(!is_warned("opaque", own, ""));
    assert!(!is_warned("jwt", own, "[headers]\nassertion = false\n"));
    for other in [
        "api",
        "https://app.example.com",
        "https://app.example.com/other",
        "https://other.example.com/api",
    ] {
        assert!(!is_warned("jwt", other, ""), "{other}");
    }
}
