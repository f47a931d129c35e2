//! The doors at which another proxy asks: what they believe, what they answer, and that they judge as the gate itself does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreement;
mod door;
mod ext_authz;

use http::{Method, StatusCode};

use crate::support::{Browser, House, ScriptedProvider, Upstream, browser::Reply, house::Plan};

/// A house behind a proxy of this name, or of a name that it does not know.
async fn behind(
    proxy: Option<&str>,
    plan: impl FnOnce(Plan) -> Plan,
) -> (House, Upstream, ScriptedProvider) {
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let key = proxy.map(|proxy| format!("forward_auth = \"{proxy}\""));
    let house = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .top(&key.unwrap_or_default());
    (plan(house).start().await, upstream, provider)
}

/// Asks at `path` with these headers.
async fn ask(browser: &Browser, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut ask = browser.bare(Method::GET, path);
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    ask.send().await
}

/// What Traefik and Caddy send about a request for `uri`.
fn forwarded<'a>(browser: &Browser, method: &'a str, uri: &'a str) -> Vec<(&'a str, String)> {
    let own = browser.absolute("/");
    vec![
        ("x-forwarded-method", method.to_owned()),
        ("x-forwarded-proto", own.scheme().to_owned()),
        ("x-forwarded-host", own.authority().to_owned()),
        ("x-forwarded-uri", uri.to_owned()),
    ]
}

async fn ask_forward(browser: &Browser, method: &str, uri: &str, more: &[(&str, &str)]) -> Reply {
    let lines = forwarded(browser, method, uri);
    let mut lines: Vec<_> = lines
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    lines.extend(more);
    ask(browser, "/oauth2/forward", &lines).await
}

#[tokio::test]
async fn the_key_takes_known_proxies_alone_and_needs_one_that_is_trusted() {
    use std::process::Command;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("sidegate.toml");
    let check = |lines: &str, tables: &str| {
        let text = format!(
            "listen = \"127.0.0.1:4180\"\npublic_url = \"http://localhost:4180\"\nupstream = \"http://127.0.0.1:9\"\n{lines}\n\
             [providers.corp]\ntype = \"oidc\"\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"a\"\n\
             client_secret = \"b\"\nallow = \"anyone\"\n{tables}"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidegate"));
        let output = command.args(["check", "-c"]).arg(&file).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let trusted = "trusted_proxies = [\"10.0.0.1\"]";
    for name in [
        "nginx",
        "ingress-nginx",
        "haproxy",
        "traefik",
        "caddy",
        "envoy",
    ] {
        let (is_fine, said) = check(&format!("{trusted}\nforward_auth = \"{name}\""), "");
        assert!(is_fine, "{name}: {said}");
    }
    let host = "[[routes]]\nhost = \"wiki.example\"\n";
    for (lines, tables, expected) in [
        (
            &format!("{trusted}\nforward_auth = \"ngnix\"")[..],
            "",
            "did you mean \"nginx\"?",
        ),
        (
            &format!("{trusted}\nforward_auth = \"apache\""),
            "",
            "leave the key out",
        ),
        ("forward_auth = \"nginx\"", "", "trusted_proxies"),
        (
            &format!("{trusted}\nforward_auth = \"ingress-nginx\""),
            host,
            "the host that the client wrote",
        ),
    ] {
        let (is_fine, said) = check(lines, tables);
        assert!(!is_fine && said.contains(expected), "{lines}: {said}");
    }
}

/// oauth2-proxy's lists in the address of the question narrow an answer, at both doors.
#[tokio::test]
async fn lists_in_the_address_narrow() {
    let (house, _upstream, _provider) =
        behind(None, |plan| plan.route("/public/**", "public")).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let stranger = house.browser();
    for (query, status) in [
        ("", 202),
        ("?allowed_groups=engineers", 202),
        ("?allowed_groups=admins,engineers", 202),
        ("?allowed_groups=admins&allowed_groups=engineers", 202),
        ("?allowed_groups=admins", 403),
        ("?allowed_groups=", 403),
        ("?allowed_emails=ada@example.com", 202),
        ("?allowed_emails=eve@example.com", 403),
        ("?allowed_email_domains=example.com", 202),
        ("?allowed_email_domains=*.example.com", 403),
        (
            "?allowed_groups=engineers&allowed_emails=eve@example.com",
            403,
        ),
    ] {
        let reply = ask(&ada, &format!("/oauth2/auth{query}"), &[]).await;
        assert_eq!(reply.status.as_u16(), status, "{query}");
        if status == 403 {
            assert!(reply.headers.get("x-user").is_none(), "{query}");
        }
        let nobody = ask(&stranger, &format!("/oauth2/auth{query}"), &[]).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{query}");
        for (uri, browser, expected) in [
            ("/page", &ada, if status == 202 { 200 } else { status }),
            ("/page", &stranger, 401),
            // Where anybody passes, whoever is not on the list does not: nobody is on none.
            ("/public/x", &ada, if status == 202 { 200 } else { status }),
            (
                "/public/x",
                &stranger,
                if query.is_empty() { 200 } else { 401 },
            ),
        ] {
            let lines = forwarded(browser, "GET", uri);
            let lines: Vec<_> = lines
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let reply = ask(browser, &format!("/oauth2/forward{query}"), &lines).await;
            assert_eq!(reply.status.as_u16(), expected, "{uri} {query}");
        }
    }
}
