//! Traefik, by what it sends, byte for byte, and by what it makes of an answer.

use super::{
    Page, SITE,
    journey::MISLEADING,
    scripted::{Client, Outcome, list_after},
    with_lines,
};
use crate::support::{House, ScriptedProvider, Upstream};

/// `forwardAuth` without `trustForwardHeader`: it writes these five, and copies what the client sent but for them and for
/// what belongs to the connection. Go writes names in its own capitals.
fn question(client: &Client<'_>) -> String {
    let (method, uri) = (client.method, client.uri);
    let own = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "connection",
        "upgrade",
    ];
    let copied = client.lines(|name| !own.contains(&name));
    format!(
        "GET /oauth2/forward HTTP/1.1\r\nHost: sidegate:4180\r\n{copied}X-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Host: app.example.com\r\nX-Forwarded-Method: {method}\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Uri: {uri}\r\nAccept-Encoding: gzip\r\n\r\n"
    )
}

/// A name with an underscore in the place of one hyphen, or of more.
fn misspelt(name: &str) -> Vec<String> {
    let mut spellings = vec![String::new()];
    for letter in name.chars() {
        let choices = if letter == '-' { "-_" } else { "" };
        let grown = spellings.iter().flat_map(|begun| {
            let choices = choices.chars().chain((letter != '-').then_some(letter));
            choices.map(move |letter| format!("{begun}{letter}"))
        });
        spellings = grown.collect();
    }
    spellings.retain(|spelling| spelling.contains('_'));
    spellings
}

#[tokio::test]
async fn traefik_asks_the_gate() {
    let page = Page::open("traefik");
    let recipe = page.block("yaml");
    let copied = list_after(&recipe, "authResponseHeaders: [");
    let (_, spellings) = recipe.split_once("customRequestHeaders:\n").unwrap();
    let removed: Vec<_> = spellings
        .lines()
        .map_while(|line| line.trim().strip_suffix(": \"\""))
        .map(str::to_ascii_lowercase)
        .collect();
    for name in copied.iter().filter(|name| *name != "cookie") {
        for spelling in misspelt(name) {
            assert!(removed.contains(&spelling), "{spelling} reaches the app");
        }
    }
    for name in MISLEADING {
        let name = name.to_ascii_lowercase();
        assert!(removed.contains(&name), "{name} reaches the app");
        for spelling in misspelt(&name) {
            assert!(removed.contains(&spelling), "{spelling} reaches the app");
        }
    }
    // To sign in at; what the proxy serves is not asked here.
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let lines = page.block("toml").replace("10.0.0.0/8", "127.0.0.0/8");
    let plan = House::plan()
        .public_url(SITE)
        .upstream(&upstream)
        .provider(&provider)
        .route("/public/**", "public");
    let house = with_lines(plan, &lines).start().await;
    let browser = house.browser();
    let ask = async |client: Client<'_>| {
        let client = client.without(|name| removed.iter().any(|removed| removed == name));
        let answer = client.exchange(&house, &question(&client)).await;
        client.outcome(&answer, &copied, true)
    };

    let stranger = |uri| Client::navigating(uri).forged();
    let Outcome::Answer(status, headers) = ask(stranger("/a?b=1")).await else {
        panic!("nobody passes")
    };
    assert_eq!(status, 302);
    let login = format!("{SITE}/oauth2/sign_in?rd=%2Fa%3Fb%3D1");
    assert!(headers.contains(&("location".to_owned(), login)));
    let Outcome::Answer(401, _) = ask(Client::program("/a")).await else {
        panic!("nobody passes")
    };
    for (name, value) in [
        ("x-forwarded-uri", "/public/x"),
        ("x-forwarded-method", "GET"),
        ("x-original-uri", "/public/x"),
        ("x-forwarded-host", "evil.example"),
    ] {
        let Outcome::Answer(302, _) = ask(stranger("/a").header(name, value)).await else {
            panic!("{name} opens a door")
        };
    }
    let Outcome::Passes(seen) = ask(stranger("/public/x")).await else {
        panic!("anybody passes")
    };
    assert!(!format!("{seen:?}").contains("mallory"), "{seen:?}");

    browser.sign_in("/").await;
    let cookie = format!("theme=dark; {}", browser.cookies("/"));
    let ada = || stranger("/a").header("cookie", &cookie);
    let Outcome::Passes(seen) = ask(ada()).await else {
        panic!("she passes")
    };
    let all = format!("{seen:?}");
    assert!(
        !all.contains("mallory") && !all.contains("__Host-"),
        "{all}"
    );
    for (name, value) in [
        ("x-user", "ada"),
        ("x-user-groups", "engineers"),
        ("x-user-groups-missing", ""),
        ("cookie", "theme=dark"),
    ] {
        assert!(
            seen.contains(&(name.to_owned(), value.to_owned())),
            "{name}: {all}"
        );
    }
    let socket = |origin| {
        ada()
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
            .header("origin", origin)
    };
    assert!(matches!(ask(socket(SITE)).await, Outcome::Passes(_)));
    let evil = ask(socket("https://evil.example")).await;
    assert!(matches!(evil, Outcome::Answer(403, _)), "{evil:?}");
    // A router of its own keeps these from outside; whoever asks about them is refused anyway.
    let door = ask(stranger("/oauth2/forward").header("cookie", &cookie)).await;
    assert!(matches!(door, Outcome::Answer(403, _)), "{door:?}");
    let rule = "PathPrefix(`/oauth2/`) && !Path(`/oauth2/auth`) && !PathPrefix(`/oauth2/auth/`) && \
                !Path(`/oauth2/forward`) && !PathPrefix(`/oauth2/forward/`)";
    assert!(recipe.contains(rule), "{recipe}");

    let out = browser.fetch(http::Method::POST, "/oauth2/sign_out");
    out.header("origin", SITE).send().await;
    assert!(matches!(ask(ada()).await, Outcome::Answer(302, _)));
}
