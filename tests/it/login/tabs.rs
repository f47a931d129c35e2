//! Many tabs of one browser log in at once, and each lands on its page.

use http::{Method, StatusCode};

use crate::support::{Browser, standard};

/// What twenty tabs do to one browser: none may lose its page, and the `Cookie` header stays small.
async fn twenty_tabs(browser: &Browser, together: bool) {
    let paths: Vec<String> = (0..20)
        .map(|tab| format!("/page/{tab}?tab={tab}"))
        .collect();
    let mut callbacks = Vec::new();
    if together {
        let begun: Vec<_> = paths
            .iter()
            .map(|path| {
                let (tab, path) = (browser.clone(), path.clone());
                tokio::spawn(async move { tab.up_to_callback(&path).await })
            })
            .collect();
        for tab in begun {
            callbacks.push(tab.await.expect("a tab"));
        }
    } else {
        for path in &paths {
            callbacks.push(browser.up_to_callback(path).await);
            let length = browser.cookies("/oauth2/callback/script").len();
            assert!(length < 4096, "the Cookie header has {length} bytes");
        }
    }
    let length = browser.cookies("/oauth2/callback/script").len();
    assert!(length < 4096, "the Cookie header has {length} bytes");
    let ended: Vec<_> = callbacks
        .into_iter()
        .map(|callback| {
            let tab = browser.clone();
            tokio::spawn(async move { tab.follow(callback.as_str()).await })
        })
        .collect();
    for (tab, path) in ended.into_iter().zip(&paths) {
        let reply = tab.await.expect("a tab");
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
        assert_eq!(&reply.seen().target, path, "each tab lands on its own page");
    }
}

#[tokio::test]
async fn twenty_tabs_opened_one_after_another_land_on_their_pages() {
    let (house, _upstream, _provider) = standard().await;
    twenty_tabs(&house.browser(), false).await;
}

#[tokio::test]
async fn twenty_tabs_opened_at_once_land_on_their_pages() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    // A browser that was here before: it has been through a login and its session has gone.
    browser.sign_in("/").await;
    let sign_out = browser
        .fetch(Method::POST, "/oauth2/sign_out")
        .header("origin", &house.public_url)
        .send()
        .await;
    assert!(sign_out.status.as_u16() < 400, "{}", sign_out.text());
    twenty_tabs(&browser, true).await;
}

#[tokio::test]
async fn twenty_tabs_restored_in_a_fresh_browser_land_on_their_pages() {
    let (house, _upstream, _provider) = standard().await;
    twenty_tabs(&house.browser(), true).await;
}

/// Each tab goes on as soon as it can: some begin when others are back already.
#[tokio::test]
async fn twenty_tabs_that_overtake_each_other_land_on_their_pages() {
    let (house, _upstream, _provider) = standard().await;
    for round in 0..3 {
        let browser = house.browser();
        let tabs: Vec<_> = (0..20)
            .map(|tab| {
                let browser = browser.clone();
                tokio::spawn(async move {
                    let path = format!("/page/{round}/{tab}?tab={tab}");
                    let callback = browser.up_to_callback(&path).await;
                    let reply = browser.follow(callback.as_str()).await;
                    (path, reply)
                })
            })
            .collect();
        for tab in tabs {
            let (path, reply) = tab.await.expect("a tab");
            assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
            assert_eq!(reply.seen().target, path, "each tab lands on its own page");
        }
    }
}
