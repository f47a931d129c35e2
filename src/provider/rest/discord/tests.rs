use serde_json::json;

use super::{
    super::testing::{
        answer as script, anyone, build, config, identity, last_form, parameters, refused, rule,
    },
    *,
};
use crate::{
    access::Allow,
    provider::{
        catalog::DISCORD,
        scripted::{Answer, Scripted},
        settings::ClientAuthentication as Authentication,
    },
};

const ME: &str = "/api/v10/users/@me";
const GUILDS: &str = "/api/v10/users/@me/guilds";

fn person() -> Value {
    json!({ "id": "80351110224678912", "username": "nelly", "discriminator": "0", "global_name": "Nelly",
        "avatar": "8342729096ea3675442027381ff50dfe", "verified": true, "email": "nelly@x.example" })
}

async fn server() -> Scripted {
    let server = Scripted::start().await;
    let tokens = json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 604_800,
        "refresh_token": "rt", "scope": "identify email" });
    script(&server, "/api/oauth2/token", &tokens);
    script(&server, ME, &person());
    let guilds = json!([{ "id": "197038439483310086", "name": "Engines" }, { "id": "2", "name": "197038439483310087" }]);
    script(&server, GUILDS, &guilds);
    server
}

#[tokio::test]
async fn somebody_signs_in() {
    let server = server().await;
    let identity = identity(&anyone(&DISCORD, &server)).await;
    assert_eq!(identity.subject.as_str(), "80351110224678912");
    assert_eq!(identity.login.as_deref(), Some("nelly"));
    assert_eq!(identity.name.as_deref(), Some("Nelly"));
    assert_eq!(identity.email.as_deref(), Some("nelly@x.example"));
    let picture =
        "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png";
    assert_eq!(identity.picture.as_deref(), Some(picture));
    assert!(server.requests(GUILDS).is_empty());
    let seen = server.requests("/api/oauth2/token").remove(0);
    assert!(seen.headers.contains_key("authorization"));
    assert_eq!(
        seen.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        last_form(&server, "/api/oauth2/token")["code_verifier"],
        "v"
    );
}

#[tokio::test]
async fn an_address_counts_when_it_is_verified() {
    let server = server().await;
    for verified in [json!(false), json!("true"), json!(1), json!(null)] {
        let mut person = person();
        person["verified"] = verified;
        script(&server, ME, &person);
        assert_eq!(identity(&anyone(&DISCORD, &server)).await.email, None);
    }
}

#[tokio::test]
async fn a_picture_is_made_of_plain_parts_only() {
    let server = server().await;
    for avatar in [json!(null), json!("../../x"), json!("a\" b"), json!(7)] {
        let mut person = person();
        person["avatar"] = avatar;
        script(&server, ME, &person);
        assert_eq!(identity(&anyone(&DISCORD, &server)).await.picture, None);
    }
}

#[tokio::test]
async fn each_list_lets_pass_and_denies() {
    let server = server().await;
    for (key, good, bad) in [
        (
            "guilds",
            "197038439483310086",
            vec!["197038439483310087", "Engines", "1970384394833100860"],
        ),
        ("users", "nelly", vec!["80351110224678912", "Nelly2"]),
        ("emails", "nelly@x.example", vec!["boss@x.example"]),
        ("domains", "x.example", vec!["y.example"]),
        ("claims.global_name", "Nelly", vec!["nelly"]),
    ] {
        assert_eq!(rule(&DISCORD, &server, key, &[good]).await, None, "{key}");
        for entry in bad {
            let denied = rule(&DISCORD, &server, key, &[entry]).await;
            assert_eq!(denied.as_deref(), Some(key), "{entry}");
        }
    }
}

#[tokio::test]
async fn guilds_are_asked_for_where_a_list_needs_them() {
    let server = server().await;
    let guarded = config(&DISCORD, &server, Allow::for_test(&[("guilds", &["1"])]));
    let guarded = build(&guarded, &[]);
    assert_eq!(
        parameters(&guarded, false).await["scope"],
        "identify email guilds"
    );
    let sent = parameters(&anyone(&DISCORD, &server), true).await;
    assert_eq!(sent["scope"], "identify email");
    assert_eq!(sent["prompt"], "consent");
    server.answer(
        GUILDS,
        Answer::json(r#"{"message":"Missing Access"}"#).with_status(401),
    );
    assert!(!refused(&guarded).await.is_outage());
    let limited = Answer::json(r#"{"message":"m","retry_after":64.57,"global":false}"#);
    server.answer(GUILDS, limited.with_status(429));
    assert!(refused(&guarded).await.is_outage());
}

#[tokio::test]
async fn no_more_guilds_count_than_anybody_can_have() {
    let server = server().await;
    let guilds: Vec<Value> = (0..300).map(|id| json!({ "id": id.to_string() })).collect();
    script(&server, GUILDS, &guilds.into());
    assert_eq!(rule(&DISCORD, &server, "guilds", &["199"]).await, None);
    assert!(rule(&DISCORD, &server, "guilds", &["200"]).await.is_some());
}

#[tokio::test]
async fn the_operator_says_how_the_client_proves_itself() {
    let server = server().await;
    let mut post = config(&DISCORD, &server, Allow::Anyone);
    post.client_authentication = Some(Authentication::Post);
    identity(&build(&post, &[])).await;
    let seen = server.requests("/api/oauth2/token").remove(0);
    assert!(!seen.headers.contains_key("authorization"));
    assert_eq!(
        last_form(&server, "/api/oauth2/token")["client_secret"],
        "shh"
    );
}
