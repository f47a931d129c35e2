//! Another address within the operator's network, plain http there, and proxies.

use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use super::{logged, sign_in, table, unresolved};
use crate::support::{
    Browser, House, ScriptedProvider, Upstream,
    between::Between,
    node_provider,
    provider::{CLIENT_ID, CLIENT_SECRET},
};

/// Keycloak in compose: browsers find it at one address, which leads the gate nowhere, and the gate at another. The
/// provider takes its name from whom it is asked for, as Keycloak, Authentik and Zitadel do.
#[tokio::test]
async fn an_issuer_is_reached_at_another_address_than_browsers_use() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let revoked = Some(vec![200]);
    provider.set(|behaviour| {
        behaviour.issuer_path = "/realms/x".to_owned();
        behaviour.revocation = revoked;
        behaviour.claims_in_id_token = false;
    });
    let public = Between::relay(provider.address, &["GET /authorize", "GET /logout"]).await;
    let inside = Between::relay(provider.address, &["GET ", "POST "]).await;
    let issuer = format!("http://{}/realms/x", public.address);
    for path in ["", "/realms/x"] {
        inside.forget();
        let line = format!("internal_url = \"http://{}{path}\"", inside.address);
        let house = House::plan()
            .upstream(&upstream)
            .named("script", &table(&issuer, &line))
            .start()
            .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.header("x-user"), Some("ada"));
        let out = browser.get("/oauth2/sign_out").await;
        let sent = out.location();
        assert_eq!(sent.authority(), public.address.to_string(), "{sent}");
        let expected = [
            "GET /realms/x/.well-known/openid-configuration ",
            "POST /token ",
            "GET /jwks ",
            "GET /userinfo ",
            "POST /revoke ",
        ];
        for start in expected {
            let is_there = || {
                let heads = inside.heads();
                heads.iter().any(|head| head.starts_with(start))
            };
            for _ in 0..500 {
                if is_there() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert!(is_there(), "{start}: {:?}", inside.heads());
        }
    }
    let strangers = public.heads();
    let is_browser =
        |head: &String| head.starts_with("GET /authorize") || head.starts_with("GET /logout");
    assert!(strangers.iter().all(is_browser), "{strangers:?}");
    // The provider is asked as whom browsers know it.
    let asked = provider.calls("/token").pop().expect("a call");
    assert_eq!(asked.host(), public.address.to_string());
    assert_eq!(asked.header("x-forwarded-host"), public.address.to_string());
    assert_eq!(asked.header("x-forwarded-proto"), "http");
}

/// Where the document has the address within the network for all that it names, browsers are led to the public one.
#[tokio::test]
async fn browsers_are_never_sent_to_the_internal_address() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let public = Between::relay(provider.address, &["GET /authorize", "GET /logout"]).await;
    let inside = Between::relay(provider.address, &["GET ", "POST "]).await;
    let at = |path: &str| format!("http://{}{path}", inside.address);
    let document = json!({
        "authorization_endpoint": at("/authorize"), "end_session_endpoint": at("/logout"),
        "token_endpoint": at("/token"), "jwks_uri": at("/jwks"), "userinfo_endpoint": at("/userinfo"),
    });
    provider.set(|behaviour| behaviour.discovery = document);
    let issuer = format!("http://{}", public.address);
    let line = format!("internal_url = \"http://{}\"", inside.address);
    let house = House::plan()
        .upstream(&upstream)
        .named("script", &table(&issuer, &line))
        .start()
        .await;
    let begun = house.browser().get("/oauth2/start").await;
    assert_eq!(begun.location().authority(), public.address.to_string());
    assert_eq!(begun.status, StatusCode::FOUND);
}

/// The real one: its issuer is what it was started with.
#[tokio::test]
async fn a_real_provider_is_reached_at_another_address() {
    let upstream = Upstream::start().await;
    let issuer = Url::parse(node_provider::issuer()).expect("an address");
    let address = issuer.authority().parse().expect("an address");
    let inside = Between::relay(address, &["GET ", "POST "]).await;
    let line = format!("internal_url = \"http://{}\"", inside.address);
    let house = House::plan()
        .upstream(&upstream)
        .named(
            "npm",
            &format!("{}allow = \"anyone\"\n{line}\n", node_provider::table()),
        )
        .start()
        .await;
    let browser = house.browser();
    let page = node_provider::sign_in(&browser, "/", "ada").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let heads = inside.heads();
    for start in ["GET /.well-known/", "POST /token", "GET /jwks"] {
        assert!(
            heads.iter().any(|head| head.starts_with(start)),
            "{heads:?}"
        );
    }
}

/// A provider at a name that only the proxy knows.
struct Behind {
    provider: ScriptedProvider,
    upstream: Upstream,
    /// TLS as that name.
    front: Between,
    proxy: Between,
    authority: String,
    _folder: TempDir,
}

const CREDENTIALS: &str = "ann:canary p@ss";
const WRITTEN: &str = "ann:canary%20p%40ss";

impl Behind {
    async fn tls() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = unresolved("https").await;
        let (front, file) = Between::tls("id.test", provider.address, folder.path()).await;
        let proxy = Between::proxy(front.address, CREDENTIALS).await;
        Self {
            provider,
            upstream: Upstream::start().await,
            front,
            proxy,
            authority: format!("ca = \"{}\"", file.display()),
            _folder: folder,
        }
    }

    async fn house(
        &self,
        change: impl FnOnce(crate::support::house::Plan) -> crate::support::house::Plan,
    ) -> House {
        let table = table("https://id.test:8443", &self.authority);
        let plan = House::plan()
            .upstream(&self.upstream)
            .named("script", &table);
        change(plan).start().await
    }

    fn proxy_url(&self) -> String {
        format!("http://{WRITTEN}@{}", self.proxy.address)
    }
}

#[tokio::test]
async fn calls_go_through_the_proxy_of_the_environment_or_of_the_file() {
    let behind = Behind::tls().await;
    let from_environment = behind
        .house(|plan| plan.environment("HTTPS_PROXY", &behind.proxy_url()))
        .await;
    let from_file = behind
        .house(|plan| {
            plan.top(&format!("proxy_url = \"{}\"", behind.proxy_url()))
                .environment("https_proxy", "http://127.0.0.1:9")
        })
        .await;
    for house in [from_environment, from_file] {
        let (page, sent) = sign_in(&house, &behind.provider).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let sent = sent.expect("a provider");
        assert_eq!(sent.authority(), "id.test:8443");
        let heads = behind.proxy.heads();
        let are_tunnels = heads
            .iter()
            .all(|head| head.starts_with("CONNECT id.test:8443 HTTP/1.1\r\n"));
        assert!(are_tunnels, "{heads:?}");
        assert!(
            !house.process.log().contains("canary"),
            "{}",
            house.process.log()
        );
    }
    // Each house: discovery, tokens, keys.
    assert!(behind.front.heads().len() >= 6);
}

#[tokio::test]
async fn exceptions_are_called_without_the_proxy() {
    let behind = Behind::tls().await;
    for exception in ["id.test", ".test", "id.test:8443", "*"] {
        let house = behind
            .house(|plan| {
                plan.environment("HTTPS_PROXY", &behind.proxy_url())
                    .environment("NO_PROXY", exception)
            })
            .await;
        // Nobody but the proxy knows the name.
        let (page, _) = sign_in(&house, &behind.provider).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{exception}");
        assert!(behind.proxy.heads().is_empty(), "{exception}");
    }
    let house = behind
        .house(|plan| {
            plan.environment("HTTPS_PROXY", &behind.proxy_url())
                .environment("NO_PROXY", "id.test:443,.id.test,10.0.0.0/8")
        })
        .await;
    let (page, _) = sign_in(&house, &behind.provider).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_with_what_to_do() {
    let behind = Behind::tls().await;
    let address = format!("http://{}", behind.proxy.address);
    let mut house = behind
        .house(|plan| plan.environment("HTTPS_PROXY", &address))
        .await;
    let (page, _) = sign_in(&house, &behind.provider).await;
    assert!(page.status.is_server_error(), "{}", page.text());
    logged(&mut house, "answers 407").await;
    logged(&mut house, "into proxy_url").await;
}

/// Plain http is the proxy's to forward, where the operator allows it at all.
#[tokio::test]
async fn plain_http_goes_through_a_proxy_whole() {
    let upstream = Upstream::start().await;
    let provider = unresolved("http").await;
    let proxy = Between::proxy(provider.address, CREDENTIALS).await;
    let table = table("http://id.test:8080", "insecure_http = true");
    let mut house = House::plan()
        .upstream(&upstream)
        .named("script", &table)
        .environment("http_proxy", &format!("{WRITTEN}@{}", proxy.address))
        .start()
        .await;
    let (page, _) = sign_in(&house, &provider).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let heads = proxy.heads();
    let is_whole = |head: &String| head.contains(" http://id.test:8080/");
    assert!(heads.len() >= 3 && heads.iter().all(is_whole), "{heads:?}");
    // Said at each start.
    logged(&mut house, "providers.script has insecure_http").await;
}

/// An address for browsers alone and one for the gate alone, as compose files of plain OAuth providers have them.
#[tokio::test]
async fn plain_oauth_needs_no_internal_address() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let public = Between::relay(provider.address, &["GET /authorize"]).await;
    let table = format!(
        "type = \"oauth2\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\nallow = \"anyone\"\n\
         authorize_url = \"http://{}/authorize\"\ntoken_url = \"{1}/token\"\nuserinfo_url = \"{1}/userinfo\"\n\
         scopes = [\"openid\"]\nclaims = {{ subject = \"sub\" }}\n",
        public.address,
        provider.issuer(),
    );
    let house = House::plan()
        .upstream(&upstream)
        .named("script", &table)
        .start()
        .await;
    let browser: Browser = house.browser();
    browser.sign_in("/").await;
}
