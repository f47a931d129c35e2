//! Django's `RemoteUserMiddleware`, under two servers, and a form of its own.

use http::{Method, StatusCode};
use serde_json::json;

use super::{believes_the_gate_alone, gate, gunicorn, place, uwsgi};

/// What the accounts are by: it never changes, and nobody chooses it.
const ADA: &str = "script:ada-1815";

#[tokio::test]
async fn under_gunicorn() {
    let (address, folder) = place();
    let _app = gunicorn("django_app", address, &folder).await;
    believes_the_gate_alone(address, ADA).await;
}

#[tokio::test]
async fn under_uwsgi() {
    let (address, folder) = place();
    let _app = uwsgi("django_app", address, &folder).await;
    believes_the_gate_alone(address, ADA).await;
}

/// The account is by the id, and has the rest of what the gate tells, as people write it.
#[tokio::test]
async fn an_account_is_by_the_id_and_says_who_it_is() {
    let (address, folder) = place();
    let _app = gunicorn("django_app", address, &folder).await;
    let (house, provider) = gate(address, false).await;
    provider.set(|behaviour| {
        behaviour.user = json!({
            "sub": "jürgen", "preferred_username": "ada", "name": "Jürgen 100%", "email": "j@example.com",
            "email_verified": true, "groups": ["a, b", "staff"],
        });
    });
    let browser = house.browser();
    browser.sign_in("/account").await;
    let told = browser.get("/account").await.json();
    assert_eq!(
        told,
        json!({ "username": "script:jürgen", "name": "Jürgen 100%", "email": "j@example.com", "staff": true })
    );
}

/// TLS ends before Django, which compares a form's `Origin` with the scheme and the host that it is told.
#[tokio::test]
async fn a_form_is_taken_from_its_own_page_alone() {
    let (address, folder) = place();
    let _app = gunicorn("django_app", address, &folder).await;
    let (house, _provider) = gate(address, true).await;
    let browser = house.browser();
    browser.sign_in("/form").await;
    let page = browser.get("/form").await.text();
    let (_, token) = page.split_once("\">").expect("a form");
    let (token, _) = token.split_once("</form>").expect("its end");
    let send = |origin: &str, token: &str| {
        browser
            .navigate("/form")
            .method(Method::POST)
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("words=hello&csrfmiddlewaretoken={token}"))
            .send()
    };
    let taken = send(&house.public_url, token).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    assert_eq!(taken.text(), format!("{ADA} sent hello"));
    let elsewhere = send("https://evil.example", token).await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
    let plain = house.public_url.replace("https:", "http:");
    assert_eq!(send(&plain, token).await.status, StatusCode::FORBIDDEN);
    let other = "x".repeat(token.len());
    let without = send(&house.public_url, &other).await;
    assert_eq!(without.status, StatusCode::FORBIDDEN);
}
