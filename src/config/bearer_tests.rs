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
    for (lines, told) in [
        ("bearer = {}", "does not say for whom"),
        ("bearer = { audience = [] }", "does not say for whom"),
        ("bearer = { clients = [\"cli\"] }", "does not say for whom"),
        (
            "bearer = { audience = [\"account\"] }",
            "nearly every token",
        ),
        (
            "bearer = { audience = [\"api\"], algorithms = [\"HS256\"] }",
            "no token is believed",
        ),
        (
            "bearer = { audience = [\"api\"], algorithms = [\"none\"] }",
            "no token is believed",
        ),
        (
            "bearer = { audience = [\"api\"], token_cache = \"2h\" }",
            "at most 1h",
        ),
        ("bearer = { audience = [\"api\"], aud = \"x\" }", "aud"),
        (
            "bearer = { introspect = true, audience = [\"api\"] }",
            "no provider is asked",
        ),
        ("login = false", "no token of its counts"),
        ("kubernetes = true", "none counts"),
    ] {
        let report = with(lines).map(|_| ()).unwrap_err();
        assert!(report.contains(told), "{lines}: {report}");
    }
    let github =
        "[providers.github]\nclient_id = \"a\"\nclient_secret = \"b\"\nallow = \"anyone\"\n";
    let report = loaded(&format!("{github}bearer = {{ audience = [\"a\"] }}"));
    assert!(report.map(|_| ()).unwrap_err().contains("not read"));
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
    for (allow, told) in [
        ("{ scopes = [] }", "empty list"),
        ("{ credentials = [], groups = [\"a\"] }", "empty list"),
        ("{ scopes = [\"a b\"] }", "no scope"),
        ("{ scopes = [\"\"] }", "scopes"),
        ("{ credentials = [\"cookie\"] }", "no credential"),
    ] {
        let report = with(allow).map(|_| ()).unwrap_err();
        assert!(report.contains(told), "{allow}: {report}");
    }
}
