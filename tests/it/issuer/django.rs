//! The Django app of docs/authorization-server.md, with mozilla-django-oidc, whose users sign in at the gate, which has them sign in at npm's
//! provider.

use std::fs;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    apps::{gunicorn, place},
    support::{Browser, House, Upstream, house::root, node_provider},
};

/// The blocks of the page from which Django is set up, and the client's table.
fn blocks() -> (String, [String; 2]) {
    let page = fs::read_to_string(root().join("docs/authorization-server.md")).expect("the page");
    let (_, section) = page
        .split_once("## Signing in to other apps")
        .expect("its section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let block = |text: &str, language: &str, place: usize| {
        let opening = format!("```{language}\n");
        let rest = text.split(&opening).nth(place).expect("a block");
        rest.split_once("```").expect("its end").0.to_owned()
    };
    let python = [1, 2].map(|place| block(section, "python", place));
    (block(section, "toml", 1), python)
}

async fn whoami(browser: &Browser, app: &str) -> Value {
    browser.get(&format!("{app}/page")).await.json()
}

#[tokio::test]
async fn a_django_app_signs_its_users_in_and_out_at_the_gate() {
    const HASH: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let (address, folder) = place();
    let app = format!("http://{address}");
    let (table, [settings, module]) = blocks();
    let table = table
        .replace("https://wiki.example.com", &app)
        .replace("sha256:…", HASH);
    let upstream = Upstream::start().await;
    let tables = format!("[issuer]\n{table}");
    let house = House::plan().upstream(&upstream).npm().tables(&tables);
    let house = house.start().await;

    let at = |text: &str| {
        let text = text.replace("https://app.example.com", &house.public_url);
        text.replace("os.environ[\"OIDC_RP_CLIENT_SECRET\"]", "\"secret\"")
    };
    fs::create_dir(folder.path().join("wiki")).expect("a folder");
    fs::write(folder.path().join("settings.py"), at(&settings)).expect("a file");
    fs::write(folder.path().join("wiki/oidc.py"), at(&module)).expect("a file");
    let django = gunicorn("oidc_app", address, &folder).await;

    let browser = house.browser();
    assert_eq!(whoami(&browser, &app).await["email"], Value::Null);
    let login = format!("{app}/oidc/authenticate/?next=/page");
    let page = browser.follow(&login).await;
    let page = node_provider::choose(&browser, &page, "ada").await;
    assert_eq!(page.url.as_str(), format!("{app}/page"), "{}", django.log());
    assert_eq!(page.json()["email"], "ada@example.com");
    // The gate has a session now, and asks nothing.
    let elsewhere = house.browser();
    assert_eq!(whoami(&elsewhere, &app).await["email"], Value::Null);
    browser.jar().forget("sessionid");
    assert_eq!(whoami(&browser, &app).await["email"], Value::Null);
    let page = browser.follow(&login).await;
    assert_eq!(page.json()["email"], "ada@example.com", "{}", django.log());

    // Nobody vouches for Bob's address, so the app does not learn it.
    let page = elsewhere.follow(&login).await;
    let page = node_provider::choose(&elsewhere, &page, "bob").await;
    assert_eq!(page.url.as_str(), format!("{app}/"), "{}", django.log());
    assert_eq!(page.json()["email"], Value::Null);

    let token = whoami(&browser, &app).await["token"].clone();
    let form = format!(
        "csrfmiddlewaretoken={}",
        token.as_str().expect("a token against forgery")
    );
    let out = browser
        .navigate(&format!("{app}/oidc/logout/"))
        .method(Method::POST)
        .header("origin", &app)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let out = out.send().await;
    assert_eq!(out.status, StatusCode::FOUND, "{}", out.text());
    let page = browser.follow_from(out).await;
    let back = node_provider::sign_out(&browser, &page).await;
    let page = browser.follow_from(back).await;
    assert_eq!(page.url.as_str(), format!("{app}/"), "{}", page.text());
    assert_eq!(page.json()["email"], json!(null));
    assert_eq!(browser.cookie("sidegate"), None);
    let page = browser.follow(&login).await;
    assert!(page.url.path().starts_with("/interaction/"), "{}", page.url);
}
