//! `bearer`, `login` and `kubernetes` of a provider's table; `scopes` and `credentials` of a route.

use std::time::Duration;

use super::provider_tests::loaded;
use crate::{credential::Proof, jose::Algorithm, provider::bearer::BearerSettings};

const CORP: &str =
    "[providers.corp]\ntype = \"oidc\"\nissuer = \"https://id.example.com\"\nallow = \"anyone\"\n";
const CLIENT: &str = "client_id = \"gate\"\nclient_secret = \"s\"\n";

fn bearer(lines: &str) -> BearerSettings {
    let loaded = loaded(&format!("{CORP}{CLIENT}{lines}")).unwrap();
    let mut providers = loaded.config.providers.into_iter();
    providers.next().unwrap().bearer.unwrap()
}

#[test]
fn no_token_counts_unless_that_is_said() {
    let loaded = loaded(&format!("{CORP}{CLIENT}")).unwrap();
    let provider = &loaded.config.providers[0];
    assert!(provider.login && provider.bearer.is_none());
}

#[test]
fn all_that_can_be_said() {
    let said = bearer("bearer = { audience = [\"api\"] }");
    assert_eq!(said.audience, ["api"]);
    assert!(said.clients.is_empty() && said.algorithms.is_empty());
    assert!(!said.accept_id_tokens && !said.introspect && !said.kubernetes);
    assert_eq!(said.token_cache, Duration::from_mins(1));
    let said = bearer(
        "bearer = { audience = [\"a\", \"b\"], clients = [\"cli\"], algorithms = [\"ES256\"], accept_id_tokens = true, \
         token_cache = \"5s\" }",
    );
    assert_eq!(said.audience, ["a", "b"]);
    assert_eq!(said.clients, ["cli"]);
    assert_eq!(said.algorithms, [Algorithm::ES256]);
    assert!(said.accept_id_tokens && !said.introspect);
    assert_eq!(said.token_cache, Duration::from_secs(5));
}

#[test]
fn what_does_not_go_together_is_told() {
    let with = |lines: &str| loaded(&format!("{CORP}{CLIENT}{lines}"));
    for (lines, expected) in [
        ("bearer = {}", "does not say for whom"),
        ("bearer = { audience = [] }", "does not say for whom"),
        ("bearer = { clients = [\"cli\"] }", "does not say for whom"),
        (
            "bearer = { audience = [\"account\"] }",
            "nearly every token",
        ),
        (
            "bearer = { audience = [\"api\"], algorithms = [\"HS256\"] }",
            "is not accepted",
        ),
        (
            "bearer = { audience = [\"api\"], algorithms = [\"none\"] }",
            "is not accepted",
        ),
        (
            "bearer = { audience = [\"api\"], token_cache = \"2h\" }",
            "at most 1h",
        ),
        ("bearer = { audience = [\"api\"], aud = \"x\" }", "aud"),
        (
            "kubernetes = true\nbearer = { introspect = true, audience = [\"api\"] }",
            "a cluster signs",
        ),
        (
            "bearer = { introspect = true, token_cache = \"2h\" }",
            "at most 1h",
        ),
        (
            "bearer = { audience = [\"api\"], signed_answers = true }",
            "introspect = true",
        ),
        ("login = false", "none of its tokens is accepted"),
        ("kubernetes = true", "none counts"),
    ] {
        let report = with(lines).map(|_| ()).unwrap_err();
        assert!(report.contains(expected), "{lines}: {report}");
    }
    let github =
        "[providers.github]\nclient_id = \"a\"\nclient_secret = \"b\"\nallow = \"anyone\"\n";
    for (bearer, expected) in [
        ("audience = [\"a\"]", "not read"),
        ("introspect = true, signed_answers = true", "signed_answers"),
    ] {
        let report = loaded(&format!("{github}bearer = {{ {bearer} }}"));
        assert!(
            report.map(|_| ()).unwrap_err().contains(expected),
            "{bearer}"
        );
    }
}

#[test]
fn a_provider_may_be_asked_about_tokens() {
    let said = bearer("bearer = { introspect = true, token_cache = \"10s\" }");
    assert!(said.introspect && said.audience.is_empty() && !said.signed_answers);
    assert!(bearer("bearer = { introspect = true, signed_answers = true }").signed_answers);
    assert_eq!(said.token_cache, Duration::from_secs(10));
    let of = |lines: &str| loaded(&format!("{CORP}{lines}"));
    let asks = "bearer = { introspect = true }";
    let warned = of(&format!("{CLIENT}{asks}")).unwrap().warnings;
    assert!(warned.iter().any(|line| line.contains("any app")));
    let named = "bearer = { introspect = true, clients = [\"cli\"] }";
    let warned = of(&format!("{CLIENT}{named}")).unwrap().warnings;
    assert!(!warned.iter().any(|line| line.contains("any app")));
    let url = "introspection_url = \"https://id.example.com/introspect\"\n";
    let provider = of(&format!("{CLIENT}{url}{asks}"))
        .unwrap()
        .config
        .providers;
    let known = provider[0].endpoint("introspection_url");
    assert_eq!(known, Some("https://id.example.com/introspect"));
    // Who asks is a client, though nobody signs in there; and proves it.
    for (lines, expected) in [
        (format!("login = false\n{asks}"), "client_id"),
        (
            format!("login = false\nclient_id = \"a\"\n{asks}"),
            "introspect needs client_secret",
        ),
    ] {
        let report = of(&lines).map(|_| ()).unwrap_err();
        assert!(report.contains(expected), "{lines}: {report}");
    }
    let plain = "[providers.plain]\ntype = \"oauth2\"\nauthorize_url = \"https://a.example/a\"\n\
                 token_url = \"https://a.example/t\"\nuserinfo_url = \"https://a.example/u\"\n\
                 claims = { subject = \"id\" }\nallow = \"anyone\"\n";
    let report = loaded(&format!("{plain}{CLIENT}{asks}")).map(|_| ());
    assert!(report.unwrap_err().contains("introspection_url"));
}

#[test]
fn an_issuer_of_tokens_alone_needs_no_client() {
    let alone = "login = false\nbearer = { audience = [\"api\"] }";
    let loaded = loaded(&format!("{CORP}{alone}")).unwrap();
    assert!(!loaded.config.providers[0].login);
}

#[test]
fn a_route_asks_for_scopes_and_credentials() {
    let with = |allow: &str| {
        let route = format!("[[routes]]\npath = \"/x\"\nallow = {allow}\n");
        loaded(&format!("{CORP}{CLIENT}{route}"))
    };
    let allow = "{ scopes = [\"read\", \"https://x/y\"], credentials = [\"session\", \"bearer\"] }";
    let loaded = with(allow).unwrap();
    let all = &loaded.config.routes[0].requirements.all;
    assert_eq!(all.scopes, ["read", "https://x/y"]);
    assert_eq!(all.credentials, [Proof::Session, Proof::Bearer]);
    for (allow, expected) in [
        ("{ scopes = [] }", "empty list"),
        ("{ credentials = [], groups = [\"a\"] }", "empty list"),
        ("{ scopes = [\"a b\"] }", "no scope"),
        ("{ scopes = [\"\"] }", "scopes"),
        ("{ credentials = [\"cookie\"] }", "no credential"),
    ] {
        let report = with(allow).map(|_| ()).unwrap_err();
        assert!(report.contains(expected), "{allow}: {report}");
    }
}
