//! `token_exchange`: the app behind a route gets a token for another service in the user's name (RFC 8693), and never the user's
//! own. Against npm's `oidc-provider`.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{
    Browser, House, Reply, Upstream,
    envoy::{Envoy, Held},
    house::{Plan, root, sidegate},
    node_provider::{self, NodeProvider},
    ports,
    provider::now,
    upstream::Seen,
};

const ORDERS: &str =
    "[[routes]]\npath = \"/orders/**\"\ntoken_exchange = { audience = \"orders\" }\n";
const STOCK: &str = "[[routes]]\npath = \"/stock/**\"\naccess = \"api\"\ntoken_exchange = { audience = \"stock\", scopes = [\"read\"] }\n";

/// A house in front of an app, with these routes, and a provider that has exchanged nothing yet.
async fn house(routes: &str, change: impl FnOnce(Plan) -> Plan) -> (House, Upstream, NodeProvider) {
    let provider = NodeProvider::start(300);
    let upstream = Upstream::start().await;
    let table = format!("{}allow = \"anyone\"\n", provider.table());
    let plan = House::plan().upstream(&upstream).named("npm", &table);
    let house = change(plan.tables(routes)).start().await;
    (house, upstream, provider)
}

async fn ada(house: &House, path: &str) -> (Browser, Reply) {
    let ada = house.browser();
    let reply = node_provider::sign_in(&ada, path, "ada").await;
    (ada, reply)
}

/// What the token says that the app was sent.
fn claims(seen: &Seen) -> Value {
    let token = seen.header("authorization").expect("a token");
    let token = token.strip_prefix("Bearer ").expect("a bearer token");
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

fn error(reply: &Reply) -> (u16, String) {
    let json = reply.json();
    let error = json["error"].as_str().expect("an error").to_owned();
    (reply.status.as_u16(), error)
}

#[tokio::test]
async fn the_app_gets_a_token_for_the_service_and_never_the_users_own() {
    let (house, _upstream, provider) = house(&format!("{ORDERS}{STOCK}"), |plan| plan).await;
    let (ada, reply) = ada(&house, "/orders/1").await;
    let seen = reply.seen();
    let told = claims(&seen);
    assert_eq!(
        (&told["aud"], &told["sub"]),
        (&"orders".into(), &"ada".into())
    );
    let (count, subject) = provider.exchanges("").await;
    assert_eq!(count, 1);
    assert!(
        subject.len() > 20 && !reply.text().contains(&subject),
        "{}",
        reply.text()
    );
    // What a client writes there never arrives, and costs nothing.
    let forged = ada
        .navigate("/orders/2")
        .header("authorization", "Custom abc");
    let again = forged.send().await.seen();
    assert_eq!(again.header("authorization"), seen.header("authorization"));
    assert_eq!(provider.exchanges("").await.0, 1);
    // Each service has its own, with the scopes that are asked for.
    let stock = ada.fetch(Method::GET, "/stock/1").send().await.seen();
    let told = claims(&stock);
    assert_eq!(
        (&told["aud"], &told["scope"]),
        (&"stock".into(), &"read".into())
    );
    assert_eq!(provider.exchanges("").await.0, 2);
    // And elsewhere there is none.
    let page = ada.navigate("/page").header("authorization", "Custom abc");
    assert_eq!(
        page.send().await.seen().header("authorization"),
        Some("Custom abc")
    );
    assert_eq!(provider.exchanges("").await.0, 2);
    // Another person has another one.
    let bob = house.browser();
    let reply = node_provider::sign_in(&bob, "/orders/1", "bob").await;
    assert_eq!(claims(&reply.seen())["sub"], "bob");
}

#[tokio::test]
async fn many_requests_at_once_are_one_exchange() {
    let (house, upstream, provider) = house(ORDERS, |plan| plan).await;
    let (ada, _) = ada(&house, "/page").await;
    let before = upstream.count();
    provider.slow(300).await;
    let all = join_all((0..50).map(|number| {
        let path = format!("/orders/{number}");
        let ada = &ada;
        async move { ada.get(&path).await.seen() }
    }))
    .await;
    assert_eq!(upstream.count(), before + 50);
    let first = all[0].header("authorization");
    assert!(all.iter().all(|seen| seen.header("authorization") == first));
    assert_eq!(provider.exchanges("").await.0, 1);
}

#[tokio::test]
async fn a_token_that_ends_is_exchanged_anew() {
    let (house, _upstream, provider) = house(ORDERS, |plan| plan).await;
    provider.exchanges("?seconds=4").await;
    let (ada, reply) = ada(&house, "/orders/1").await;
    let first = reply.seen().header("authorization").map(str::to_owned);
    for _ in 0..200 {
        let before = now();
        let seen = ada.get("/orders/1").await.seen();
        let told = claims(&seen);
        assert!(told["exp"].as_u64() >= Some(before), "{told}");
        if seen.header("authorization").map(str::to_owned) != first {
            assert!(provider.exchanges("").await.0 >= 2);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is given out for ever");
}

#[tokio::test]
async fn without_a_token_nothing_is_passed_on() {
    let (house, upstream, provider) = house(&format!("{ORDERS}{STOCK}"), |plan| plan).await;
    let (ada, _) = ada(&house, "/page").await;
    let before = upstream.count();
    for (refuse, status, code, hint) in [
        (
            "invalid_target",
            502,
            "token_exchange_refused",
            "audience and resource",
        ),
        ("down", 503, "token_exchange_unavailable", ""),
    ] {
        provider.exchanges(&format!("?refuse={refuse}")).await;
        // A refusal stands for some seconds.
        let path = if refuse == "down" {
            "/stock/1"
        } else {
            "/orders/1"
        };
        let reply = ada.fetch(Method::GET, path).send().await;
        assert_eq!(error(&reply), (status, code.to_owned()), "{}", reply.text());
        assert_eq!(reply.header("retry-after").is_empty(), status == 502);
        let page = ada.get(path).await;
        assert_eq!(page.status.as_u16(), status);
        assert!(page.text().contains("in your name"), "{}", page.text());
        let line = house
            .access_line_where(refuse, |line| {
                line["status"] == status && line["path"] == path
            })
            .await;
        assert_eq!(line["verdict"], "token_exchange");
        assert!(line.to_string().contains(hint), "{line}");
        assert_eq!(upstream.count(), before, "{refuse}");
    }
    let (_, subject) = provider.exchanges("?refuse=").await;
    let log = house.process.log();
    assert!(log.contains("a token could not be exchanged"), "{log}");
    assert!(!log.contains(&subject) && !log.contains("npm-client-secret"));
    // It goes on by itself.
    for _ in 0..200 {
        if ada.get("/orders/1").await.status == StatusCode::OK {
            assert_eq!(ada.get("/stock/1").await.status, StatusCode::OK);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not recover");
}

const SERVICE: &str = "[[service_tokens]]\nname = \"robot\"\nhash = \"HASH\"\n";

#[tokio::test]
async fn whoever_has_no_token_of_a_provider_is_told_so() {
    let made = sidegate().arg("token").output().expect("it runs");
    let made = String::from_utf8(made.stdout).expect("text");
    let word = |start: &str| {
        let mut words = made.split(|letter: char| letter.is_whitespace() || letter == '"');
        words
            .find(|word| word.starts_with(start))
            .expect("a word")
            .to_owned()
    };
    let (token, hash) = (word("sgp_"), word("sha256:"));
    let routes = format!("{ORDERS}{}", SERVICE.replace("HASH", &hash));
    let (house, upstream, provider) = house(&routes, |plan| plan).await;
    let robot = house.browser();
    let asked = robot.bare(Method::GET, "/orders/1");
    let reply = asked
        .header("authorization", &format!("Bearer {token}"))
        .send()
        .await;
    assert_eq!(error(&reply), (403, "no_exchangeable_token".to_owned()));
    let asked = robot.bare(Method::GET, "/page");
    let reply = asked
        .header("authorization", &format!("Bearer {token}"))
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(upstream.count(), 1);
    assert_eq!(provider.exchanges("").await.0, 0);
}

/// A program that brings a token of the provider: its token is exchanged, too.
#[tokio::test]
async fn bearer_tokens_are_exchanged() {
    let provider = NodeProvider::start(300);
    let upstream = Upstream::start().await;
    let table = format!(
        "{}bearer = {{ introspect = true }}\nallow = \"anyone\"\n",
        provider.table()
    );
    let plan = House::plan().upstream(&upstream).named("npm", &table);
    let house = plan.tables(ORDERS).start().await;
    ada(&house, "/orders/1").await;
    let (_, own) = provider.exchanges("").await;
    let program = house.browser();
    let asked = program.bare(Method::GET, "/orders/1");
    let reply = asked
        .header("authorization", &format!("Bearer {own}"))
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(claims(&reply.seen())["aud"], "orders");
    assert!(!reply.text().contains(&own));
}

#[tokio::test]
async fn a_reload_changes_it_and_sessions_from_before_have_to_begin_anew() {
    let plain = "[[routes]]\npath = \"/orders/**\"\naccess = \"login\"\n";
    let (house, upstream, _provider) = house(plain, |plan| plan).await;
    let (ada, reply) = ada(&house, "/orders/1").await;
    assert_eq!(reply.seen().header("authorization"), None);
    house.rewrite(
        "path = \"/orders/**\"\naccess = \"login\"\n",
        "path = \"/orders/**\"\ntoken_exchange = { audience = \"orders\" }\n",
    );
    let mut reply = ada.fetch(Method::GET, "/orders/1").send().await;
    for _ in 0..200 {
        if reply.status != StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        reply = ada.fetch(Method::GET, "/orders/1").send().await;
    }
    assert_eq!(error(&reply), (403, "no_exchangeable_token".to_owned()));
    let page = ada.get("/orders/1").await;
    assert!(page.text().contains("/oauth2/start/npm"), "{}", page.text());
    let before = upstream.count();
    // The provider knows her.
    let back = ada.follow("/oauth2/start/npm?rd=/orders/1").await;
    let back = if back.status == StatusCode::OK && back.url.path().starts_with("/interaction/") {
        node_provider::choose(&ada, &back, "ada").await
    } else {
        back
    };
    assert_eq!(claims(&back.seen())["aud"], "orders");
    assert_eq!(upstream.count(), before + 1);
    house.rewrite("audience = \"orders\"", "audience = \"stock\"");
    for _ in 0..200 {
        if claims(&ada.get("/orders/1").await.seen())["aud"] == "stock" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the audience stays");
}

/// A proxy that serves the app itself gets it with the verdict.
#[tokio::test]
async fn a_proxy_that_asks_gets_the_token_too() {
    let top = "trusted_proxies = [\"127.0.0.0/8\"]\nforward_auth = \"nginx\"";
    let (house, _upstream, provider) =
        house(&format!("{ORDERS}{STOCK}"), |plan| plan.top(top)).await;
    let (ada, _) = ada(&house, "/page").await;
    let ask = async |target: &str| {
        let asked = ada.fetch(Method::GET, "/oauth2/auth");
        let asked = asked.header("x-original-method", "GET");
        asked.header("x-original-uri", target).send().await
    };
    let reply = ask("/orders/1").await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text());
    assert!(reply.header("authorization").starts_with("Bearer ey"));
    assert_eq!(ask("/page").await.header("authorization"), "");
    provider.exchanges("?refuse=invalid_target").await;
    let reply = ask("/stock/1").await;
    assert!(reply.status.is_server_error(), "{}", reply.status);
    assert_eq!(reply.header("authorization"), "");
}

/// Envoy sets it itself, in the place of what the client wrote.
#[tokio::test]
async fn envoy_is_told_of_the_token() {
    let listen = ports::free_address();
    let top = format!("ext_authz_listen = \"{listen}\"");
    let (house, _upstream, provider) = house(ORDERS, |plan| plan.top(&top)).await;
    let (ada, _) = ada(&house, "/page").await;
    let host = house.address.to_string();
    let held = |path: &str| {
        Held::new("GET", &host, path)
            .header("cookie", &ada.cookies("/"))
            .header("authorization", "Custom abc")
    };
    let mut envoy = Envoy::connect(listen).await;
    let told = envoy.ask(&held("/orders/1")).await;
    assert_eq!(told.status(), 200, "{told:?}");
    assert!(
        told.header("authorization").starts_with("Bearer ey"),
        "{told:?}"
    );
    let told = envoy.ask(&held("/page")).await;
    assert_eq!(told.header("authorization"), "Custom abc");
    assert_eq!(provider.exchanges("").await.0, 1);
}

#[test]
fn the_check_says_what_does_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidegate.toml");
    let check = |kind: &str, rest: &str| {
        let text = format!(
            "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
             [providers.one]\n{kind}\nclient_id = \"app\"\nclient_secret = \"client-words-of-length\"\nallow = \"anyone\"\n{rest}",
        );
        fs::write(&file, text).expect("written");
        let output = sidegate().args(["check", "-c"]).arg(&file).output();
        let output = output.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let oidc = "type = \"oidc\"\nissuer = \"https://login.example.com\"";
    let github = "type = \"github\"";
    let (passed, said) = check(oidc, ORDERS);
    assert!(passed && !said.contains("token_exchange"), "{said}");
    let (passed, said) = check(
        oidc,
        &format!("{ORDERS}[headers]\nset = {{ X-Token = \"access_token\" }}\n"),
    );
    assert!(
        passed && said.contains("and X-Token of [headers] tells it"),
        "{said}"
    );
    let two = format!(
        "{ORDERS}[providers.hub]\ntype = \"github\"\nclient_id = \"app\"\nclient_secret = \"client-words-of-length\"\nallow = \"anyone\"\n"
    );
    let (passed, said) = check(oidc, &two);
    assert!(
        passed && said.contains("token_exchange lets nobody pass of hub"),
        "{said}"
    );
    let route = |rest: &str| format!("[[routes]]\npath = \"/orders/**\"\n{rest}\n");
    for (kind, rest, message) in [
        (
            oidc,
            format!("{ORDERS}[headers]\nset = {{ Authorization = \"access_token\" }}\n"),
            "token_exchange writes Authorization",
        ),
        (github, ORDERS.to_owned(), "token_exchange lets nobody pass"),
        (oidc, route("token_exchange = {}"), "does not say for what"),
        (
            oidc,
            route("token_exchange = { scopes = [\"read\"] }"),
            "does not say for what",
        ),
        (
            oidc,
            route("token_exchange = { audience = \"\" }"),
            "`audience` is empty",
        ),
        (
            oidc,
            route("token_exchange = { resource = \"orders\" }"),
            "is no address of a service",
        ),
        (
            oidc,
            route("access = \"public\"\ntoken_exchange = { audience = \"orders\" }"),
            "this route asks for none",
        ),
    ] {
        let (passed, said) = check(kind, &rest);
        assert!(!passed && said.contains(message), "{rest}: {said}");
    }
}

/// The block at the beginning of the page is what the gate runs with here.
#[tokio::test]
async fn the_page_begins_with_what_works() {
    let page = fs::read_to_string(root().join("docs/token-exchange.md")).expect("the page");
    let (_, block) = page.split_once("```toml\n").expect("a block");
    let (block, _) = block.split_once("\n```").expect("its end");
    let (house, _upstream, _provider) = house(&format!("{block}\n"), |plan| plan).await;
    let (_, reply) = ada(&house, "/orders/1").await;
    assert_eq!(claims(&reply.seen())["aud"], "orders");
}
