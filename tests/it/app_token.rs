//! `PREFIX/token`: the app asks for the access token of the session that a request came with; nobody else gets one.

use std::{fs, net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, arranged,
    house::{Plan, root, sidegate},
    ports, raw, standard_with,
};

const SECRET: &str = "uT5rWq8zKd3mXc7vBn1sLp9eYg2hJf4a";
const TABLE: &str = "[app]\nsecret = \"uT5rWq8zKd3mXc7vBn1sLp9eYg2hJf4a\"\n";

async fn house(change: impl FnOnce(Plan) -> Plan) -> (House, Upstream, ScriptedProvider) {
    let plan = |plan: Plan| change(plan.session("store = \"memory\"").tables(TABLE));
    standard_with(plan).await
}

/// What the app gets beside a request of this browser.
async fn handle(browser: &Browser) -> String {
    let seen = browser.get("/page").await.seen();
    seen.header("x-user-session").expect("a handle").to_owned()
}

fn credentials(handle: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{handle}:{secret}")))
}

/// The app asks.
async fn ask(house: &House, handle: &str, secret: &str) -> Reply {
    let app = house.browser();
    let asked = app.bare(Method::GET, "/oauth2/token");
    let asked = asked.header("authorization", &credentials(handle, secret));
    asked.send().await
}

fn refusal(reply: &Reply) -> (u16, String) {
    let error = reply.json()["error"].as_str().expect("an error").to_owned();
    (reply.status.as_u16(), error)
}

#[tokio::test]
async fn the_app_gets_the_token_of_the_session_that_a_request_came_with() {
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    let given = reply.json();
    let token = given["access_token"].as_str().expect("a token");
    assert!(token.starts_with("canary-access-token-"), "{token}");
    assert_eq!(given["token_type"], "Bearer");
    assert_eq!(given["provider"], "script");
    assert_eq!(given["user_id"], "script:ada-1815");
    // Whoever signs out takes it along.
    let signed_out = ada
        .navigate("/oauth2/sign_out")
        .method(Method::POST)
        .header("origin", &house.public_url)
        .send()
        .await;
    assert!(signed_out.status.is_redirection(), "{}", signed_out.text());
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
}

#[tokio::test]
async fn neither_the_handle_nor_the_secret_is_worth_anything_alone() {
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    for secret in ["", "x", &SECRET[1..], &handle] {
        let reply = ask(&house, &handle, secret).await;
        assert_eq!(refusal(&reply), (401, "unauthorized".to_owned()));
        assert!(reply.header("www-authenticate").starts_with("Basic "));
    }
    let stranger = house.browser();
    let reply = stranger.bare(Method::GET, "/oauth2/token").send().await;
    assert_eq!(refusal(&reply), (401, "unauthorized".to_owned()));
    let cut = &handle[1..];
    for other in ["", "x", cut, &format!("{handle}x")] {
        let reply = ask(&house, other, SECRET).await;
        assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
    }
    // A handle is no cookie, and a cookie is no handle.
    let cookie = ada.cookies("/");
    let value = cookie.split_once('=').expect("a cookie").1;
    let reply = ask(&house, value, SECRET).await;
    assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
    // What a client writes never arrives.
    let forged = house.browser();
    forged.sign_in("/").await;
    let seen = forged.navigate("/page").header("X-User-Session", &handle);
    let seen = seen.send().await.seen();
    assert_ne!(seen.header("x-user-session"), Some(&*handle));
}

#[tokio::test]
async fn browsers_and_other_machines_are_refused_even_with_the_secret() {
    let (house, _upstream, _provider) =
        house(|plan| plan.top("trusted_proxies = [\"127.0.0.0/8\"]")).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    for (name, value, error) in [
        ("origin", "https://evil.example", "browser"),
        ("sec-fetch-site", "same-origin", "browser"),
        ("cookie", "a=b", "browser"),
        ("x-forwarded-for", "192.0.2.7", "not_local"),
        ("x-forwarded-for", "127.0.0.1, 192.0.2.7", "not_local"),
        ("x-forwarded-for", "127.0.0.1", "not_local"),
        ("forwarded", "for=127.0.0.1", "not_local"),
        ("x-real-ip", "127.0.0.1", "not_local"),
        ("via", "1.1 proxy", "not_local"),
    ] {
        // A client cannot have a proxy's word taken away, by naming it as one of the connection.
        for connection in ["keep-alive", "via, x-forwarded-for, forwarded, x-real-ip"] {
            let app = house.browser();
            let reply = app
                .bare(Method::GET, "/oauth2/token")
                .header("authorization", &credentials(&handle, SECRET))
                .header("connection", connection)
                .header(name, value)
                .send()
                .await;
            assert_eq!(refusal(&reply), (403, error.to_owned()), "{name}: {value}");
            assert!(!reply.text().contains("access_token\":"));
        }
    }
    // Programs name their requests.
    let app = house.browser();
    let asked = app.bare(Method::GET, "/oauth2/token");
    let asked = asked.header("authorization", &credentials(&handle, SECRET));
    let reply = asked.header("x-request-id", "abc").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = app.bare(Method::POST, "/oauth2/token").send().await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// What the gate answers over this connection, and the JSON of it.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    head: &str,
) -> (u16, serde_json::Value) {
    let request = format!("{head}\r\nHost: app\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let json = serde_json::from_str(body).unwrap_or_default();
    (raw::status(&answer), json)
}

async fn ask_at(address: SocketAddr, head: &str) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    exchange(&mut stream, head).await
}

fn get(handle: &str, secret: &str) -> String {
    let credentials = credentials(handle, secret);
    format!("GET /oauth2/token HTTP/1.1\r\nAuthorization: {credentials}")
}

/// A proxy is likely to be the other end of a Unix socket, and some name nobody.
#[tokio::test]
async fn a_unix_socket_for_everybody_is_not_the_apps() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let address = ports::free_address();
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("gate.sock");
    let listen = format!("listen = [\"{address}\", \"unix:{}\"]", socket.display());
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let plan = plan.listen(&listen).tables(TABLE);
    let house = plan.start_at(address).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    let mut stream = UnixStream::connect(&socket).await.expect("it listens");
    let (status, said) = exchange(&mut stream, &get(&handle, SECRET)).await;
    assert_eq!((status, &said["error"]), (403, &json!("not_local")));
    let (status, _) = ask_at(house.address, &get(&handle, SECRET)).await;
    assert_eq!(status, 200);
}

/// Behind a proxy that speaks the PROXY protocol nobody is on this machine, whatever address it tells, or none.
#[tokio::test]
async fn who_comes_by_the_proxy_protocol_is_not_local() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let (address, behind) = (ports::free_address(), ports::free_address());
    let listen = format!("listen = [\"{address}\", \"{behind} proxy_protocol\"]");
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let house = plan.listen(&listen).tables(TABLE).start_at(address).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    for told in [
        "PROXY UNKNOWN",
        "PROXY TCP4 127.0.0.1 127.0.0.1 51234 443",
        "PROXY TCP6 ::1 ::1 51234 443",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234 443",
    ] {
        let mut stream = TcpStream::connect(behind).await.expect("it listens");
        let told = format!("{told}\r\n");
        stream.write_all(told.as_bytes()).await.expect("sent");
        let (status, said) = exchange(&mut stream, &get(&handle, SECRET)).await;
        assert_eq!(
            (status, &said["error"]),
            (403, &json!("not_local")),
            "{told}"
        );
    }
    assert_eq!(ask_at(house.address, &get(&handle, SECRET)).await.0, 200);
}

/// With `listen` the app asks there, and nobody asks anywhere else.
#[tokio::test]
async fn a_listener_of_its_own_is_the_only_place_then_and_a_reload_moves_it() {
    let own = ports::free_address();
    let table = format!("{TABLE}listen = \"{own}\"\n");
    let (house, _upstream, _provider) =
        standard_with(|plan: Plan| plan.session("store = \"memory\"").tables(&table)).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    let (status, given) = ask_at(own, &get(&handle, SECRET)).await;
    assert_eq!(
        (status, &given["user_id"]),
        (200, &json!("script:ada-1815"))
    );
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let (status, said) = ask_at(own, &get(&handle, "wrong")).await;
    assert_eq!((status, &said["error"]), (401, &json!("unauthorized")));
    let page = format!("{}\r\nSec-Fetch-Site: none", get(&handle, SECRET));
    let (status, said) = ask_at(own, &page).await;
    assert_eq!((status, &said["error"]), (403, &json!("browser")));
    for (head, expected) in [
        ("GET / HTTP/1.1", 404),
        ("GET /page HTTP/1.1", 404),
        ("GET /oauth2/userinfo HTTP/1.1", 404),
        ("GET /oauth2/token/ HTTP/1.1", 404),
        ("POST /oauth2/token HTTP/1.1", 405),
    ] {
        assert_eq!(ask_at(own, head).await.0, expected, "{head}");
    }
    let line = house
        .access_line_where("the app's request", |line| {
            line["path"] == "/oauth2/token" && line["status"] == 200
        })
        .await;
    assert_eq!(line["verdict"], "own");
    assert!(!line.to_string().contains(&handle));

    let moved = ports::free_address();
    house.rewrite(&own.to_string(), &moved.to_string());
    for _ in 0..200 {
        if TcpStream::connect(own).await.is_err() && TcpStream::connect(moved).await.is_ok() {
            assert_eq!(ask_at(moved, &get(&handle, SECRET)).await.0, 200);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it has not moved");
}

/// The authorization server has the same address, with POST.
#[tokio::test]
async fn the_issuers_token_endpoint_goes_on_beside_it() {
    let (house, _upstream, _provider) =
        house(|plan| plan.tables("[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n")).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let reply = ask(&house, &handle(&ada).await, SECRET).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let client = house.browser();
    let asked = client.bare(Method::POST, "/oauth2/token");
    let asked = asked.header("content-type", "application/x-www-form-urlencoded");
    let reply = asked
        .body("grant_type=authorization_code&code=x")
        .send()
        .await;
    assert!(
        ["invalid_client", "invalid_request", "invalid_grant"]
            .contains(&reply.json()["error"].as_str().expect("an error")),
        "{}",
        reply.text()
    );
    // And it is no place for the app's secret.
    let asked = client.bare(Method::POST, "/oauth2/token");
    let asked = asked.header("authorization", &credentials("x", SECRET));
    assert_ne!(asked.send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn wrong_secrets_are_held_up_and_the_right_one_is_not() {
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    for _ in 0..200 {
        let reply = ask(&house, &handle, "a guess").await;
        if reply.status == StatusCode::UNAUTHORIZED {
            continue;
        }
        assert_eq!(refusal(&reply), (429, "too_many_guesses".to_owned()));
        assert_ne!(reply.header("retry-after"), "");
        let reply = ask(&house, &handle, SECRET).await;
        assert_eq!(reply.status, StatusCode::OK);
        return;
    }
    panic!("two hundred guesses, and none was held up");
}

/// There is no ticket then: the handle is the session, without what renews it.
#[tokio::test]
async fn sessions_in_cookies_have_a_handle_too() {
    let (house, _upstream, _provider) = standard_with(|plan: Plan| plan.tables(TABLE)).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    assert!(handle.len() < 6 * 1024, "{}", handle.len());
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let token = reply.json()["access_token"].clone();
    assert!(
        token
            .as_str()
            .is_some_and(|token| token.starts_with("canary-access-token-")),
        "{token}"
    );
    // It is no cookie, and a cookie is no handle.
    let cookie = ada.cookies("/");
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let reply = ask(&house, value, SECRET).await;
    assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
    let thief = house.browser();
    thief.plant(name, &handle);
    let reply = thief.bare(Method::GET, "/oauth2/userinfo").send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    // Whoever signs out takes it along.
    let signed_out = ada.navigate("/oauth2/sign_out").method(Method::POST);
    signed_out.header("origin", &house.public_url).send().await;
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
}

#[tokio::test]
async fn a_session_too_large_for_a_header_has_no_handle() {
    let (house, _upstream, _provider) = arranged(
        |behaviour| {
            let groups = (0..180).map(|number| format!("a-group-of-thirty-letters-{number:04}"));
            behaviour.user["groups"] = groups.collect::<Vec<_>>().into();
        },
        |plan| plan.tables(TABLE),
    )
    .await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let seen = ada.get("/page").await.seen();
    assert_eq!(seen.header("x-user-session"), None);
    for _ in 0..500 {
        if house.process.log().contains("the app gets no handle") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", house.process.log());
}

#[tokio::test]
async fn a_token_that_is_over_is_renewed_and_never_given() {
    let (house, _upstream, provider) = arranged(
        |behaviour| behaviour.expires_in = json!(2),
        |plan| plan.session("store = \"memory\"").tables(TABLE),
    )
    .await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..50 {
        let reply = ask(&house, &handle, SECRET).await;
        if reply.status == StatusCode::OK {
            assert!(provider.renewals() > 0);
            assert!(reply.json()["expires_in"].as_u64() > Some(0));
            return;
        }
        assert_eq!(refusal(&reply), (503, "token_over".to_owned()));
        assert_eq!(reply.header("retry-after"), "2");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no token in time");
}

/// How long the token lasts that the app gets.
fn lasts(reply: &Reply) -> u64 {
    let text = reply.text();
    assert_eq!(reply.status, StatusCode::OK, "{text}");
    reply.json()["expires_in"].as_u64().expect("an end")
}

/// Nothing can be renewed for the app there, as the browser would not learn of it. So each request comes with a token that lasts for
/// a while, and what comes of a later request serves the handles of earlier ones, too.
#[tokio::test]
async fn sessions_in_cookies_come_with_a_token_that_lasts() {
    let (house, _upstream, provider) = arranged(
        |behaviour| behaviour.expires_in = json!(30),
        |plan| plan.tables(TABLE),
    )
    .await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let first = handle(&ada).await;
    // The app's questions alone renew nothing.
    while lasts(&ask(&house, &first, SECRET).await) > 15 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(provider.renewals(), 0);
    // Now half of it is over. A request waits for another, though not for ever.
    for _ in 0..20 {
        let later = handle(&ada).await;
        if lasts(&ask(&house, &later, SECRET).await) > 15 {
            assert_eq!(provider.renewals(), 1);
            assert!(lasts(&ask(&house, &first, SECRET).await) > 10);
            // The browser has it, too.
            assert_eq!(ada.get("/page").await.status, StatusCode::OK);
            assert_eq!(provider.renewals(), 1);
            return;
        }
    }
    panic!("no request has brought a token that lasts");
}

/// The end of a token that nothing renews is known, too.
#[tokio::test]
async fn a_token_without_a_successor_is_not_given_beyond_its_end() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, _provider) = arranged(
            |behaviour| behaviour.expires_in = json!(3),
            |plan| {
                let plan = plan.session(&format!("store = \"{store}\""));
                plan.tables(TABLE).provider_line("refresh = false")
            },
        )
        .await;
        let ada = house.browser();
        ada.sign_in("/").await;
        let handle = handle(&ada).await;
        let end = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let reply = ask(&house, &handle, SECRET).await;
            if reply.status != StatusCode::OK {
                assert_eq!(refusal(&reply), (404, "token_ended".to_owned()), "{store}");
                break;
            }
            assert!(lasts(&reply) <= 3 && std::time::Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // The session goes on.
        assert_eq!(ada.get("/page").await.status, StatusCode::OK);
    }
}

/// Who may open the socket is for its folder to say.
#[tokio::test]
async fn the_apps_own_place_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("app.sock");
    let table = format!("{TABLE}listen = \"unix:{}\"\n", socket.display());
    let (house, _upstream, _provider) = standard_with(|plan: Plan| plan.tables(&table)).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    let connect = || async { UnixStream::connect(&socket).await.expect("it listens") };
    let (status, given) = exchange(&mut connect().await, &get(&handle, SECRET)).await;
    assert_eq!(
        (status, &given["user_id"]),
        (200, &json!("script:ada-1815"))
    );
    let (status, said) = exchange(&mut connect().await, &get(&handle, "wrong")).await;
    assert_eq!((status, &said["error"]), (401, &json!("unauthorized")));
    for (head, expected) in [
        ("GET / HTTP/1.1", 404),
        ("GET /oauth2/userinfo HTTP/1.1", 404),
    ] {
        assert_eq!(exchange(&mut connect().await, head).await.0, expected);
    }
    // Nobody asks in public then.
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

/// Without `[app]` there is neither address nor header.
#[tokio::test]
async fn without_a_secret_there_is_nothing() {
    let (house, _upstream, _provider) =
        standard_with(|plan: Plan| plan.session("store = \"memory\"")).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let seen = ada.get("/page").await.seen();
    assert_eq!(seen.header("x-user-session"), None);
    let reply = ask(&house, "x", SECRET).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

/// The block at the beginning of the page is what the gate runs with here.
#[tokio::test]
async fn the_page_begins_with_what_works() {
    let page = fs::read_to_string(root().join("docs/app-token.md")).expect("the page");
    let (_, block) = page.split_once("```toml\n").expect("a block");
    let (block, _) = block.split_once("\n```").expect("its end");
    let own = ports::free_address();
    let block = block.replace("127.0.0.1:4183", &own.to_string());
    let (house, _upstream, _provider) =
        standard_with(|plan: Plan| plan.tables(&block).environment("APP_SECRET", SECRET)).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let (status, _) = ask_at(own, &get(&handle(&ada).await, SECRET)).await;
    assert_eq!(status, 200);
}

#[test]
fn the_check_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidegate.toml");
    let check = |rest: &str, login: bool| {
        let text = format!(
            "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n{rest}\n\
             [providers.corp]\ntype = \"oidc\"\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\n\
             client_secret = \"client-words-of-length\"\nallow = \"anyone\"\n{}",
            if login {
                ""
            } else {
                "login = false\nbearer = { audience = [\"api\"] }\n"
            }
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
    let store = "[session]\nstore = \"memory\"\n";
    for good in [
        TABLE.to_owned(),
        format!("{store}{TABLE}listen = \"127.0.0.1:4183\"\n"),
    ] {
        let (passed, said) = check(&good, true);
        assert!(passed && !said.contains("app.listen is"), "{said}");
    }
    let open = check(&format!("{TABLE}listen = \"0.0.0.0:4183\"\n"), true);
    assert!(
        open.0 && open.1.contains("app.listen is open to other machines"),
        "{}",
        open.1
    );
    for (rest, login, message) in [
        (
            format!("{store}{TABLE}"),
            false,
            "nobody signs in at a provider",
        ),
        (format!("{store}[app]\n"), true, "`secret` is missing"),
        (
            format!("{store}[app]\nsecret = \"short\"\n"),
            true,
            "the app's secret is weak",
        ),
        (
            format!("{store}{TABLE}header = \"X-User\"\n"),
            true,
            "the header x-user says something else already",
        ),
        (
            format!("{store}{TABLE}listen = \"127.0.0.1:4180\"\n"),
            true,
            "`app.listen` is also in `listen`",
        ),
        (
            format!("admin_listen = \"127.0.0.1:4181\"\n{TABLE}listen = \"0.0.0.0:4181\"\n"),
            true,
            "`app.listen` is also in `admin_listen`",
        ),
        (
            format!("{store}{TABLE}header = \"Cookie\"\n"),
            true,
            "`Cookie` cannot be set",
        ),
    ] {
        let (passed, said) = check(&rest, login);
        assert!(!passed && said.contains(message), "{rest}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}
