//! Bearer tokens of a provider: a program that brings one is whoever it was made for, and never anybody else.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    House, Reply, ScriptedProvider, Upstream,
    keys::{self, Signing},
    provider::now,
    standard_with,
};

const BEARER: &str = "bearer = { audience = [\"api\"] }";

/// A gate that takes the scripted provider's access tokens for `api`.
async fn gate() -> (House, Upstream, ScriptedProvider) {
    gate_with(BEARER).await
}

async fn gate_with(line: &str) -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| {
        plan.provider_line(line)
            .route("/api/**", "api")
            .route("/public/**", "public")
    })
    .await
}

/// An access token of the provider's, with these claims over the usual ones; null takes one away.
fn claims(provider: &ScriptedProvider, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": provider.issuer(), "sub": provider.behaviour().user["sub"], "aud": "api", "client_id": "cli",
        "scope": "read", "iat": now(), "exp": now() + 3_600, "jti": "1",
    });
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => _ = claims.as_object_mut().expect("an object").remove(name),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn token(provider: &ScriptedProvider, changes: &Value) -> String {
    keys::access_token(Some("at+jwt"), &claims(provider, changes))
}

/// What a program gets that brings `token`.
async fn ask(house: &House, path: &str, token: &str) -> Reply {
    let browser = house.browser();
    let request = browser.bare(Method::GET, path);
    let authorization = format!("Bearer {token}");
    request.header("authorization", &authorization).send().await
}

/// That a token is refused by the words of RFC 6750 §3.1, and that nothing of the request reaches the app.
async fn is_refused(house: &House, upstream: &Upstream, token: &str, why: &str) {
    let before = upstream.count();
    let reply = ask(house, "/api/x", token).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{why}");
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with("Bearer "), "{why}: {challenge}");
    assert!(
        challenge.contains("error=\"invalid_token\""),
        "{why}: {challenge}"
    );
    assert_eq!(upstream.count(), before, "{why}");
}

#[tokio::test]
async fn whoever_signs_in_and_their_token_are_one_person() {
    let (house, _upstream, provider) = gate().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let by_session = browser.get("/page").await.seen();
    let changes = json!({ "email": "x@y.example" });
    let by_token = ask(&house, "/api/x", &token(&provider, &changes)).await;
    assert_eq!(by_token.status, StatusCode::OK);
    let by_token = by_token.seen();
    assert_eq!(by_token.header("x-user-id"), by_session.header("x-user-id"));
    assert!(by_token.header("x-user-id").is_some());
    assert_eq!(by_token.header("x-user-provider"), Some("script"));
    // Nobody vouches for that address.
    assert_eq!(by_token.header("x-user-email"), None);
    let line = house.access_line("/api/x").await;
    assert_eq!(line["verdict"], "pass");
}

#[tokio::test]
async fn userinfo_fills_a_token_that_is_for_it() {
    let (house, _upstream, provider) = gate().await;
    let changes = json!({ "scope": "openid read" });
    let token = token(&provider, &changes);
    for _ in 0..3 {
        let seen = ask(&house, "/api/x", &token).await.seen();
        assert!(seen.header("x-user-email").is_some());
    }
    assert_eq!(provider.calls("/userinfo").len(), 1);
}

#[tokio::test]
async fn j1_a_made_up_token_opens_nothing_and_none_is_read_from_the_query() {
    let (house, upstream, provider) = gate().await;
    for bad in ["anything", "a.b.c", "e30.e30.e30", "....", "sgp_x"] {
        is_refused(&house, &upstream, bad, bad).await;
    }
    // The log names what the token has.
    let stranger = token(&provider, &json!({ "iss": "https://stranger.example" }));
    is_refused(&house, &upstream, &stranger, "another issuer").await;
    let other = token(&provider, &json!({ "aud": "other-app" }));
    is_refused(&house, &upstream, &other, "another audience").await;
    for why in [
        "no provider with bearer has the issuer \\\"https://stranger.example\\\"",
        "aud is \\\"other-app\\\", and bearer.audience does not have it",
    ] {
        house.until_logged(why).await;
    }
    let good = token(&provider, &json!({}));
    let path = format!("/api/x?access_token={good}");
    let reply = house.browser().bare(Method::GET, &path).send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn j2_a_token_for_somebody_else_opens_nothing() {
    let (house, upstream, provider) = gate().await;
    for changes in [
        json!({ "aud": "other" }),
        json!({ "aud": ["other", "account"] }),
        json!({ "aud": null }),
        json!({ "aud": { "api": true } }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": format!("{}/", provider.issuer()) }),
        json!({ "iss": null }),
    ] {
        let token = token(&provider, &changes);
        is_refused(&house, &upstream, &token, &changes.to_string()).await;
    }
}

#[tokio::test]
async fn j2_where_clients_are_named_others_open_nothing() {
    let line = "bearer = { audience = [\"api\"], clients = [\"cli\"] }";
    let (house, upstream, provider) = gate_with(line).await;
    let good = token(&provider, &json!({}));
    assert_eq!(ask(&house, "/api/x", &good).await.status, StatusCode::OK);
    for changes in [
        json!({ "client_id": "other" }),
        json!({ "client_id": null }),
        json!({ "azp": "other" }),
    ] {
        let token = token(&provider, &changes);
        is_refused(&house, &upstream, &token, &changes.to_string()).await;
    }
}

#[tokio::test]
async fn j3_a_token_has_its_time() {
    let (house, upstream, provider) = gate().await;
    for changes in [
        json!({ "exp": null }),
        json!({ "exp": now() - 120 }),
        json!({ "exp": "never" }),
        json!({ "nbf": now() + 3_000 }),
        json!({ "iat": now() + 86_400 }),
    ] {
        let token = token(&provider, &changes);
        is_refused(&house, &upstream, &token, &changes.to_string()).await;
    }
    let old = token(&provider, &json!({ "iat": now() - 86_400 }));
    assert_eq!(ask(&house, "/api/x", &old).await.status, StatusCode::OK);
}

#[tokio::test]
async fn j4_the_algorithm_is_not_the_tokens_to_choose() {
    let (house, upstream, provider) = gate().await;
    let claims = claims(&provider, &json!({}));
    for signing in [
        Signing::None,
        Signing::NoneWithSignature,
        Signing::HmacWithPublicKey,
        Signing::HmacWithClientSecret,
        Signing::Forged,
        Signing::Tampered,
        Signing::UnknownKid,
        Signing::Garbage,
    ] {
        let token = keys::id_token(&claims, signing, crate::support::provider::CLIENT_SECRET);
        is_refused(&house, &upstream, &token, &format!("{signing:?}")).await;
    }
}

#[tokio::test]
async fn j5_an_encrypted_token_is_no_signed_one() {
    let (house, upstream, provider) = gate().await;
    let signed = token(&provider, &json!({}));
    let jwe = format!("{}.e30.{}", signed.replace('.', ".e30."), "e30");
    is_refused(&house, &upstream, &jwe, "five parts").await;
}

#[tokio::test]
async fn j8_a_new_key_is_known_after_one_fetch() {
    let (house, upstream, provider) = gate().await;
    let first = token(&provider, &json!({}));
    assert_eq!(ask(&house, "/api/x", &first).await.status, StatusCode::OK);
    let fetched = provider.calls("/jwks").len();
    let claims = claims(&provider, &json!({ "jti": "2" }));
    let second = keys::id_token(&claims, Signing::Second, "");
    provider.set(|behaviour| behaviour.publishes_second_key_only = true);
    assert_eq!(ask(&house, "/api/x", &second).await.status, StatusCode::OK);
    assert_eq!(provider.calls("/jwks").len(), fetched + 1);
    // Whoever makes up key ids has the provider asked for nothing more.
    for number in 0..5 {
        let claims = self::claims(&provider, &json!({ "jti": number }));
        let token = keys::id_token(&claims, Signing::UnknownKid, "");
        is_refused(&house, &upstream, &token, "a key that nobody has").await;
    }
    assert_eq!(provider.calls("/jwks").len(), fetched + 1);
}

#[tokio::test]
async fn j14_one_request_has_one_credential() {
    let (house, upstream, provider) = gate().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    provider.user("sub", json!("somebody-else"));
    let good = token(&provider, &json!({}));
    let before = upstream.count();
    // A bad token is no reason to believe the cookie.
    let request = browser.bare(Method::GET, "/page");
    let reply = request.header("authorization", "Bearer bad").send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let request = browser.bare(Method::GET, "/page");
    let bearer = format!("Bearer {good}");
    let request = request.header("authorization", &bearer);
    let two = request.header("authorization", "Basic YTpi").send().await;
    assert_eq!(two.status, StatusCode::BAD_REQUEST);
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn an_id_token_opens_nothing_unless_that_is_said() {
    let changes = json!({ "scope": null, "client_id": null, "azp": "cli", "nonce": "n" });
    let (house, upstream, provider) = gate().await;
    let id_token = keys::access_token(Some("JWT"), &claims(&provider, &changes));
    is_refused(&house, &upstream, &id_token, "an ID token").await;
    let line = "bearer = { audience = [\"api\"], accept_id_tokens = true }";
    let (house, _upstream, provider) = gate_with(line).await;
    let id_token = keys::access_token(Some("JWT"), &claims(&provider, &changes));
    assert_eq!(
        ask(&house, "/api/x", &id_token).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn without_keys_nobody_knows_and_nobody_passes() {
    let (house, upstream, provider) = gate().await;
    let good = token(&provider, &json!({}));
    provider.server.down();
    let reply = ask(&house, "/api/x", &good).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(upstream.count(), 0);
    provider.server.up().await;
    for _ in 0..200 {
        if ask(&house, "/api/x", &good).await.status == StatusCode::OK {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it never passes");
}

#[tokio::test]
async fn an_issuer_that_gives_tokens_alone_signs_nobody_in() {
    let provider = ScriptedProvider::start().await;
    let issuer = ScriptedProvider::start().await;
    let upstream = Upstream::start().await;
    let table = format!(
        "type = \"oidc\"\nissuer = \"{}\"\nlogin = false\nallow = \"anyone\"\n{BEARER}",
        issuer.issuer()
    );
    let house = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .tables(&format!("[providers.machines]\n{table}"))
        .route("/api/**", "api")
        .start()
        .await;
    let good = token(&issuer, &json!({ "sub": "cli" }));
    let seen = ask(&house, "/api/x", &good).await.seen();
    assert_eq!(seen.header("x-user-id"), Some("machines:client:cli"));
    let browser = house.browser();
    let page = browser.get("/oauth2/start/machines").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    // The other one signs people in as before, without a choice.
    browser.sign_in("/").await;
    // Its tokens open nothing: only one table takes any.
    is_refused(
        &house,
        &upstream,
        &token(&provider, &json!({})),
        "another issuer",
    )
    .await;
}

#[tokio::test]
async fn allow_judges_a_token_as_it_judges_a_login() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let plan = plan.allow("{ groups = [\"staff\"] }").provider_line(BEARER);
    let house = plan.route("/api/**", "api").start().await;
    let staff = token(&provider, &json!({ "groups": ["staff"] }));
    let seen = ask(&house, "/api/x", &staff).await.seen();
    assert_eq!(seen.header("x-user-groups"), Some("staff"));
    let other = token(&provider, &json!({ "groups": ["guests"] }));
    assert_eq!(
        ask(&house, "/api/x", &other).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(upstream.count(), 1);
}

/// More groups than a session has room for. There is none.
#[tokio::test]
async fn a_denial_of_a_token_speaks_of_no_session() {
    let staff =
        "[[routes]]\npath = \"/staff/**\"\naccess = \"api\"\nallow = { groups = [\"staff\"] }";
    let (house, _upstream, provider) =
        standard_with(|plan| plan.provider_line(BEARER).tables(staff)).await;
    let groups: Vec<String> = (0..70).map(|number| format!("{number:0100}")).collect();
    let held = token(&provider, &json!({ "groups": groups }));
    let reply = ask(&house, "/staff/", &held).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
    let held = reply.json();
    let message = held["message"].as_str().expect("a message");
    assert!(message.ends_with("and 50 more."), "{message}");
    assert_eq!(held["held"]["count"], 70, "{held}");
    assert_eq!(held["held"]["omitted"], Value::Null, "{held}");
    let line = house.access_line("/staff/").await;
    assert!(!line.to_string().contains("no room"), "{line}");
}

#[tokio::test]
async fn the_app_is_told_of_the_credential_and_does_not_see_it() {
    let (house, _upstream, provider) = gate().await;
    let good = token(&provider, &json!({ "scope": "read write" }));
    let seen = ask(&house, "/api/x", &good).await.seen();
    assert_eq!(seen.header("x-user-auth"), Some("bearer"));
    assert_eq!(seen.header("x-user-scopes"), Some("read write"));
    assert_eq!(seen.header("x-user-client"), Some("cli"));
    assert_eq!(seen.header("authorization"), None);
    let line = house.access_line("/api/x").await;
    assert_eq!(line["credential"], "bearer");
    let browser = house.browser();
    browser.sign_in("/").await;
    let page = browser.bare(Method::GET, "/page");
    let seen = page.header("x-user-scopes", "admin").send().await.seen();
    assert_eq!(seen.header("x-user-auth"), Some("session"));
    assert_eq!(seen.header("x-user-scopes"), None);
}

#[tokio::test]
async fn an_app_that_asks_for_the_token_gets_it() {
    let headers = "[headers.set]\nAuthorization = \"access_token\"";
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.provider_line(BEARER)
            .tables(headers)
            .route("/api/**", "api")
    })
    .await;
    let good = token(&provider, &json!({}));
    for _ in 0..2 {
        let seen = ask(&house, "/api/x", &good).await.seen();
        assert_eq!(
            seen.header("authorization"),
            Some(&*format!("Bearer {good}"))
        );
    }
    let browser = house.browser();
    browser.sign_in("/").await;
    let page = browser.bare(Method::GET, "/page").send().await.seen();
    let sent = page.header("authorization").unwrap_or_default();
    assert!(
        sent.starts_with("Bearer ") && !sent.contains(&good),
        "{sent}"
    );
}

#[tokio::test]
async fn scopes_open_methods_and_paths() {
    let rules = "
[[routes]]
path = \"/api/profile\"
methods = [\"GET\"]
access = \"api\"
allow = { scopes = [\"read_profile\"] }

[[routes]]
path = \"/api/profile\"
access = \"api\"
allow = { scopes = [\"read_profile\", \"write_profile\"] }

[[routes]]
path = \"/api/admin/**\"
access = \"api\"
allow = { scopes = [\"admin\"] }

[[routes]]
path = \"/either\"
any = [{ scopes = [\"read_profile\"] }, { credentials = [\"session\"] }]";
    let (house, upstream, provider) =
        standard_with(|plan| plan.provider_line(BEARER).tables(rules)).await;
    let with = |scope: &str| token(&provider, &json!({ "scope": scope, "jti": scope }));
    let browser = house.browser();
    let ask = async |method: Method, path: &str, token: &str| {
        let request = browser.bare(method, path);
        let authorization = format!("Bearer {token}");
        request.header("authorization", &authorization).send().await
    };
    let reader = with("read_profile");
    let writer = with("openid write_profile read_profile");
    let reply = ask(Method::GET, "/api/profile", &reader).await;
    assert_eq!(reply.status, StatusCode::OK);
    let before = upstream.count();
    for (method, path, token, needed) in [
        (
            Method::POST,
            "/api/profile",
            &reader,
            "read_profile write_profile",
        ),
        (Method::GET, "/api/admin/x", &writer, "admin"),
        (
            Method::GET,
            "/api/profile",
            &with("read_profiles"),
            "read_profile",
        ),
        (Method::GET, "/api/profile", &with(""), "read_profile"),
    ] {
        let reply = ask(method, path, token).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        let challenge = reply.header("www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(
            challenge.contains(&format!("scope=\"{needed}\"")),
            "{challenge}"
        );
        let told = reply.json();
        assert_eq!(told["error"], "insufficient_scope");
        assert_eq!(told["scope"], needed);
    }
    assert_eq!(upstream.count(), before);
    let reply = ask(Method::POST, "/api/profile", &writer).await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = ask(Method::GET, "/api/admin/x", &with("admin")).await;
    assert_eq!(reply.status, StatusCode::OK);

    // A person has given nothing to a program.
    browser.sign_in("/").await;
    let page = browser.get("/api/admin/x").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/either").await.status, StatusCode::OK);
    assert_eq!(
        ask(Method::GET, "/either", &reader).await.status,
        StatusCode::OK
    );
    let reply = ask(Method::GET, "/either", &with("other")).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_door_judges_a_token_alike() {
    let (house, _upstream, provider) = gate().await;
    let good = token(&provider, &json!({}));
    let reply = ask(&house, "/oauth2/auth", &good).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert!(reply.header("x-user-id").starts_with("script:"));
    assert_eq!(
        ask(&house, "/oauth2/auth", "bad").await.status,
        StatusCode::UNAUTHORIZED
    );
    let told = ask(&house, "/oauth2/userinfo", &good).await.json();
    assert_eq!(told["credential"], "bearer");
    assert_eq!(told["scopes"], json!(["read"]));
    assert_eq!(told["client"], "cli");
    assert!(told["expires_at"].as_u64().is_some_and(|end| end > now()));
}

/// A token that was not issued for the server opens none of its tools.
#[tokio::test]
async fn a_providers_token_is_none_where_tokens_of_the_gate_alone_count() {
    let (house, upstream, provider) = standard_with(|plan| {
        plan.provider_line(BEARER)
            .route("/api/**", "api")
            .tables("[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true")
    })
    .await;
    let good = token(&provider, &json!({}));
    let refused = ask(&house, "/mcp/x", &good).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask(&house, "/api/x", &good).await.status, StatusCode::OK);
}

/// A token that says it is for the gate is withheld where nobody is asked for one, whether it is right or not; those for others are theirs.
#[tokio::test]
async fn no_app_sees_a_token_that_is_for_the_gate() {
    let (house, _upstream, provider) = gate().await;
    let seen = async |token: &str| {
        let seen = ask(&house, "/public/x", token).await.seen();
        seen.header("authorization").map(str::to_owned)
    };
    let expired = json!({ "exp": now() - 3_600 });
    for changes in [json!({}), json!({ "aud": ["other", "api"] }), expired] {
        let token = token(&provider, &changes);
        assert_eq!(seen(&token).await, None, "{changes}");
    }
    let others = [
        json!({ "aud": "other" }),
        json!({ "iss": "https://other.example" }),
    ];
    let others = others.map(|changes| token(&provider, &changes));
    for token in others.iter().map(String::as_str).chain(["opaque"]) {
        assert_eq!(seen(token).await, Some(format!("Bearer {token}")));
    }
}

/// A client's own token has `client:ID` for its subject, and nobody else has such a one.
#[tokio::test]
async fn no_person_has_the_subject_of_a_client() {
    let (house, upstream, provider) = gate().await;
    let clients = token(&provider, &json!({ "sub": "cli" }));
    let seen = ask(&house, "/api/x", &clients).await.seen();
    assert_eq!(seen.header("x-user-id"), Some("script:client:cli"));
    let persons = token(&provider, &json!({ "sub": "client:cli" }));
    is_refused(&house, &upstream, &persons, "a person's").await;
    provider.user("sub", json!("client:cli"));
    let browser = house.browser();
    let callback = browser.up_to_callback("/").await;
    let refused = browser.get(callback.as_str()).await;
    assert!(!refused.sets_session(), "{}", refused.text());
}

/// Whether there is a key that a token names nobody knows while the keys cannot be fetched.
#[tokio::test]
async fn an_unknown_key_is_no_bad_token_while_keys_cannot_be_fetched() {
    let (house, upstream, provider) = gate().await;
    let good = token(&provider, &json!({}));
    assert_eq!(ask(&house, "/api/x", &good).await.status, StatusCode::OK);
    let claims = claims(&provider, &json!({ "jti": "2" }));
    let rotated = keys::id_token(&claims, Signing::Second, "");
    provider.set(|behaviour| behaviour.publishes_second_key_only = true);
    provider.server.down();
    for _ in 0..2 {
        let reply = ask(&house, "/api/x", &rotated).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!reply.header("retry-after").is_empty());
    }
    assert_eq!(upstream.count(), 1);
    // What was signed with a known key is known to be good.
    let known = token(&provider, &json!({ "jti": "3" }));
    assert_eq!(ask(&house, "/api/x", &known).await.status, StatusCode::OK);
}
