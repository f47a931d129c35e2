//! How much a provider may say, and with which keys it may sign.

use http::StatusCode;
use serde_json::json;

use crate::support::{
    House, Upstream, arranged,
    behaviour::Behaviour,
    keys::{self, Signing},
    standard,
};

/// An identifier as directories have them.
fn guid(number: usize) -> String {
    format!("{number:08x}-1815-4c5b-b112-36a304b66dad")
}

/// A name as directories have them: 190 characters.
fn directory_name(number: usize) -> String {
    let name = format!("CN=group-{number:03},OU=");
    format!("{name}{:x<1$},DC=example,DC=com", "", 190 - name.len() - 18)
}

#[tokio::test]
async fn many_groups_and_long_ones_log_in() {
    let lists: [Vec<String>; 2] = [
        (0..300).map(guid).collect(),
        (0..70).map(directory_name).collect(),
    ];
    assert_eq!(lists[1][0].len(), 190);
    for groups in lists {
        for claims_in_id_token in [true, false] {
            let (house, upstream, provider) = arranged(
                |behaviour| behaviour.claims_in_id_token = claims_in_id_token,
                // A store: how much fits into a cookie is another matter.
                |plan| plan.session("store = \"memory\""),
            )
            .await;
            provider.user("groups", json!(groups));
            house.browser().sign_in("/").await;
            assert_eq!(upstream.count(), 1);
        }
    }
}

#[tokio::test]
async fn a_set_of_two_hundred_keys_logs_in() {
    let many = |behaviour: &mut Behaviour| {
        behaviour.further_keys = (0..200).map(keys::another_jwk).collect();
    };
    let (house, upstream, _provider) = arranged(many, |plan| plan).await;
    house.browser().sign_in("/").await;
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_signature_of_the_largest_curve_is_verified() {
    let (house, upstream, provider) = standard().await;
    provider.set(|behaviour| behaviour.signing = Signing::Es512);
    house.browser().sign_in("/").await;
    assert_eq!(upstream.count(), 1);
}

/// The cap is the operator's to raise, and the page and the log say so.
#[tokio::test]
async fn an_answer_that_is_too_large_says_what_to_raise() {
    let upstream = Upstream::start().await;
    let provider = crate::support::ScriptedProvider::start().await;
    provider.set(|behaviour| behaviour.claims_in_id_token = false);
    let groups: Vec<String> = (0..300).map(guid).collect();
    provider.user("groups", json!(groups));
    for (limit, fits) in [(4_096, false), (65_536, true)] {
        let house = House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .session("store = \"memory\"")
            .tables(&format!("[limits]\nprovider_response = {limit}"))
            .admin()
            .start()
            .await;
        let browser = house.browser();
        let page = browser.follow("/").await;
        if fits {
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
            continue;
        }
        assert_eq!(page.status, StatusCode::BAD_GATEWAY);
        let text = page.text();
        assert!(text.contains("limits.provider_response"), "{text}");
        house.limit_is_hit("provider_response").await;
        let line = house.access_line("/oauth2/callback/script").await;
        let detail = line["detail"].as_str().expect("why");
        assert!(
            detail.contains("userinfo endpoint: the answer has more than 4096 bytes")
                && detail.contains("raise limits.provider_response"),
            "{detail}"
        );
    }
}
