//! Where a discovery document may lead, what happens without one, and what is said of one that lacks something.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Value, json};

use super::{logged, sign_in, table, unresolved};
use crate::support::{
    House, ScriptedProvider, Upstream, arranged,
    between::Between,
    server::{self, Server},
};

/// Something on the gate's own machine that answers whoever asks, such as a container's metadata or an admin port.
async fn bystander() -> Server {
    Server::start(|_| async { server::json(StatusCode::OK, &json!({ "keys": [] })) }).await
}

/// A document at an https issuer that names plain http to this machine leads to blind requests there.
#[tokio::test]
async fn an_https_issuer_leads_to_nothing_on_this_machine() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "revocation_endpoint",
        "authorization_endpoint",
        "end_session_endpoint",
    ] {
        let bystander = bystander().await;
        let provider = unresolved("https").await;
        let (front, authority) = Between::tls("localhost", provider.address, folder.path()).await;
        let local = format!("http://{}/{name}", bystander.address);
        provider.set(|behaviour| {
            behaviour.discovery[name] = json!(local);
            behaviour.claims_in_id_token = false;
        });
        let issuer = format!("https://localhost:{}", front.address.port());
        // What the system trusts: the gate of before knows no authority of its own.
        let mut house = House::plan()
            .upstream(&upstream)
            .named("script", &table(&issuer, ""))
            .environment("SSL_CERT_FILE", authority.to_str().expect("text"))
            .start()
            .await;
        let (page, _) = sign_in(&house, &provider).await;
        assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{name}");
        assert_eq!(bystander.connections(), 0, "{name}");
        logged(&mut house, name).await;
    }
}

#[tokio::test]
async fn an_https_issuer_signs_people_in_with_an_authority_of_ones_own() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let provider = unresolved("https").await;
    let (front, authority) = Between::tls("localhost", provider.address, folder.path()).await;
    let issuer = format!("https://localhost:{}", front.address.port());
    let named = format!("ca = \"{}\"", authority.display());
    let house = House::plan()
        .upstream(&upstream)
        .named("script", &table(&issuer, &named))
        .start()
        .await;
    let (page, _) = sign_in(&house, &provider).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());

    // Without it the certificate is nobody's, and the log says what to do.
    let mut house = House::plan()
        .upstream(&upstream)
        .named("script", &table(&issuer, ""))
        .start()
        .await;
    let (page, _) = sign_in(&house, &provider).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    logged(&mut house, "name that by ca").await;
}

#[tokio::test]
async fn with_every_address_given_nothing_is_discovered() {
    let upstream = Upstream::start().await;
    for userinfo in [true, false] {
        let provider = ScriptedProvider::start().await;
        provider.set(|behaviour| {
            behaviour.discovered_issuer = Some("https://nobody.example".to_owned());
            behaviour.claims_in_id_token = !userinfo;
        });
        let issuer = provider.issuer();
        let mut lines = format!(
            "authorize_url = \"{issuer}/authorize\"\ntoken_url = \"{issuer}/token\"\njwks_url = \"{issuer}/jwks\"\n"
        );
        if userinfo {
            let _ = writeln!(lines, "userinfo_url = \"{issuer}/userinfo\"");
        }
        let house = House::plan()
            .upstream(&upstream)
            .named("script", &table(&issuer, &lines))
            .start()
            .await;
        house.browser().sign_in("/").await;
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.header("x-user"), Some("ada"));
        let discovered = provider.calls("/.well-known/openid-configuration");
        assert_eq!(discovered.len(), 0);
        assert_eq!(provider.calls("/userinfo").len(), usize::from(userinfo));
    }
}

/// The operator's address takes the place of what the document lacks, and what it lacks otherwise is named.
#[tokio::test]
async fn a_missing_member_is_named() {
    for (member, key) in [
        ("jwks_uri", Some("jwks_url")),
        ("token_endpoint", Some("token_url")),
        ("response_types_supported", None),
        ("id_token_signing_alg_values_supported", None),
    ] {
        let without = |behaviour: &mut crate::support::behaviour::Behaviour| {
            behaviour.discovery = json!({ member: Value::Null });
        };
        let (mut house, upstream, provider) = arranged(without, |plan| plan).await;
        let page = house.browser().get("/oauth2/start").await;
        assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{member}");
        let told = format!("the document has no {member}");
        logged(&mut house, &told).await;
        let Some(key) = key else { continue };
        let path = if key == "jwks_url" { "jwks" } else { "token" };
        let line = format!("{key} = \"{}/{path}\"", provider.issuer());
        let house = House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .provider_line(&line)
            .start()
            .await;
        house.browser().sign_in("/").await;
    }
}
