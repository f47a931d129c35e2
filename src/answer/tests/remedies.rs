//! What the log says can be done about a refusal fits what it is about.

use super::*;
use crate::observe::metrics::Limit;

fn remedy(reject: impl Into<Reject>) -> &'static str {
    reject.into().remedy().unwrap()
}

#[test]
fn an_app_that_was_reached_is_not_looked_for() {
    for (why, word) in [
        (BadGateway::Unreachable, "runs and listens"),
        (BadGateway::Handshake, "TLS"),
        (BadGateway::Closed, "without an answer"),
        (BadGateway::Malformed, "no HTTP that"),
        (BadGateway::Malformed, "http2 = true"),
        (BadGateway::Switched, "101"),
    ] {
        let remedy = remedy(Reject::BadGateway(why));
        assert!(remedy.contains(word), "{remedy}");
        assert_eq!(
            remedy.contains("runs and listens"),
            why == BadGateway::Unreachable
        );
    }
}

#[test]
fn a_failed_login_blames_the_setup_only_where_it_may_be_at_fault() {
    for code in [
        "access_denied",
        "login_required",
        "consent_required",
        "server_error",
        "temporarily_unavailable",
    ] {
        let remedy = remedy(answered(code));
        assert!(!remedy.contains("client_id"), "{code}: {remedy}");
    }
    assert!(remedy(answered("invalid_scope")).contains("scopes"));
    assert!(remedy(answered("unauthorized_client")).contains("client_id"));
    assert!(remedy(answered("invalid_request")).contains("redirect address"));
    // Anybody can write an `iss`, and no secret has to do with it.
    let remedy = remedy(LoginError::OtherIssuer(again()));
    assert!(
        remedy.contains("issuer") && !remedy.contains("session.secret"),
        "{remedy}"
    );
}

#[test]
fn a_client_that_the_provider_does_not_serve_is_told_as_such() {
    let (_, _, body) = answer(&Reject::from(answered("unauthorized_client")), Navigation);
    assert!(body.contains("does not let this site"), "{body}");
}

#[test]
fn what_is_slow_stale_or_wrong_has_a_remedy_too() {
    assert!(remedy(Reject::RequestTimeout(Some(Limit::RequestBodyRate))).contains("limit"));
    // What nobody can set is named, and nobody is told to raise it.
    let fixed = Reject::RequestTimeout(None);
    assert_eq!(fixed.remedy(), None);
    assert!(fixed.detail().is_some_and(|detail| detail.contains("30 s")));
    assert!(remedy(Reject::StaleForm).contains("public_url"));
    let wrong = Reject::Credential(Refused::Invalid("ended".to_owned()));
    assert!(remedy(wrong).contains("detail"));
}
