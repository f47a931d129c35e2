use serde_json::{Value, json};

use super::super::testing::{NOW, answer as script, build, config, identity, parameters, refused};
use crate::provider::catalog::OAUTH2;
use crate::{
    access::{Allow, allow},
    clock::Timestamp,
    identity::Authentication,
    provider::{
        RefreshedTokens,
        scripted::Scripted,
        settings::{ClaimPaths, ProviderSettings},
    },
    tokens::GrantTokens,
};

async fn server() -> Scripted {
    let server = Scripted::start().await;
    // An ID token that nobody checked is not to be taken for one that somebody did.
    let tokens =
        json!({ "access_token": "at", "token_type": "bearer", "id_token": "un.checked.token" });
    script(&server, "/token_url", &tokens);
    let me = json!({ "data": { "uid": 7, "nick": "Jo", "mail": "jo@x.example", "confirmed": "true",
        "full": "Jo Doe", "photo": "https://p.example/7", "teams": ["a", "b"] } });
    script(&server, "/userinfo_url", &me);
    server
}

fn by_hand(server: &Scripted, allow: Allow) -> ProviderSettings {
    let path = |name: &str| Some(format!("data.{name}"));
    ProviderSettings {
        scopes: vec!["profile".to_owned()],
        claims: ClaimPaths {
            subject: path("uid"),
            user: path("nick"),
            email: path("mail"),
            email_verified: path("confirmed"),
            name: path("full"),
            picture: path("photo"),
            groups: path("teams"),
        },
        ..config(&OAUTH2, server, allow)
    }
}

#[tokio::test]
async fn claims_stand_where_the_operator_says() {
    let server = server().await;
    let provider = build(&by_hand(&server, Allow::Anyone), &[]);
    let grant = super::super::testing::redeem(&provider).await;
    let grant = grant.unwrap_or_else(|error| panic!("{error}"));
    assert!(grant.tokens.id.is_none());
    let identity = grant.identity;
    assert_eq!(identity.subject.as_str(), "7");
    assert_eq!(identity.login.as_deref(), Some("Jo"));
    assert_eq!(identity.email.as_deref(), Some("jo@x.example"));
    assert_eq!(identity.name.as_deref(), Some("Jo Doe"));
    assert_eq!(identity.picture.as_deref(), Some("https://p.example/7"));
    assert_eq!(identity.groups, ["a", "b"].map(Into::into));
    let sent = parameters(&provider, true).await;
    assert_eq!(sent["scope"], "profile");
    assert_eq!(sent["code_challenge_method"], "S256");
}

#[tokio::test]
async fn what_the_operator_does_not_say_is_not_there() {
    let server = server().await;
    let mut bare = by_hand(&server, Allow::Anyone);
    bare.claims = ClaimPaths {
        subject: bare.claims.subject,
        email: bare.claims.email,
        ..ClaimPaths::default()
    };
    let identity = identity(&build(&bare, &[])).await;
    assert_eq!((identity.email, identity.login), (None, None));
    assert!(identity.groups.is_empty());
    bare.claims.subject = Some("data.none".to_owned());
    refused(&build(&bare, &[])).await;
}

#[tokio::test]
async fn each_list_lets_pass_and_denies() {
    let server = server().await;
    for (key, good, bad) in [
        ("users", "Jo", "jo"),
        ("groups", "b", "c"),
        ("emails", "jo@x.example", "joe@x.example"),
        ("domains", "x.example", "y.example"),
        ("claims.data.uid", "7", "8"),
    ] {
        for (entry, expected) in [(good, None), (bad, Some(key))] {
            let allow = Allow::for_test(&[(key, &[entry])]);
            let identity = identity(&build(&by_hand(&server, allow.clone()), &[])).await;
            let denied = allow::check(&allow, &identity)
                .err()
                .map(|denied| denied.rule);
            assert_eq!(denied.as_deref(), expected, "{key}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_object_is_refused() {
    let server = server().await;
    for odd in [json!([]), json!("x"), Value::Null] {
        script(&server, "/userinfo_url", &odd);
        refused(&build(&by_hand(&server, Allow::Anyone), &[])).await;
    }
}

/// No ID token says when somebody authenticated: the end of the login stands for it, and a refresh is no login.
#[tokio::test]
async fn the_end_of_a_login_is_when_they_authenticated() {
    let server = server().await;
    let provider = build(&by_hand(&server, Allow::Anyone), &[]);
    let identity = identity(&provider).await;
    let expected = Authentication::by_login(Timestamp(NOW));
    assert_eq!(identity.authentication, expected);
    let tokens = GrantTokens {
        access: "at".into(),
        refresh: None,
        id: None,
        expires: None,
    };
    let refreshed = RefreshedTokens {
        tokens: &tokens,
        previous: &identity,
        now: Timestamp(NOW + 9),
    };
    let refreshed = provider.identify(&refreshed).await.unwrap();
    assert_eq!(refreshed.authentication, Authentication::default());
}
