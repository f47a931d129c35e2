use serde_json::json;

use super::{
    super::testing::{
        NOW, answer as script, anyone, build, config, identity, last_form, parameters, redeem,
        refused, rule,
    },
    *,
};
use crate::{
    access::Allow,
    identity_headers::HeaderSource,
    provider::{
        catalog::FORTY_TWO,
        http::HttpError,
        scripted::{Answer, Scripted},
    },
    secret::Secret,
};

fn person() -> Value {
    let cursus = |id: u32, name: &str, slug: &str, end: Value, hole: Value| {
        json!({ "id": id * 10, "end_at": end, "blackholed_at": hole, "level": 9.23, "cursus_id": id,
            "cursus": { "id": id, "name": name, "slug": slug }, "user": { "id": 1 } })
    };
    json!({
        "id": 123_456, "login": "jdoe", "email": "jdoe@student.42.fr", "displayname": "J Doe",
        "usual_first_name": null, "kind": "student", "image": { "link": "https://cdn.example/jdoe.jpg" },
        "staff?": false, "groups": [{ "id": 1, "name": "tutors" }, { "id": 2, "name": "test" }],
        "cursus_users": [
            cursus(9, "C Piscine", "c-piscine", json!("2021-08-27T00:00:00.000Z"), Value::Null),
            cursus(21, "42 Cursus", "42cursus", Value::Null, json!("2027-06-01T00:00:00.000+02:00")),
            cursus(1, "42", "42", Value::Null, json!("2020-06-01T00:00:00.000Z")),
            cursus(70, "Odd", "odd", json!("tomorrow"), Value::Null),
        ],
        "campus": [{ "id": 1, "name": "Paris" }, { "id": 9, "name": "Lyon" }],
        "campus_users": [
            { "campus_id": 1, "is_primary": true }, { "campus_id": 9, "is_primary": false },
        ],
    })
}

async fn server_with(person: &Value) -> Scripted {
    let server = Scripted::start().await;
    let tokens = json!({ "access_token": "at", "token_type": "bearer", "expires_in": 5, "scope": "public",
        "created_at": NOW, "secret_valid_until": NOW + 100_000 });
    script(&server, "/oauth/token", &tokens);
    script(&server, "/v2/me", person);
    server
}

#[tokio::test]
async fn a_student_signs_in() {
    let server = server_with(&person()).await;
    let headers = [
        HeaderSource::Claim("campus.0.name".to_owned()),
        HeaderSource::Claim("cursus_users.1.level".to_owned()),
        HeaderSource::Claim("staff?".to_owned()),
    ];
    let provider = build(&config(&FORTY_TWO, &server, Allow::Anyone), &headers);
    assert_eq!(provider.secret_valid_until(), None);
    let identity = identity(&provider).await;
    assert_eq!(identity.subject.as_str(), "123456");
    assert_eq!(identity.login.as_deref(), Some("jdoe"));
    assert_eq!(identity.email.as_deref(), Some("jdoe@student.42.fr"));
    assert_eq!(identity.name.as_deref(), Some("J Doe"));
    assert_eq!(
        identity.picture.as_deref(),
        Some("https://cdn.example/jdoe.jpg")
    );
    assert_eq!(identity.groups, ["tutors", "test"].map(Into::into));
    assert!(identity.memberships.is_empty());
    let claims: Vec<&str> = identity
        .claims
        .iter()
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(claims, ["Paris", "9.23", "false"]);
    assert_eq!(
        provider.secret_valid_until(),
        Some(Timestamp(NOW + 100_000))
    );
    let form = last_form(&server, "/oauth/token");
    assert_eq!(form["client_secret"], "shh");
    assert_eq!(form["code_verifier"], "v");
    let request = server.requests("/v2/me").remove(0);
    assert_eq!(request.headers["authorization"], "Bearer at");
    assert_eq!(request.query, None);
}

#[tokio::test]
async fn a_browser_is_sent_with_the_least() {
    let server = Scripted::start().await;
    let provider = anyone(&FORTY_TWO, &server);
    for switch in [false, true] {
        let sent = parameters(&provider, switch).await;
        assert_eq!(sent["scope"], "public");
        assert_eq!(sent["code_challenge_method"], "S256");
        assert!(!sent.contains_key("nonce") && !sent.contains_key("prompt"));
    }
    assert_eq!(provider.probe(), Some(server.url("/oauth/authorize")));
}

#[tokio::test]
async fn each_list_lets_pass_and_denies() {
    let server = server_with(&person()).await;
    for (key, good, bad) in [
        (
            "campus",
            vec!["Paris", "1"],
            vec!["Lyon", "9", "paris", "Berlin", "21"],
        ),
        (
            "cursus",
            vec!["42cursus", "42 Cursus", "21"],
            vec!["c-piscine", "9", "42", "1", "odd", "70", "210"],
        ),
        ("staff", vec!["false"], vec!["true"]),
        ("kind", vec!["student"], vec!["admin", "external"]),
        ("groups", vec!["tutors"], vec!["1", "staff"]),
        ("users", vec!["jdoe"], vec!["123456", "boss"]),
        ("emails", vec!["jdoe@student.42.fr"], vec!["boss@42.fr"]),
        ("domains", vec!["student.42.fr", ".42.fr"], vec!["42.fr"]),
        (
            "claims.image.link",
            vec!["https://cdn.example/jdoe.jpg"],
            vec!["x"],
        ),
    ] {
        // A machine's worth of logins within a second would wait for their turns.
        for entry in good {
            let denied = quick(&server, key, entry).await;
            assert_eq!(denied, None, "{key} {entry}");
        }
        for entry in bad {
            let denied = quick(&server, key, entry).await;
            assert_eq!(denied.as_deref(), Some(key), "{key} {entry}");
        }
    }
}

/// [`rule`], without waiting: each under a client id of its own.
async fn quick(server: &Scripted, key: &str, entry: &str) -> Option<String> {
    let allow = Allow::for_test(&[(key, &[entry])]);
    let config = ProviderSettings {
        client_id: format!("{key} {entry}"),
        ..config(&FORTY_TWO, server, allow.clone())
    };
    let identity = identity(&build(&config, &[])).await;
    crate::access::allow::check(&allow, &identity)
        .err()
        .map(|denied| denied.rule)
}

/// Refusals and the account's page name it.
#[tokio::test]
async fn groups_are_told_by_a_claim_that_the_answer_has() {
    let server = server_with(&person()).await;
    let allow = Allow::for_test(&[("groups", &["staff"])]);
    let provider = build(&config(&FORTY_TWO, &server, allow), &[]);
    assert_eq!(provider.lists(), [("groups", Some("groups"))]);
}

#[tokio::test]
async fn what_is_not_there_lets_nobody_pass() {
    let server = server_with(&json!({ "id": 1, "email": "a@b.example" })).await;
    for (key, entry) in [
        ("campus", "Paris"),
        ("staff", "false"),
        ("kind", "student"),
        ("domains", "b.example"),
    ] {
        assert_eq!(quick(&server, key, entry).await.as_deref(), Some(key));
    }
}

#[tokio::test]
async fn addresses_of_externals_are_their_own_affair() {
    for kind in [json!("external"), json!(null), json!(1)] {
        let mut person = person();
        person["kind"] = kind;
        let server = server_with(&person).await;
        assert_eq!(
            rule(&FORTY_TWO, &server, "domains", &["student.42.fr"])
                .await
                .as_deref(),
            Some("domains")
        );
    }
}

#[tokio::test]
async fn where_no_campus_is_primary_each_counts_only_if_none_is_told() {
    let mut one = person();
    one.as_object_mut().unwrap().remove("campus_users");
    let server = server_with(&one).await;
    assert_eq!(quick(&server, "campus", "Lyon").await, None);
    one["campus_users"] = json!([{ "campus_id": 9, "is_primary": false }]);
    let server = server_with(&one).await;
    assert_eq!(
        quick(&server, "campus", "Lyon").await.as_deref(),
        Some("campus")
    );
}

#[tokio::test]
async fn a_large_answer_is_an_answer() {
    let mut large = person();
    large["projects_users"] = (0..2000)
        .map(|number| json!({ "id": number, "project": { "name": "x".repeat(60) } }))
        .collect();
    assert!(large.to_string().len() > 150_000);
    let server = server_with(&large).await;
    assert_eq!(
        identity(&anyone(&FORTY_TWO, &server))
            .await
            .login
            .as_deref(),
        Some("jdoe")
    );
}

#[tokio::test]
async fn errors_say_what_is_wrong() {
    let server = server_with(&person()).await;
    let provider = anyone(&FORTY_TWO, &server);
    let problem = |problem| answer(Call::Userinfo, problem);
    for (reply, expected) in [
        (
            Answer::json("{}").with_status(404),
            problem("the access token has no user"),
        ),
        (
            Answer::json(r#"{"error":"Forbidden","message":"Insufficient scope"}"#)
                .with_status(403),
            problem("forbidden; the application's scopes do not cover it"),
        ),
        (
            Answer::text("").with_status(401),
            problem("the access token is not accepted"),
        ),
        (
            Answer::text("429 Too Many Requests (Spam Rate Limit Exceeded)")
                .with_status(429)
                .header("retry-after", "3600"),
            ProviderError::Http {
                call: Call::Userinfo,
                error: HttpError::Status(StatusCode::TOO_MANY_REQUESTS),
            },
        ),
    ] {
        server.answer("/v2/me", reply);
        assert_eq!(refused(&provider).await, expected);
    }
    server.answer(
        "/oauth/token",
        Answer::text("429 Too Many Requests").with_status(429),
    );
    let before = server.requests("/oauth/token").len();
    assert!(refused(&provider).await.is_outage());
    assert_eq!(
        server.requests("/oauth/token").len(),
        before + 1,
        "a code works once"
    );
}

#[tokio::test]
async fn all_logins_of_an_application_share_one_pace() {
    let server = server_with(&person()).await;
    let one = config(&FORTY_TWO, &server, Allow::Anyone);
    let (one, two) = (build(&one, &[]), build(&one, &[]));
    let start = std::time::Instant::now();
    let logins = [&one, &two, &one, &two, &one].map(redeem);
    for login in futures_util::future::join_all(logins).await {
        assert!(login.is_ok());
    }
    assert!(start.elapsed() >= Duration::from_millis(2100));
}

#[tokio::test]
async fn the_next_secret_takes_over() {
    let server = server_with(&person()).await;
    let two = ProviderSettings {
        client_secrets: ["expired", "next"]
            .map(|text| Secret::new(text.to_owned()))
            .into(),
        ..config(&FORTY_TWO, &server, Allow::Anyone)
    };
    let expired =
        json!({ "error": "invalid_client", "error_description": "Client authentication failed" });
    let tokens = json!({ "access_token": "at", "token_type": "Bearer" });
    server.answer_in_turn(
        "/oauth/token",
        [
            Answer::json(&expired.to_string()).with_status(401),
            Answer::json(&tokens.to_string()),
        ],
    );
    assert!(redeem(&build(&two, &[])).await.is_ok());
    assert_eq!(last_form(&server, "/oauth/token")["client_secret"], "next");
}

#[test]
fn dates_have_passed_or_not() {
    let now = Timestamp(NOW);
    for (end, expected) in [
        (json!(null), true),
        (json!("2027-01-15T08:00:01.000Z"), true),
        (json!("2027-01-15T08:00:00.000Z"), false),
        (json!("2027-01-15T10:00:01.000+02:00"), true),
        (json!("2027-01-15"), false),
        (json!("1960-01-01T00:00:00Z"), false),
        (json!(4_000_000_000u64), false),
        (json!(""), false),
    ] {
        for name in ["end_at", "blackholed_at"] {
            assert_eq!(is_running(&json!({ name: end }), now), expected, "{end}");
        }
    }
}
