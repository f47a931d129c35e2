//! Routes that nobody can pass, and providers whose tokens nobody can bring.

use super::provider_tests::loaded;

const PROVIDER: &str = "[providers.oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\nallow = \"anyone\"\n";
const STATE: &str = "[api_tokens]\nscopes = [\"read\"]\n";

fn warnings(tables: &str) -> Vec<String> {
    let loaded = loaded(&format!("{PROVIDER}{tables}")).unwrap();
    let mut warnings = loaded.warnings;
    warnings.retain(|one| one.contains("nobody pass") || one.contains(" can have "));
    warnings
}

fn route(allow: &str) -> String {
    format!("[[routes]]\npath = \"/api/**\"\naccess = \"api\"\n{allow}\n")
}

#[test]
fn a_scope_that_no_credential_can_have_is_warned_of() {
    let read = route("allow = { scopes = [\"read\"] }");
    assert_eq!(
        warnings(&read),
        [
            "routes[0] asks for the scope \"read\", and no credential of this configuration can have it: set bearer, [api_tokens], \
             [[service_tokens]] or [issuer]"
        ]
    );
    let two = warnings(&route("allow = { scopes = [\"read\", \"write\"] }"));
    assert!(two[0].contains("the scopes \"read\", \"write\""), "{two:?}");
    let bearer = "bearer = { audience = [\"api\"] }\n";
    assert_eq!(warnings(&format!("{bearer}{read}")), [""; 0]);
    let token = format!(
        "[[service_tokens]]\nname = \"ci\"\nhash = \"sha256:{}\"\nscopes = [\"read\"]\n",
        "5e".repeat(32)
    );
    assert_eq!(warnings(&format!("{token}{read}")), [""; 0]);
    // By another alternative somebody passes.
    let either = route("any = [{ scopes = [\"read\"] }, { credentials = [\"session\"] }]");
    assert_eq!(warnings(&either), [""; 0]);
    // What is tried out refuses nobody.
    let dry = route("allow = { scopes = [\"read\"] }\ndry_run = true");
    assert_eq!(warnings(&dry), [""; 0]);
}

#[test]
fn a_scope_that_the_issuer_does_not_give_is_warned_of() {
    let route =
        "[[routes]]\npath = \"/api/**\"\ntokens = true\nallow = { scopes = [\"files:read\"] }\n";
    let without = warnings(&format!("[issuer]\n{route}"));
    assert!(
        without[0].contains("add to scopes of [issuer]"),
        "{without:?}"
    );
    let with = warnings(&format!("[issuer]\nscopes = [\"files:read\"]\n{route}"));
    assert_eq!(with, [""; 0]);
    let machine = format!(
        "[[issuer.clients]]\nid = \"m\"\nsecret_hash = \"sha256:{}\"\nscopes = [\"files:read\"]\n",
        "5e".repeat(32)
    );
    assert_eq!(warnings(&format!("{machine}{route}")), [""; 0]);
    // The one that each token of the route has.
    let base =
        "[issuer]\n[[routes]]\npath = \"/api/**\"\ntokens = true\nallow = { scopes = [\"api\"] }\n";
    assert_eq!(warnings(base), [""; 0]);
}

#[test]
fn a_credential_or_provider_that_nobody_has_is_warned_of() {
    for (allow, expected) in [
        ("credentials = [\"bearer\"]", "no provider has `bearer`"),
        ("credentials = [\"api_token\"]", "there is no [api_tokens]"),
        (
            "credentials = [\"access_token\"]",
            "neither `mcp` nor `tokens`",
        ),
        ("credentials = [\"password\"]", "there is no [users]"),
        ("credentials = [\"certificate\"]", "no tls.client_ca"),
        ("providers = [\"service\"]", "the provider \"service\""),
        ("providers = [\"users\"]", "the provider \"users\""),
    ] {
        let told = warnings(&route(&format!("allow = {{ {allow} }}")));
        assert_eq!(told.len(), 1, "{allow}");
        assert!(
            told[0].starts_with("routes[0] lets nobody pass"),
            "{told:?}"
        );
        assert!(told[0].contains(expected), "{told:?}");
    }
    let session =
        route("allow = { credentials = [\"session\", \"bearer\"], providers = [\"oidc\"] }");
    assert_eq!(warnings(&session), [""; 0]);
}

#[test]
fn credentials_that_an_mcp_route_does_not_accept_are_warned_of() {
    for name in ["session", "bearer", "password", "certificate"] {
        let told = warnings(&format!(
            "bearer = {{ audience = [\"api\"] }}\n[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n\
             allow = {{ credentials = [\"{name}\"] }}\n"
        ));
        assert_eq!(
            told,
            [format!(
                "routes[0] lets nobody pass: it asks for the credential \"{name}\", and an mcp route accepts access tokens, \
                 API tokens and service tokens only"
            )]
        );
    }
}

#[test]
fn what_two_lists_do_not_have_in_common_is_warned_of() {
    for (all, one, what) in [
        (
            "credentials = [\"session\"]",
            "credentials = [\"bearer\"]",
            "credential",
        ),
        (
            "providers = [\"oidc\"]",
            "providers = [\"service\"]",
            "provider",
        ),
    ] {
        let told = warnings(&format!(
            "bearer = {{ audience = [\"api\"] }}\n[[service_tokens]]\nname = \"ci\"\nhash = \"sha256:{}\"\n{}",
            "5e".repeat(32),
            route(&format!("allow = {{ {all} }}\nany = [{{ {one} }}]"))
        ));
        assert_eq!(
            told,
            [format!(
                "routes[0] lets nobody pass: `allow` and `any` have no {what} in common"
            )]
        );
    }
}

#[test]
fn only_what_both_lists_name_is_warned_of() {
    let told = warnings(&route(
        "allow = { credentials = [\"session\", \"bearer\", \"password\"] }\nany = [{ credentials = [\"bearer\", \"password\"] }]",
    ));
    assert_eq!(
        told,
        [
            "routes[0] lets nobody pass: it asks for the credential \"bearer\" or \"password\", and no tokens of providers are \
             accepted: no provider has `bearer`"
        ]
    );
}

#[test]
fn api_tokens_have_the_scopes_of_their_table() {
    let tables = |scope: &str| {
        format!(
            "[session]\nsecret = \"Yq0Zp2sVbN5mK8xR1tW4uC7eF3hJ6lA9\"\nstore = \"redis://cache\"\n{STATE}{}",
            route(&format!("allow = {{ scopes = [\"{scope}\"] }}"))
        )
    };
    assert_eq!(warnings(&tables("read")), [""; 0]);
    assert_eq!(warnings(&tables("write")).len(), 1);
}

#[test]
fn googles_tokens_need_a_way_to_be_read() {
    let google = |bearer: &str| {
        let loaded = loaded(&format!(
            "[providers.google]\nclient_id = \"app\"\nclient_secret = \"s\"\nallow = \"anyone\"\nbearer = {{ {bearer} }}\n"
        ));
        let warnings = loaded.unwrap().warnings;
        warnings.iter().any(|one| one.contains("accepts no token"))
    };
    assert!(google("audience = [\"api\"]"));
    assert!(!google("audience = [\"api\"], accept_id_tokens = true"));
    assert!(!google("introspect = true"));
}
