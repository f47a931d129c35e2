//! The accents of those who speak OpenID Connect, and lists that are refused because nobody can be on them.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::{assert_turned_away, cases, house, sign_in};
use crate::support::{
    house::sidegate,
    servers::{
        SECRET,
        openid::{GROUPS, TENANT, groups},
    },
};

#[tokio::test]
async fn a_token_of_another_tenant_is_no_token() {
    let case = cases::microsoft().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let provider = case.backend.openid();
    let root = provider.issuer();
    let good = provider_iss(&root, TENANT);
    for (iss, tid) in [
        (
            provider_iss(&root, "9188040d-6c67-4c5b-b112-36a304b66dad"),
            None,
        ),
        (provider_iss(&root, "organizations"), None),
        (
            provider_iss(&root, "x/../organizations"),
            Some(json!("x/../organizations")),
        ),
        (
            good.clone(),
            Some(json!("9188040d-6c67-4c5b-b112-36a304b66dad")),
        ),
        (good.clone(), Some(Value::Null)),
        (good.clone(), Some(json!(7))),
        // What the document says is no issuer, but the place of one.
        (provider_iss(&root, "{tenantid}"), None),
        (provider_iss(&root, "{tenantid}"), Some(json!("{tenantid}"))),
    ] {
        let mut overlay = json!({ "iss": iss });
        if let Some(tid) = &tid {
            overlay["tid"] = tid.clone();
        }
        let what = format!("{overlay}");
        provider.set(|behaviour| behaviour.id_token = overlay);
        assert_turned_away(&sign_in(&house).await, &upstream, &what);
    }
    provider.set(|behaviour| behaviour.id_token = json!({ "iss": good }));
    sign_in(&house).await.seen();
}

fn provider_iss(root: &str, tenant: &str) -> String {
    format!("{root}/{tenant}/v2.0")
}

#[tokio::test]
async fn groups_that_do_not_fit_are_not_had() {
    let case = cases::microsoft().await;
    let allow = case.allow("groups", "[\"6d4f0b9e-1f2c-4a77-8f7e-0a4f2d6c9b01\"]");
    let (house, upstream) = house(&case, &allow, "").await;
    let provider = case.backend.openid();
    provider.user("groups", Value::Null);
    provider.user("_claim_names", json!({ "groups": "src1" }));
    let endpoint = format!("{}/graph.windows.net", provider.issuer());
    provider.user(
        "_claim_sources",
        json!({ "src1": { "endpoint": endpoint } }),
    );
    assert_turned_away(&sign_in(&house).await, &upstream, "group overage");
    assert!(
        provider.calls("/graph.windows.net").is_empty(),
        "nobody follows it"
    );
    let line = house.access_line("/oauth2/callback/one").await.to_string();
    assert!(line.contains("groups"), "{line}");
}

#[tokio::test]
async fn a_hosted_domain_is_a_claim_and_not_the_end_of_an_address() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "{ hosted_domains = [\"example.com\"] }", "").await;
    let provider = case.backend.openid();
    for domain in [
        Value::Null,
        json!("example.org"),
        json!("sub.example.com"),
        json!(""),
        json!(["example.com"]),
        json!(true),
    ] {
        provider.user("hd", domain.clone());
        assert_turned_away(&sign_in(&house).await, &upstream, &format!("hd {domain}"));
    }
    provider.user("hd", json!("example.com"));
    sign_in(&house).await.seen();
}

#[tokio::test]
async fn another_issuer_is_not_google() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let provider = case.backend.openid();
    for issuer in [
        "https://accounts.google.com.evil.example".to_owned(),
        "accounts.google.com".to_owned(),
        provider.address.to_string(),
        format!("{}/", provider.issuer()),
    ] {
        provider.set(|behaviour| behaviour.id_token = json!({ "iss": issuer }));
        assert_turned_away(&sign_in(&house).await, &upstream, &issuer);
    }
}

#[tokio::test]
async fn googles_groups_are_asked_for_in_the_persons_name() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "{ groups = [\"eng@example.com\"] }", "").await;
    let provider = case.backend.openid();
    sign_in(&house).await.seen();
    let scope = provider.calls("/authorize")[0].fields["scope"].clone();
    assert!(scope.contains("cloud-identity.groups.readonly"), "{scope}");
    let call = &provider.calls(GROUPS)[0];
    assert!(call.fields["query"].contains("member_key_id == 'ada@example.com'"));
    // Whoever has no domain, or an address that would end the quotes, has no groups.
    let before = upstream.count();
    for (claim, value) in [
        ("hd", Value::Null),
        ("email", json!("ada'||true||'@example.com")),
        ("email_verified", json!(false)),
    ] {
        let asked = provider.calls(GROUPS).len();
        let good = {
            let mut good = Value::Null;
            provider.set(|behaviour| good = behaviour.user[claim].clone());
            good
        };
        provider.user(claim, value);
        let status = sign_in(&house).await.status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{claim}");
        assert_eq!(
            provider.calls(GROUPS).len(),
            asked,
            "{claim}: nobody is asked for"
        );
        provider.user(claim, good);
    }
    // Pages without end, and an edition that has none.
    let asked = provider.calls(GROUPS).len();
    let mut page = groups(&["all@example.com"]);
    page["nextPageToken"] = json!("again");
    provider.set(|behaviour| drop(behaviour.pages.insert(GROUPS.to_owned(), page)));
    let begin = Instant::now();
    assert_ne!(sign_in(&house).await.status, StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert!(provider.calls(GROUPS).len() - asked <= 100);
    provider.set(|behaviour| behaviour.pages.clear());
    assert_ne!(sign_in(&house).await.status, StatusCode::OK);
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn a_list_on_which_nobody_can_be_is_refused_beforehand() {
    for (case, allow, word) in [
        (
            cases::facebook().await,
            "{ emails = [\"ada@example.com\"] }",
            "emails",
        ),
        (
            cases::facebook().await,
            "{ domains = [\"example.com\"] }",
            "domains",
        ),
        (cases::google().await, "{ users = [\"ada\"] }", "users"),
        (cases::google().await, "{ orgs = [\"acme\"] }", "orgs"),
        // Whoever makes a tenant of their own writes its addresses.
        (
            cases::microsoft().await,
            "{ emails = [\"ada@example.com\"] }",
            "tenants",
        ),
        (cases::github().await, "{ orgs = [] }", "orgs"),
        (cases::discord().await, "{}", "allow"),
    ] {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = format!(
            "upstream = \"http://127.0.0.1:9\"\npublic_url = \"http://127.0.0.1:8\"\n\
             [providers.one]\n{}",
            case.table("one", allow)
        );
        std::fs::write(file.path(), text).expect("the configuration is written");
        let check = sidegate().args(["check", "-c"]).arg(file.path()).output();
        let check = check.expect("the binary runs");
        let said = [check.stderr, check.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!check.status.success(), "{} {allow}: {said}", case.kind);
        assert!(said.contains(word), "{} {allow}: {said}", case.kind);
        assert!(!said.contains(SECRET), "{said}");
    }
}
