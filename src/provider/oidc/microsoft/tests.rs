use proptest::prelude::*;
use serde_json::json;

use super::{
    super::tests::{NOW, authorize_parameters, barred, moved, signed_in},
    *,
};
use crate::{
    identity_headers::HeaderSource,
    jose::TestKey,
    provider::{
        catalog,
        scripted::{Answer, Scripted},
    },
};

const OURS: &str = "11111111-aaaa-4bbb-8ccc-222222222222";
const OTHER: &str = "33333333-aaaa-4bbb-8ccc-444444444444";
const OBJECT: &str = "55555555-aaaa-4bbb-8ccc-666666666666";

fn issuer_of(server: &Scripted, tenant: &str) -> String {
    format!("{}/{tenant}/v2.0", server.origin())
}

/// A server with one key that is every tenant's, or the one `key_issuer`'s.
async fn entra(key_issuer: Option<&str>) -> (Scripted, TestKey) {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    let mut metadata = server.metadata();
    metadata["issuer"] = issuer_of(&server, PLACEHOLDER).into();
    metadata["authorization_response_iss_parameter_supported"] = false.into();
    server.answer(
        "/common/v2.0/.well-known/openid-configuration",
        Answer::json(&metadata.to_string()),
    );
    let mut jwk = key.jwk();
    jwk["issuer"] = issuer_of(&server, key_issuer.unwrap_or(PLACEHOLDER)).into();
    server.answer("/keys", Answer::json(&json!({ "keys": [jwk] }).to_string()));
    (server, key)
}

fn token(server: &Scripted, key: &TestKey, tenant: &str, more: &Value) -> String {
    let mut claims = json!({
        "iss": issuer_of(server, tenant), "tid": tenant, "oid": OBJECT, "sub": "pairwise", "aud": "us",
        "nonce": "n", "exp": NOW + 3600, "iat": NOW, "preferred_username": "jane@corp.example",
    });
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    key.sign(&claims)
}

#[tokio::test]
async fn tenants_are_told_by_tid() {
    let (server, key) = entra(None).await;
    let config = moved(
        &catalog::MICROSOFT,
        &server,
        &[("tenants", &[&OURS.to_uppercase()])],
    );
    let nothing = json!({});
    let ours = token(&server, &key, OURS, &nothing);
    assert_eq!(barred(&config, &server, &ours).await, None);
    let identity = signed_in(&config, &[], &server, &ours).await.unwrap();
    assert_eq!(identity.subject.as_str(), format!("{OURS}.{OBJECT}"));
    let other = token(&server, &key, OTHER, &nothing);
    assert_eq!(
        barred(&config, &server, &other).await.as_deref(),
        Some("tenants")
    );
}

#[tokio::test]
async fn one_tenants_token_does_not_speak_of_another() {
    let (server, key) = entra(None).await;
    let config = moved(&catalog::MICROSOFT, &server, &[("tenants", &[OURS])]);
    for wrong in [
        json!({ "tid": OURS }),
        json!({ "tid": null }),
        json!({ "tid": "{tenantid}" }),
        json!({ "iss": issuer_of(&server, PLACEHOLDER), "tid": "{tenantid}" }),
        json!({ "iss": issuer_of(&server, "common") }),
        json!({ "iss": format!("https://evil.example/{OTHER}/v2.0") }),
        json!({ "iss": format!("{}/x/{OTHER}/v2.0", server.origin()) }),
    ] {
        let token = token(&server, &key, OTHER, &wrong);
        match signed_in(&config, &[], &server, &token).await {
            Err(error) => assert_eq!(error, JwtError::Issuer.into(), "{wrong}"),
            // The placeholder itself signs nothing, but were it to, it is of no tenant.
            Ok(identity) => assert!(identity.memberships.is_empty(), "{wrong}"),
        }
    }
}

#[tokio::test]
async fn a_key_of_one_tenant_does_not_sign_for_another() {
    let (server, key) = entra(Some(OTHER)).await;
    let config = moved(&catalog::MICROSOFT, &server, &[("tenants", &[OURS, OTHER])]);
    let other = token(&server, &key, OTHER, &json!({}));
    assert_eq!(barred(&config, &server, &other).await, None);
    let ours = token(&server, &key, OURS, &json!({}));
    let error = signed_in(&config, &[], &server, &ours).await.unwrap_err();
    assert_eq!(error, JwtError::UnknownKey.into());
}

#[tokio::test]
async fn an_address_counts_where_its_domains_owner_is_verified() {
    let (server, key) = entra(None).await;
    // Userinfo's word on the address is none.
    let userinfo =
        json!({ "sub": "pairwise", "email": "jane@corp.example", "email_verified": true });
    server.answer("/userinfo", Answer::json(&userinfo.to_string()));
    let jane: &[(&str, &[&str])] = &[("emails", &["jane@corp.example"]), ("tenants", &[OURS])];
    let config = moved(&catalog::MICROSOFT, &server, jane);
    for (good, claims) in [
        (
            true,
            json!({ "email": "jane@corp.example", "xms_edov": true }),
        ),
        (true, json!({ "email": "jane@corp.example", "xms_edov": 1 })),
        (
            true,
            json!({ "email": "jane@corp.example", "xms_edov": "1" }),
        ),
        (false, json!({ "email": "jane@corp.example" })),
        (
            false,
            json!({ "email": "jane@corp.example", "email_verified": true }),
        ),
        (
            false,
            json!({ "email": "jane@corp.example", "xms_edov": false }),
        ),
        (
            false,
            json!({ "email": "jane@corp.example", "xms_edov": "0" }),
        ),
        (
            false,
            json!({ "email": "jane@corp.example", "xms_edov": 2 }),
        ),
        (
            false,
            json!({ "upn": "jane@corp.example", "xms_edov": true }),
        ),
    ] {
        let token = token(&server, &key, OURS, &claims);
        let barred = barred(&config, &server, &token).await;
        let expected = (!good).then_some("emails");
        assert_eq!(barred.as_deref(), expected, "{claims}");
    }
}

#[tokio::test]
async fn too_many_groups_are_not_no_groups() {
    let (server, key) = entra(None).await;
    let config = moved(
        &catalog::MICROSOFT,
        &server,
        &[("groups", &[OBJECT]), ("tenants", &[OURS])],
    );
    let member = token(&server, &key, OURS, &json!({ "groups": [OTHER, OBJECT] }));
    assert_eq!(barred(&config, &server, &member).await, None);
    for groups in [json!({ "groups": [OTHER] }), json!({})] {
        let token = token(&server, &key, OURS, &groups);
        assert_eq!(
            barred(&config, &server, &token).await.as_deref(),
            Some("groups")
        );
    }
    let overage = json!({
        "_claim_names": { "groups": "src1" },
        "_claim_sources": { "src1": { "endpoint": "https://graph.windows.net/x" } },
    });
    for overage in [overage, json!({ "hasgroups": true })] {
        let token = token(&server, &key, OURS, &overage);
        let error = signed_in(&config, &[], &server, &token).await.unwrap_err();
        assert!(error.to_string().contains("groups overage"), "{error}");
        // Where no list asks for groups, nobody is kept out.
        let config = moved(&catalog::MICROSOFT, &server, &[("tenants", &[OURS])]);
        let headers = [HeaderSource::Groups];
        assert!(signed_in(&config, &headers, &server, &token).await.is_ok());
    }
}

#[tokio::test]
async fn without_an_object_the_subject_is_sub() {
    let (server, key) = entra(None).await;
    let config = moved(&catalog::MICROSOFT, &server, &[("tenants", &[OURS])]);
    let token = token(
        &server,
        &key,
        OURS,
        &json!({ "oid": null, "tid.oid": "forged" }),
    );
    let identity = signed_in(&config, &[], &server, &token).await.unwrap();
    assert_eq!(identity.subject.as_str(), "pairwise");
    assert_eq!(
        authorize_parameters(&config, true).await["prompt"],
        "select_account"
    );
}

#[test]
fn documents_of_other_issuers_are_refused() {
    let at = |tenant: &str| format!("https://login.example.com/{tenant}/v2.0");
    for (configured, published) in [
        ("common", PLACEHOLDER),
        ("organizations", PLACEHOLDER),
        ("consumers", CONSUMERS),
        ("corp.example", OURS),
        (OURS, OURS),
    ] {
        assert!(
            publishes(&at(configured), &at(published)),
            "{configured} {published}"
        );
    }
    for (configured, published) in [
        ("common", OURS),
        ("consumers", OURS),
        ("corp.example", PLACEHOLDER),
        (OURS, PLACEHOLDER),
        (OURS, OTHER),
        ("evil", OURS),
    ] {
        assert!(
            !publishes(&at(configured), &at(published)),
            "{configured} {published}"
        );
    }
    let evil = format!("https://evil.example/{PLACEHOLDER}/v2.0");
    assert!(!publishes(&at("common"), &evil));
    assert!(!publishes(
        "https://id.example.com",
        "https://id.example.com/"
    ));
}

#[test]
fn an_open_issuer_needs_tenants() {
    let objects = |issuer: &str, allow: Allow| {
        let config = ProviderSettings {
            allow,
            ..ProviderSettings::for_test("microsoft", issuer)
        };
        !check(&config).is_empty()
    };
    let emails = || Allow::for_test(&[("emails", &["a@x.example"])]);
    let tenants = || Allow::for_test(&[("emails", &["a@x.example"]), ("tenants", &[OURS])]);
    for open in ["common", "organizations", "consumers", PLACEHOLDER] {
        let issuer = format!("https://login.microsoftonline.com/{open}/v2.0");
        assert!(objects(&issuer, emails()), "{open}");
        assert!(!objects(&issuer, tenants()), "{open}");
        assert!(!objects(&issuer, Allow::Anyone), "{open}");
    }
    for own in [OURS, "corp.example"] {
        let issuer = format!("https://login.microsoftonline.com/{own}/v2.0");
        assert!(!objects(&issuer, emails()), "{own}");
    }
    let by_name = Allow::for_test(&[("tenants", &["corp.example"])]);
    assert!(objects(
        "https://login.microsoftonline.com/common/v2.0",
        by_name
    ));
}

proptest! {
    #[test]
    fn only_a_tenant_stands_for_the_placeholder(tenant in "[-0-9a-f/.]{0,40}") {
        let published = format!("https://login.example.com/{PLACEHOLDER}/v2.0");
        let iss = format!("https://login.example.com/{tenant}/v2.0");
        prop_assert_eq!(issues(&published, &iss), is_guid(&tenant));
    }
}
