//! Who is signed in and may not pass.

use super::*;

#[test]
fn a_refused_account_is_named_to_its_owner_and_can_be_changed() {
    for reject in [barred("ada"), Reject::from(not_allowed())] {
        let (status, _, body) = answer(&reject, Navigation);
        let body = body.replace("&#38;", "&");
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(
            body.contains("signed in as <strong>ada</strong> at Corp & Co."),
            "{body}"
        );
        let switch = "href=\"/oauth2/start/corp?rd=%2Fdeep%3Fx%3D1&switch=1\">Use another account";
        assert!(body.contains(switch), "{body}");
        assert!(body.contains("href=\"/oauth2/sign_out?provider=corp\">Sign out"));
        assert!(!body.contains("Sign in another way"));
        assert!(body.contains("0123"));
    }
}

/// A provider that cannot be asked for another account would take the same one again without a word.
#[test]
fn nobody_is_promised_another_account_by_a_provider_that_has_no_way_to_ask() {
    for (page, offered) in [(Some("https://intra.example/"), true), (None, false)] {
        let mut site = site();
        site.providers[0].switch = AccountSwitch::SignOutFirst { page };
        for reject in [barred("ada"), Reject::from(not_allowed())] {
            let response = render(&reject, Navigation, &site, "0123");
            let body = text(response.into_body()).replace("&#38;", "&");
            assert!(!body.contains("Use another account"), "{body}");
            assert!(body.contains("sign out there first"), "{body}");
            let again = "href=\"/oauth2/start/corp?rd=%2Fdeep%3Fx%3D1&switch=1\">Sign in again";
            assert!(body.contains(again), "{body}");
            let beside = "href=\"https://intra.example/\" target=\"_blank\"";
            assert_eq!(body.contains(beside), offered, "{body}");
        }
    }
}

#[test]
fn where_there_are_several_ways_a_refused_account_may_take_another() {
    let site = Site::for_test("/oauth2", &["corp", "hub"]);
    for reject in [barred("ada"), Reject::from(not_allowed())] {
        let response = render(&reject, Navigation, &site, "0123");
        let body = text(response.into_body()).replace("&#38;", "&");
        let chooser = "href=\"/oauth2/sign_in?rd=%2Fdeep%3Fx%3D1&switch=1\">Sign in another way";
        assert!(body.contains(chooser), "{body}");
    }
}

#[test]
fn the_operators_words_come_first_and_the_rule_stays_in_the_log() {
    let mut site = site();
    for (operators, message) in [
        (None, "Your groups may not pass."),
        (Some("Ask <ops>."), "Ask <ops>."),
    ] {
        site.providers[0].deny_message = operators.map(str::to_owned);
        for reject in [barred("ada"), Reject::from(not_allowed())] {
            let body = text(render(&reject, Program, &site, "0123").into_body());
            assert!(!body.contains("secret rule"), "{body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"], "forbidden");
            assert_eq!(body["message"], message);
            let page = text(render(&reject, Navigation, &site, "0123").into_body());
            let escaped = message.replace('<', "&#60;").replace('>', "&#62;");
            assert!(page.contains(&escaped) && !page.contains("<ops>"), "{page}");
            let detail = reject.detail().unwrap();
            assert!(detail.starts_with("corp: allow.secret rule"), "{detail}");
        }
    }
}
