//! `/metrics`: what happened, in numbers.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::{Admin, admin, is_signed_in};
use crate::support::{
    behaviour::TokenEndpoint,
    provider::now,
    servers::{OAuthServer, SECRET, forty_two},
};

/// The value of a line of the metrics; none where there is none.
fn value(text: &str, line: &str) -> Option<u64> {
    let found = text
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.map(|value| value.parse().expect("a number"))
}

/// How many revocations other replicas are still to be told.
pub(super) async fn waiting(admin: &Admin) -> Option<u64> {
    let (_, text) = admin.ask("GET", "/metrics", &[]).await;
    value(&text, "sidegate_revocations_waiting")
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let admin = admin(|plan| plan.session("store = \"memory\"")).await;
    let ada = admin.signed_in("ada").await;
    for _ in 0..4 {
        ada.get("/").await;
    }
    ada.get("/oauth2/nothing").await;
    admin.house.browser().get("/").await;
    admin
        .house
        .browser()
        .get("/oauth2/callback/script?code=x&state=y")
        .await;
    let metrics = async || {
        let (status, text) = admin
            .ask("GET", "/metrics", &[("host", "prometheus.local")])
            .await;
        assert_eq!(status, 200);
        text
    };
    let text = metrics().await;
    let version = env!("CARGO_PKG_VERSION");
    for (line, expected) in [
        (
            format!("sidegate_build_info{{version=\"{version}\"}}"),
            Some(1),
        ),
        // One of them the end of the login.
        (requests("pass", "2xx"), Some(5)),
        (requests("sign_in", "3xx"), Some(2)),
        (requests("callback", "3xx"), Some(1)),
        (requests("not_found", "4xx"), Some(1)),
        (requests("login_failed", "4xx"), Some(1)),
        (logins("signed_in"), Some(1)),
        (logins("invalid"), Some(1)),
        (logins("not_allowed"), Some(0)),
        (
            "sidegate_renewals_total{provider=\"script\",outcome=\"renewed\"}".to_owned(),
            Some(0),
        ),
        ("sidegate_revocations_total".to_owned(), Some(0)),
        ("sidegate_sessions".to_owned(), Some(1)),
        ("sidegate_store_ready".to_owned(), Some(1)),
        (
            "sidegate_provider_ready{provider=\"script\"}".to_owned(),
            Some(1),
        ),
        (
            "sidegate_client_secret_valid_until_seconds{provider=\"script\"}".to_owned(),
            None,
        ),
    ] {
        assert_eq!(value(&text, &line), expected, "{line}\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.split_once(['{', ' ']).expect("a name");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
    }
    // As many durations as requests.
    let durations = "sidegate_request_duration_seconds_count{verdict=\"pass\",status=\"2xx\"}";
    assert_eq!(value(&text, durations), Some(5), "{text}");
    let within =
        "sidegate_request_duration_seconds_bucket{verdict=\"pass\",status=\"2xx\",le=\"300\"}";
    assert_eq!(value(&text, within), Some(5), "{text}");
    assert!(
        value(&text, "sidegate_response_bytes_total") > Some(0),
        "{text}"
    );
    let accepted = value(&text, "sidegate_connections_accepted_total");
    assert!(accepted > Some(0), "{text}");
    ada.fetch(Method::POST, "/oauth2/sign_out").send().await;
    let text = metrics().await;
    assert_eq!(value(&text, "sidegate_revocations_total"), Some(1));
    assert_eq!(value(&text, "sidegate_sessions"), Some(0));
}

/// docs/metrics.md has every metric that the gate has, by the same words.
#[tokio::test]
async fn every_metric_is_documented() {
    let admin = admin(|plan| plan).await;
    let (_, text) = admin.ask("GET", "/metrics", &[]).await;
    let told = |prefix: &'static str| {
        let lines = text
            .lines()
            .filter_map(move |line| line.strip_prefix(prefix));
        lines.map(|line| line.split_once(' ').expect("a name and more"))
    };
    let mut served: Vec<_> = told("# HELP ")
        .zip(told("# TYPE "))
        .map(|((name, meaning), (_, kind))| [name, kind, meaning].map(str::to_owned))
        .collect();
    let page = crate::support::house::root().join("docs/metrics.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut documented: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `sidegate_")?.strip_suffix(" |"))
        .map(|row| {
            let cells: Vec<_> = row
                .split('|')
                .map(|cell| cell.trim_matches([' ', '`']))
                .collect();
            [
                format!("sidegate_{}", cells[0]),
                cells[1].to_owned(),
                cells[3].to_owned(),
            ]
        })
        .collect();
    served.sort();
    documented.sort();
    assert_eq!(documented, served);
}

/// 42 says in each token answer until when the client's secret is good.
#[tokio::test]
async fn metrics_tell_when_a_client_secret_ends() {
    let server = OAuthServer::start(&forty_two::SCRIPT).await;
    let end = now() + 9 * 86_400;
    server.set(|quirks| quirks.token = json!({ "secret_valid_until": end }));
    let table = format!(
        "type = \"42\"\nbase_url = \"{}\"\nclient_id = \"client-one\"\nclient_secret = \"{SECRET}\"\n\
         allow = \"anyone\"\n",
        server.url()
    );
    let admin = admin(|plan| plan.named("intra", &table)).await;
    let line = "sidegate_client_secret_valid_until_seconds{provider=\"intra\"}";
    let (_, text) = admin.ask("GET", "/metrics", &[]).await;
    assert_eq!(value(&text, line), None, "it was not said yet");
    let start = "/oauth2/start/intra?rd=/page";
    admin.house.browser().follow(start).await.seen();
    let (_, text) = admin.ask("GET", "/metrics", &[]).await;
    assert_eq!(value(&text, line), Some(end), "{text}");
}

#[tokio::test]
async fn metrics_count_renewals_by_how_they_ended() {
    for store in ["store = \"cookie\"", "store = \"memory\""] {
        let admin = admin(|plan| plan.session(store)).await;
        let over = || tokio::time::sleep(Duration::from_millis(2_050));
        let counts = async || {
            let (_, text) = admin.ask("GET", "/metrics", &[]).await;
            ["renewed", "failed", "ended"].map(|outcome| {
                let labels = format!("{{provider=\"script\",outcome=\"{outcome}\"}}");
                value(&text, &format!("sidegate_renewals_total{labels}"))
            })
        };
        admin
            .provider
            .set(|behaviour| behaviour.expires_in = json!(2));
        let ada = admin.signed_in("ada").await;
        assert_eq!(counts().await, [Some(0), Some(0), Some(0)], "{store}");
        for round in 1..=2 {
            over().await;
            for _ in 0..3 {
                assert!(is_signed_in(&ada).await, "{store}");
            }
            assert_eq!(counts().await, [Some(round), Some(0), Some(0)], "{store}");
        }
        admin
            .provider
            .set(|behaviour| behaviour.token = TokenEndpoint::Unavailable);
        over().await;
        assert!(is_signed_in(&ada).await, "{store}: an outage ends nothing");
        let [renewed, failed, ended] = counts().await;
        assert_eq!((renewed, ended), (Some(2), Some(0)), "{store}");
        assert!(failed >= Some(1), "{store}: {failed:?}");
        admin
            .provider
            .set(|behaviour| behaviour.token = TokenEndpoint::InvalidGrant);
        let end = Instant::now() + Duration::from_secs(20);
        while is_signed_in(&ada).await {
            assert!(Instant::now() < end, "{store}: the provider's no is heard");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let [renewed, _, ended] = counts().await;
        assert_eq!((renewed, ended), (Some(2), Some(1)), "{store}");
    }
}

fn requests(verdict: &str, status: &str) -> String {
    format!("sidegate_requests_total{{verdict=\"{verdict}\",status=\"{status}\"}}")
}

fn logins(outcome: &str) -> String {
    format!("sidegate_logins_total{{provider=\"script\",outcome=\"{outcome}\"}}")
}
