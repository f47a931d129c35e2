//! What a provider says of somebody reaches the app whole, or the app is told how much is missing; and who may not pass
//! can be told why.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{House, Reply, arranged, standard_with};

/// So many groups, named by ids as directories name them.
fn ids(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:08x}-0000-4000-8000-000000000000"))
        .collect()
}

fn count(value: Option<&str>) -> usize {
    value.map_or(0, |groups| groups.split(',').count())
}

fn missing(value: Option<&str>) -> usize {
    value.map_or(0, |number| number.parse().expect("a number"))
}

#[tokio::test]
async fn of_250_groups_none_is_lost_without_a_word() {
    for (store, further, all) in [
        ("cookie", "", false),
        ("memory", "", false),
        ("memory", "[headers]\nmax_bytes = 16384", true),
    ] {
        let mut groups = ids(250);
        groups.push("staff".to_owned());
        let (house, _upstream, provider) = standard_with(|plan| {
            plan.session(&format!("store = \"{store}\""))
                .allow("{ groups = [\"staff\"] }")
                .tables(further)
        })
        .await;
        provider.user("groups", json!(groups));
        let browser = house.browser();
        browser.sign_in("/").await;
        let reply = browser.navigate("/");
        let reply = reply.header("X_User-Groups.Missing", "9").send().await;
        let seen = reply.seen();
        let told = seen.header("x-user-groups").expect("groups");
        let left_out = missing(seen.header("x-user-groups-missing"));
        assert_eq!(count(Some(told)) + left_out, 251, "{store} {further}");
        assert_eq!(left_out == 0, all, "{store} {further}: {left_out}");
        assert!(told.split(',').any(|group| group == "staff"), "{store}");
        assert!(told.len() <= 16_384);
        assert!(all || told.len() <= 8_192, "{store}: {} bytes", told.len());
        assert!(
            !format!("{:?}", seen.headers).contains("\"9\""),
            "{store}: a client's own word: {:?}",
            seen.headers
        );
        let log = house.process.log();
        let lines = log.lines().filter(|line| line.contains("X-User-Groups: "));
        assert_eq!(lines.count(), usize::from(!all), "{store}: {log}");
    }
}

#[tokio::test]
async fn three_hundred_ids_and_seventy_names_of_a_directory_log_in() {
    let names: Vec<String> = (0..70)
        .map(|number| format!("CN=group-{number:03},{}", "OU=department,".repeat(13)))
        .collect();
    for groups in [ids(300), names] {
        let (house, _upstream, provider) =
            standard_with(|plan| plan.session("store = \"memory\"")).await;
        provider.user("groups", json!(groups));
        let browser = house.browser();
        let seen = browser.sign_in("/").await.seen();
        let left_out = missing(seen.header("x-user-groups-missing"));
        let told = count(seen.header("x-user-groups"));
        assert_eq!(told + left_out, groups.len());
        // In the session nothing is cut.
        let userinfo = browser.bare(Method::GET, "/oauth2/userinfo").send().await;
        assert_eq!(userinfo.json()["groups"], json!(groups));
    }
}

#[tokio::test]
async fn a_long_claim_is_sent_or_told_of() {
    for store in ["cookie", "memory"] {
        for (length, fits) in [(4_000, true), (8_193, false)] {
            let (house, _upstream, provider) = standard_with(|plan| {
                plan.session(&format!("store = \"{store}\""))
                    .tables("[headers]\nset = { X-Long = \"claims.long\" }")
            })
            .await;
            provider.user("long", json!("x".repeat(length)));
            let seen = house.browser().sign_in("/").await.seen();
            let sent = seen.header("x-long").map(str::len);
            assert_eq!(sent, fits.then_some(length), "{store} {length}");
            let told = seen.header("x-long-missing");
            assert_eq!(told, (!fits).then_some("1"), "{store} {length}");
        }
    }
}

#[tokio::test]
async fn a_token_in_authorization_is_a_bearer_token() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.tables("[headers]\nset = { Authorization = \"id_token\", X-Raw = \"id_token\" }")
    })
    .await;
    let seen = house.browser().sign_in("/").await.seen();
    let raw = seen.header("x-raw").expect("a token");
    let sent = seen.header("authorization");
    assert_eq!(sent, Some(&*format!("Bearer {raw}")));
}

#[tokio::test]
async fn a_token_answer_without_a_type_is_taken() {
    let behave = |behaviour: &mut crate::support::behaviour::Behaviour| {
        behaviour.token_type = Value::Null;
        behaviour.expires_in = json!(0);
    };
    let (house, _upstream, provider) = arranged(behave, |plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await.seen();
    browser.get("/").await.seen();
    assert_eq!(
        provider.renewals(),
        0,
        "the token's life is not known, and not over"
    );
}

#[tokio::test]
async fn userinfo_that_refuses_is_no_outage() {
    for status in [401, 403, 404] {
        for renews_id_token in [true, false] {
            let (house, _upstream, provider) = arranged(
                |behaviour| {
                    behaviour.userinfo_refuses = Some(status);
                    behaviour.id_token = json!({ "groups": null, "preferred_username": null });
                    behaviour.renews_id_token = renews_id_token;
                    behaviour.expires_in = json!(2);
                },
                |plan| plan,
            )
            .await;
            // Without a name for people: what the ID token says is enough.
            let browser = house.browser();
            let seen = browser.sign_in("/").await.seen();
            assert_eq!(seen.header("x-user"), Some("ada@example.com"), "{status}");
            tokio::time::sleep(crate::renewal::OVER).await;
            let seen = browser.get("/").await.seen();
            assert_eq!(seen.header("x-user"), Some("ada@example.com"), "{status}");
            assert!(provider.renewals() > 0);
            let log = house.process.log();
            assert_eq!(log.matches("userinfo refuses").count(), 1, "{log}");
            assert!(!log.contains("has not said for which user"), "{log}");
        }
    }
}

#[tokio::test]
async fn userinfo_that_is_switched_off_is_not_asked() {
    let (house, _upstream, provider) = arranged(
        |behaviour| {
            behaviour.userinfo_is_down = true;
            behaviour.claims_in_id_token = false;
        },
        |plan| plan.provider_line("userinfo = false"),
    )
    .await;
    let seen = house.browser().sign_in("/").await.seen();
    assert_eq!(seen.header("x-user"), Some("ada-1815"));
    assert!(provider.calls("/userinfo").is_empty());
}

#[tokio::test]
async fn a_claim_that_the_operator_names_is_asked_for_whatever_is_published() {
    let (house, _upstream, _provider) = arranged(
        |behaviour| {
            behaviour.claims_supported =
                json!(["sub", "preferred_username", "email", "email_verified"]);
            behaviour.userinfo = json!({ "employee_id": "e-1815" });
        },
        |plan| plan.provider_line("claims = { user = \"employee_id\" }"),
    )
    .await;
    let seen = house.browser().sign_in("/").await.seen();
    assert_eq!(seen.header("x-user"), Some("e-1815"));
}

/// A login that the list refuses: the page, and the log's line.
async fn refused(allow: &str, user: &[(&str, Value)]) -> (Reply, Value) {
    let (house, upstream, provider) = standard_with(|plan| plan.allow(allow)).await;
    for (claim, value) in user {
        provider.user(claim, value.clone());
    }
    let reply = house.browser().follow("/").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
    assert_eq!(upstream.count(), 0);
    let line = house.access_line("/oauth2/callback/script").await;
    (reply, line)
}

#[tokio::test]
async fn a_denial_says_what_the_claim_held_or_that_it_was_absent() {
    let groups = "{ groups = [\"admins\"] }";
    let (page, line) = refused(groups, &[]).await;
    assert!(line.to_string().contains("holds 1: engineers"), "{line}");
    assert!(page.text().contains("engineers"), "{}", page.text());
    assert!(!page.text().contains("admins"), "never the rule");
    let (_, line) = refused(groups, &[("groups", Value::Null)]).await;
    assert!(line.to_string().contains("is absent"), "{line}");
    let many: Vec<String> = (0..300).map(|number| format!("g-{number}")).collect();
    let (_, line) = refused(groups, &[("groups", json!(many))]).await;
    let text = line.to_string();
    assert!(text.contains("holds 300, the first 20: g-0, g-1"), "{text}");
    assert!(!text.contains("g-20"), "{text}");
    let nested = "{ claims = { \"realm_access.roles\" = [\"staff\"] } }";
    let (_, line) = refused(nested, &[]).await;
    assert!(line.to_string().contains("realm_access.roles"), "{line}");
    assert!(line.to_string().contains("is absent"), "{line}");
    let unverified = [("email_verified", json!(false))];
    let (_, line) = refused("{ domains = [\"example.com\"] }", &unverified).await;
    assert!(line.to_string().contains("does not vouch"), "{line}");
}

#[tokio::test]
async fn who_is_kept_out_by_a_stricter_list_can_read_what_they_have() {
    let upstream = crate::support::Upstream::start().await;
    let provider = crate::support::ScriptedProvider::start().await;
    let plan = || {
        House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .public_url("http://app.test")
    };
    let before = plan().start().await;
    let ada = before.browser();
    ada.sign_in("/").await;
    let after = plan().allow("{ groups = [\"admins\"] }").start().await;
    let ada = ada.moved_to(&after);
    let account = ada.fetch(Method::GET, "/oauth2/account").send().await;
    assert_eq!(account.status, StatusCode::FORBIDDEN);
    assert_eq!(
        account.json()["held"],
        json!({ "absent": false, "count": 1, "names": ["engineers"] })
    );
}

/// A route of whom a rule asks to be in this group.
fn only(group: &str) -> String {
    format!("[[routes]]\npath = \"/staff/**\"\nallow = {{ groups = [\"{group}\"] }}")
}

#[tokio::test]
async fn a_rule_that_is_newer_than_a_session_says_to_sign_in_again() {
    let upstream = crate::support::Upstream::start().await;
    let provider = crate::support::ScriptedProvider::start().await;
    let mut groups = ids(300);
    groups.push("staff".to_owned());
    provider.user("groups", json!(groups));
    let plan = || {
        House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .public_url("http://app.test")
    };
    let before = plan().start().await;
    let ada = before.browser();
    ada.sign_in("/").await;
    let after = plan().tables(&only("staff")).start().await;
    let ada = ada.moved_to(&after);
    let refused = ada.navigate("/staff/").send().await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let page = refused.text();
    assert!(page.contains("no room for 131 of them"), "{page}");
    assert!(page.contains("Sign in again"), "{page}");
    let line = after.access_line("/staff/").await;
    let detail = line["detail"].as_str().expect("a detail");
    assert!(detail.contains("they have 301, the first 20"), "{detail}");
    assert!(
        detail.contains("the session had no room for 131"),
        "{detail}"
    );
    let held = ada.fetch(Method::GET, "/staff/").send().await.json();
    assert_eq!(held["held"]["omitted"], json!(131), "{held}");
    // A session that was made by the rule holds the group.
    let again = after.browser();
    again.sign_in("/staff/").await.seen();
}

#[tokio::test]
async fn groups_that_a_provider_withholds_are_no_groups_that_are_not_there() {
    for (withheld, rule) in [
        (json!({ "_claim_names": { "groups": "src1" } }), true),
        (json!({ "hasgroups": true }), true),
        (json!({ "hasgroups": true }), false),
    ] {
        let (house, _upstream, _provider) = arranged(
            |behaviour| {
                behaviour.user["groups"] = Value::Null;
                behaviour.id_token = withheld.clone();
                behaviour.userinfo = json!({ "groups": null });
            },
            |plan| {
                if rule {
                    plan.tables(&only("staff"))
                } else {
                    plan
                }
            },
        )
        .await;
        let ada = house.browser();
        let seen = ada.sign_in("/").await.seen();
        assert_eq!(seen.header("x-user-groups"), None);
        assert_eq!(seen.header("x-user-groups-missing"), Some("1"));
        ada.get("/later").await.seen();
        house.access_line("/later").await;
        let log = house.process.log();
        assert_eq!(log.matches("groups overage").count(), 1, "{log}");
        if !rule {
            continue;
        }
        let refused = ada.navigate("/staff/").send().await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let page = refused.text();
        assert!(page.contains("because they are too many"), "{page}");
        assert!(!page.contains("named none"), "{page}");
        let line = house.access_line("/staff/").await.to_string();
        assert!(
            line.contains("withholds the claim") && line.contains("send fewer"),
            "{line}"
        );
        let account = ada.fetch(Method::GET, "/oauth2/account").send().await;
        let looked =
            json!({ "list": "groups", "claim": "groups", "absent": true, "withheld": true });
        let lists = &account.json()["lists"][0];
        for (key, value) in looked.as_object().expect("an object") {
            assert_eq!(lists[key], *value, "{lists}");
        }
    }
}

/// The same where the provider's own list asks for them: there is no login.
#[tokio::test]
async fn what_a_provider_withholds_from_its_own_list_is_told() {
    for (list, withheld, words, remedy) in [
        (
            "groups = [\"staff\"]",
            json!({ "hasgroups": true }),
            "because they are too many",
            "send fewer groups",
        ),
        (
            "claims = { dept = [\"eng\"] }",
            json!({ "_claim_names": { "dept": "src1" } }),
            "keeps that elsewhere",
            "send the claim itself",
        ),
    ] {
        let (house, upstream, _provider) = arranged(
            |behaviour| {
                behaviour.user["groups"] = Value::Null;
                behaviour.id_token = withheld;
                behaviour.userinfo = json!({ "groups": null });
            },
            |plan| plan.allow(&format!("{{ {list} }}")),
        )
        .await;
        let reply = house.browser().follow("/").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
        assert!(reply.text().contains(words), "{}", reply.text());
        assert_eq!(upstream.count(), 0);
        let line = house
            .access_line("/oauth2/callback/script")
            .await
            .to_string();
        assert!(line.contains(remedy), "{line}");
        assert!(line.contains("withholds the claim"), "{line}");
    }
}

#[tokio::test]
async fn a_routes_denial_tells_a_claim_that_is_absent_from_one_that_is_empty() {
    for (groups, said, absent) in [
        (Value::Null, "the claim \"groups\" is absent", true),
        (json!([]), "the claim \"groups\" holds nothing", false),
    ] {
        let (house, _upstream, provider) = standard_with(|plan| plan.tables(&only("staff"))).await;
        provider.user("groups", groups);
        let ada = house.browser();
        ada.sign_in("/").await;
        assert_eq!(
            ada.navigate("/staff/").send().await.status,
            StatusCode::FORBIDDEN
        );
        let line = house.access_line("/staff/").await;
        let detail = line["detail"].as_str().expect("a detail");
        assert!(detail.contains(said), "{detail}");
        let account = ada.fetch(Method::GET, "/oauth2/account").send().await;
        assert_eq!(
            account.json()["lists"],
            json!([{ "list": "groups", "claim": "groups", "absent": absent, "count": 0, "names": [] }])
        );
    }
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_keeps_nobody_out() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, provider) = standard_with(|plan| {
            plan.session(&format!("store = \"{store}\""))
                .tables("[headers]\nset = { X-Id = \"id_token\" }")
        })
        .await;
        provider.user("groups", json!(ids(300)));
        let ada = house.browser();
        for reply in [ada.sign_in("/").await, ada.get("/later").await] {
            let seen = reply.seen();
            assert_eq!(seen.header("x-id"), None, "{store}");
            assert_eq!(seen.header("x-id-missing"), Some("1"), "{store}");
        }
        house.access_line("/later").await;
        let log = house.process.log();
        assert_eq!(log.matches("X-Id: 1").count(), 1, "{store}: {log}");
    }
}

#[tokio::test]
async fn groups_that_begin_to_be_missing_at_a_refresh_are_told_of_once() {
    let (house, _upstream, provider) =
        arranged(|behaviour| behaviour.expires_in = json!(2), |plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    provider.user("groups", json!(ids(300)));
    for renewals in 1..=2 {
        let is_renewed = async {
            while provider.renewals() < renewals {
                ada.get("/").await.seen();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let deadline = Duration::from_secs(30);
        tokio::time::timeout(deadline, is_renewed)
            .await
            .expect("a refresh");
        let seen = ada.get("/").await.seen();
        assert_eq!(missing(seen.header("x-user-groups-missing")), 130);
    }
    ada.get("/later").await.seen();
    house.access_line("/later").await;
    let log = house.process.log();
    assert_eq!(log.matches("X-User-Groups: 130").count(), 1, "{log}");
}

#[tokio::test]
async fn groups_that_are_no_names_are_no_groups_that_did_not_fit() {
    for (groups, held, said) in [
        (
            json!([{ "id": 1, "name": "staff" }]),
            "the claim \"groups\" holds nothing",
            "named none for you",
        ),
        (
            json!(["dev", { "id": 1, "name": "staff" }]),
            "they have 1: dev",
            "named dev.",
        ),
    ] {
        let (house, _upstream, provider) =
            standard_with(|plan| plan.session("store = \"memory\"").tables(&only("staff"))).await;
        provider.user("groups", groups);
        let ada = house.browser();
        let seen = ada.sign_in("/").await.seen();
        assert_eq!(missing(seen.header("x-user-groups-missing")), 1);
        let refused = ada.navigate("/staff/").send().await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let page = refused.text();
        assert!(page.contains(said), "{page}");
        assert!(page.contains("1 cannot be read as names"), "{page}");
        assert!(!page.contains("no room"), "{page}");
        assert!(!page.contains("Sign in again"), "{page}");
        let line = house.access_line("/staff/").await;
        let detail = line["detail"].as_str().expect("a detail");
        assert!(detail.contains(held), "{detail}");
        assert!(detail.contains("1 that are no names"), "{detail}");
        let account = ada.fetch(Method::GET, "/oauth2/account").send().await;
        let looked = &account.json()["lists"][0];
        assert_eq!(looked["unusable"], 1, "{looked}");
        assert_eq!(looked["omitted"], Value::Null, "{looked}");
        let log = house.process.log();
        assert_eq!(log.matches("have it send names").count(), 1, "{log}");
    }
}

const BY_ROLE: &str = "claims = { groups = \"realm_access.roles\" }";
const FROM_ACCESS_TOKEN: &str = "claims_from = [\"id_token\", \"userinfo\", \"access_token\"]";

/// A default Keycloak: roles stand in the access token alone.
async fn keycloak(lines: &[&str], access_token: Value) -> (House, Reply) {
    let lines = lines.to_vec();
    let (house, upstream, _provider) = arranged(
        |behaviour| behaviour.access_token = access_token,
        |plan| {
            let plan = plan.allow("{ groups = [\"staff\"] }");
            lines
                .iter()
                .fold(plan, |plan, line| plan.provider_line(line))
        },
    )
    .await;
    let reply = house.browser().follow("/").await;
    if reply.status != StatusCode::OK {
        assert_eq!(upstream.count(), 0);
    }
    (house, reply)
}

#[tokio::test]
async fn roles_come_from_the_access_token_where_the_table_says_so() {
    let staff = || json!({ "realm_access": { "roles": ["staff"] } });
    let (house, denied) = keycloak(&[BY_ROLE], staff()).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let line = house.access_line("/oauth2/callback/script").await;
    assert!(line.to_string().contains("is absent"), "{line}");
    let (_house, passed) = keycloak(&[BY_ROLE, FROM_ACCESS_TOKEN], staff()).await;
    let seen = passed.seen();
    assert_eq!(seen.header("x-user-groups"), Some("staff"));
    assert_eq!(seen.header("x-user"), Some("ada"));
}

#[tokio::test]
async fn an_access_token_that_does_not_hold_says_nothing() {
    for changes in [
        json!({ "azp": "other" }),
        json!({ "azp": null }),
        json!({ "sub": "mallory" }),
        json!({ "sub": null }),
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "iss": "https://other.example" }),
        json!({ "exp": 1 }),
    ] {
        let mut claims = json!({ "realm_access": { "roles": ["staff"] } });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let (_house, refused) = keycloak(&[BY_ROLE, FROM_ACCESS_TOKEN], claims).await;
        assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{changes}");
    }
    // Opaque, as it is by right.
    let (_house, refused) = keycloak(&[BY_ROLE, FROM_ACCESS_TOKEN], Value::Null).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_role_that_is_lost_in_the_access_token_is_felt() {
    for renews_id_token in [true, false] {
        let (house, _upstream, provider) = arranged(
            |behaviour| {
                behaviour.access_token = json!({ "realm_access": { "roles": ["staff"] } });
                behaviour.expires_in = json!(2);
                behaviour.renews_id_token = renews_id_token;
            },
            |plan| {
                plan.allow("{ groups = [\"staff\"] }")
                    .provider_line(BY_ROLE)
                    .provider_line(FROM_ACCESS_TOKEN)
            },
        )
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        tokio::time::sleep(crate::renewal::OVER).await;
        browser.get("/").await.seen();
        provider.set(|behaviour| behaviour.access_token = json!({ "realm_access": null }));
        tokio::time::sleep(crate::renewal::OVER).await;
        let reply = browser.get("/").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{renews_id_token}");
    }
}
