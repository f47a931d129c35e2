//! What does not fit between the gate's setup and the provider: the page names the class, the log what to try, and
//! `check --online` finds it before anybody signs in. And what may change without logging anybody out.

use std::process::Output;

use http::StatusCode;
use serde_json::json;

use super::table;
use crate::support::{
    House, ScriptedProvider, Upstream, arranged,
    behaviour::Behaviour,
    house::sidegate,
    provider::{CLIENT_SECRET, now},
    servers::{OAuthServer, SECRET, github},
};

/// The page's text and the log's detail of a login that fails.
async fn failed(change: impl FnOnce(&mut Behaviour)) -> (String, String) {
    let (house, _upstream, _provider) = arranged(change, |plan| plan).await;
    let page = house.browser().follow("/").await;
    assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{}", page.text());
    let line = house.access_line("/oauth2/callback/script").await;
    let detail = line["detail"].as_str().unwrap_or_default().to_owned();
    (page.text(), detail)
}

#[tokio::test]
async fn the_page_names_what_does_not_fit_and_the_log_what_to_try() {
    let (page, log) = failed(|behaviour| behaviour.client_secret = "another".to_owned()).await;
    assert!(page.contains("client secret"), "{page}");
    assert!(
        log.contains("client_auth = \\\"post\\\"") || log.contains("client_auth = \"post\""),
        "{log}"
    );

    let (page, log) = failed(|behaviour| {
        behaviour.error = Some(("invalid_scope".to_owned(), "groups".to_owned()));
    })
    .await;
    assert!(page.contains("scope"), "{page}");
    assert!(log.contains("invalid_scope"), "{log}");

    let (page, log) = failed(|behaviour| {
        behaviour.id_token = json!({ "iss": "https://another.example" });
    })
    .await;
    assert!(page.contains("issuer"), "{page}");
    assert!(log.contains("write issuer as the provider does"), "{log}");

    let (page, log) = failed(|behaviour| {
        behaviour.id_token = json!({ "iat": now() - 7_200, "exp": now() - 3_600 });
    })
    .await;
    assert!(page.contains("clock"), "{page}");
    assert!(log.contains("check --online"), "{log}");
}

/// What `sidegate check` says, and with which status.
async fn check(tables: &str, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let text = format!(
        "upstream = \"http://127.0.0.1:9\"\npublic_url = \"https://app.example.com\"\n{tables}"
    );
    let run = move || -> Output {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.toml");
        std::fs::write(&file, text).expect("the file is written");
        let mut command = sidegate();
        command.args(["check", "-c"]).arg(&file).args(arguments);
        command.output().expect("the binary runs")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it ran");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

const ONLINE: &[&str] = &["--online"];

#[tokio::test]
async fn the_client_secret_is_tried_and_nothing_is_spent() {
    let provider = ScriptedProvider::start().await;
    let tables = format!("[providers.corp]\n{}", table(&provider.issuer(), ""));
    let (status, said) = check(&tables, ONLINE).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("ok: accepts the client id and secret"),
        "{said}"
    );
    let codes: Vec<_> = provider
        .calls("/token")
        .iter()
        .map(|call| call.fields["code"].clone())
        .collect();
    assert!(
        codes.iter().all(|code| code.starts_with("sidegate-check-")),
        "{codes:?}"
    );
    assert_eq!(provider.calls("/authorize").len(), 0);

    provider.set(|behaviour| behaviour.client_auth = Some("post"));
    let (status, said) = check(&tables, ONLINE).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("client_auth = \"post\""), "{said}");
    let posting = tables.clone() + "client_auth = \"post\"\n";
    let (status, said) = check(&posting, ONLINE).await;
    assert_eq!(status, Some(0), "{said}");

    provider.set(|behaviour| behaviour.client_secret = "another".to_owned());
    let (status, said) = check(&tables, ONLINE).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("see client_id and client_secret"), "{said}");
    assert!(!said.contains(CLIENT_SECRET), "{said}");
}

#[tokio::test]
async fn scopes_that_the_provider_does_not_list_are_told() {
    let provider = ScriptedProvider::start().await;
    let lines = "scopes = [\"openid\", \"profile\", \"offline_access\"]";
    let tables = format!("[providers.corp]\n{}", table(&provider.issuer(), lines));
    let (status, said) = check(&tables, ONLINE).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("warning: scope \"offline_access\""), "{said}");
    assert!(!said.contains("scope \"profile\""), "{said}");
}

/// GitHub says no with status 200, in words of its own.
#[tokio::test]
async fn plain_oauth_is_tried_too() {
    let server = OAuthServer::start(&github::SCRIPT).await;
    let tables = |secret: &str| {
        format!(
            "[providers.github]\nbase_url = \"{}\"\nclient_id = \"app\"\nclient_secret = \"{secret}\"\nallow = \"anyone\"\n",
            server.url()
        )
    };
    let (status, said) = check(&tables(SECRET), ONLINE).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("ok: accepts the client id and secret"),
        "{said}"
    );
    let (status, said) = check(&tables("another"), ONLINE).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("see client_id and client_secret"), "{said}");
}

#[tokio::test]
async fn plain_http_takes_the_operators_word() {
    let tables = |lines: &str| {
        format!(
            "[providers.corp]\n{}",
            table("http://keycloak:8080/realms/x", lines)
        )
    };
    let (status, said) = check(&tables(""), &[]).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("insecure_http = true"), "{said}");
    let (status, said) = check(&tables("insecure_http = true"), &[]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("warning: providers.corp has insecure_http"),
        "{said}"
    );
    let (status, said) = check(&tables("insecure_http = true\nca = \"no-such-file\""), &[]).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("cannot read"), "{said}");
}

/// The line that does not parse may be the one with the secret, whatever its key is called.
#[tokio::test]
async fn a_file_that_is_no_toml_is_told_without_its_lines() {
    for line in [
        "client_secrt = \"hunter2",
        "client_secret = \"hunter2\" hunter2",
        "klient = hunter2",
        "klient = 'hunter2",
        "\"hunter2",
        "proxy_url = \"http://ann:hunter2@proxy",
        "x = 1\nx = \"hunter2\"",
    ] {
        let (status, said) = check(&format!("[providers.corp]\n{line}\n"), &[]).await;
        assert_eq!(status, Some(2), "{said}");
        assert!(!said.contains("hunter"), "{line}: {said}");
        // Line and column.
        assert!(
            said.contains("test.toml:4:") || said.contains("test.toml:5:"),
            "{said}"
        );
    }
}

/// What stands in the way of nobody's identity may change without logging anybody out.
#[tokio::test]
async fn new_addresses_of_the_same_issuer_log_nobody_out() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let first = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .start()
        .await;
    let browser = first.browser();
    browser.sign_in("/").await;
    let public_url = first.public_url.clone();
    let address = first.address;
    drop(first);
    let issuer = provider.issuer();
    let lines = [
        format!("end_session_url = \"{issuer}/logout\""),
        format!("userinfo_url = \"{issuer}/userinfo\""),
        format!("revocation_url = \"{issuer}/revoke\""),
    ]
    .join("\n");
    let second = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .provider_line(&lines)
        .public_url(&public_url)
        .start_at(address)
        .await;
    let page = browser.moved_to(&second).get("/").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
}
