//! Renewal, the same for every kind that has refresh tokens: what somebody loses at the provider is felt without a new
//! login, what they get back too; a provider that is away harms nobody, and its no ends the session.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use super::{
    Backend, Refresh,
    cases::{self, Case},
    sign_in_at,
};
use crate::support::{Browser, House, Upstream, behaviour::TokenEndpoint, servers::Fault};

/// Until a token of two seconds is over.
const OVER: Duration = Duration::from_millis(2_050);

/// What stands at the provider, to be put back.
enum Stand {
    Plain(std::collections::BTreeMap<String, Vec<serde_json::Value>>),
    OpenId(Box<crate::support::behaviour::Behaviour>),
}

impl Stand {
    fn of(backend: &Backend) -> Self {
        match backend {
            Backend::Plain(server) => Self::Plain(server.all_pages()),
            Backend::OpenId(provider) => Self::OpenId(Box::new(provider.behaviour())),
        }
    }

    fn put_back(self, backend: &Backend) {
        match self {
            Self::Plain(pages) => backend.plain().put_back(pages),
            Self::OpenId(before) => backend.openid().set(|behaviour| *behaviour = *before),
        }
    }
}

fn logins(case: &Case) -> usize {
    case.backend.calls(case.authorize).len()
}

async fn renewal(case: Case) {
    assert!(case.refresh != Refresh::Never);
    case.backend.renew(case.refresh, 2);
    let upstream = Upstream::start().await;
    let mut plan = House::plan()
        .upstream(&upstream)
        .session("provider_grace = \"1m\"")
        .named("open", &case.table("open", "\"anyone\""));
    for list in &case.lists {
        let name = format!("by-{}", list.key);
        let allow = case.allow(list.key, list.passes);
        plan = plan.named(&name, &case.table(&name, &allow));
    }
    let house = plan.start().await;
    let mut browsers = Vec::new();
    for list in &case.lists {
        let browser = house.browser();
        let name = format!("by-{}", list.key);
        let reply = sign_in_at(&browser, &name, "/page").await;
        assert_eq!(reply.status, StatusCode::OK, "{name}: {}", reply.text());
        browsers.push((list.key, browser));
    }
    let before = logins(&case);
    let stand = Stand::of(&case.backend);
    (case.lose)(&case.backend);
    sleep(OVER).await;
    let mut problems = lists(&case, &house, &browsers, false).await;
    stand.put_back(&case.backend);
    sleep(OVER).await;
    problems.extend(lists(&case, &house, &browsers, true).await);
    assert!(problems.is_empty(), "{}: {problems:#?}", case.kind);
    assert_eq!(
        logins(&case),
        before,
        "{}: nobody signed in again",
        case.kind
    );
    alone(&case, &house).await;
    for secret in [
        "canary-client-secret",
        "canary-refresh-token",
        "canary-access-token",
    ] {
        assert!(!house.process.log().contains(secret), "{secret} in the log");
    }
}

/// Everybody comes by once more, and passes or not.
async fn lists(
    case: &Case,
    house: &House,
    browsers: &[(&str, Browser)],
    passes: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, browser) in browsers {
        let path = format!("/page-{key}-{passes}");
        let reply = browser.get(&path).await;
        let is_in = passes || case.lasting.contains(key);
        let expected = if is_in {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        if reply.status != expected {
            problems.push(format!("{key}, {expected} expected: {}", reply.status));
            continue;
        }
        let line = house.access_line(&path).await.to_string();
        if !is_in && !line.contains(&format!("allow.{key}")) {
            problems.push(format!("{key}: the rule is not named: {line}"));
        }
    }
    problems
}

/// Renewed, renewed again, not renewed while the provider is away, and ended by its no.
async fn alone(case: &Case, house: &House) {
    let (kind, backend) = (case.kind, &case.backend);
    let browser = house.browser();
    let id = format!("open:{}", case.subject);
    sign_in_at(&browser, "open", "/page").await.seen();
    let first = browser.cookie("sidegate").expect("a session");
    for _ in 0..2 {
        sleep(OVER).await;
        let before = renewals(case);
        let seen = browser.get("/page").await.seen();
        assert_eq!(seen.header("x-user-id"), Some(id.as_str()), "{kind}");
        assert_eq!(seen.header("x-user"), Some(case.user), "{kind}");
        assert_eq!(seen.header("x-user-email"), case.email, "{kind}");
        assert_eq!(renewals(case), before + 1, "{kind}");
    }
    // The first cookie, in a tab that slept.
    let newest = browser.cookie("sidegate").expect("a session");
    browser.plant("sidegate", &first);
    assert!(
        browser.get("/page").await.sets_session(),
        "{kind}: the old cookie"
    );
    browser.plant("sidegate", &newest);
    sleep(OVER).await;
    away(backend, true);
    browser.get("/page").await.seen();
    away(backend, false);
    sleep(OVER).await;
    let before = renewals(case);
    browser.get("/page").await.seen();
    assert_eq!(renewals(case), before + 1, "{kind}: back again");
    backend.revoke();
    sleep(OVER).await;
    let reply = browser.get("/page").await;
    assert!(
        reply.status.is_redirection() || reply.text().contains("/start/"),
        "{kind}: {} {}",
        reply.status,
        reply.text()
    );
    browser.plant("sidegate", &first);
    let status = browser.get("/oauth2/auth").await.status;
    assert_eq!(
        status,
        StatusCode::UNAUTHORIZED,
        "{kind}: the old cookie is over too"
    );
}

fn away(backend: &Backend, is_away: bool) {
    match backend {
        Backend::Plain(server) => {
            let times = usize::from(is_away);
            let fault = || {
                Fault::json(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &json!({ "error": "invalid_grant" }),
                )
            };
            for path in TOKEN_PATHS {
                server.fault(path, times, fault());
            }
        }
        Backend::OpenId(provider) => provider.set(|behaviour| {
            behaviour.token = if is_away {
                TokenEndpoint::TooMany
            } else {
                TokenEndpoint::Good
            };
        }),
    }
}

const TOKEN_PATHS: [&str; 4] = [
    "/oauth/token",
    "/login/oauth/access_token",
    "/api/oauth2/token",
    "/token",
];

fn renewals(case: &Case) -> usize {
    let calls = TOKEN_PATHS.iter().flat_map(|path| case.backend.calls(path));
    calls
        .filter(|call| {
            call.fields
                .get("grant_type")
                .is_some_and(|is| is == "refresh_token")
        })
        .count()
}

macro_rules! renewals {
    ($($kind:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $kind() {
            renewal(cases::$kind().await).await;
        }
    )+};
}

renewals! {
    forty_two, github, github_enterprise, discord, oauth2, google, gitlab, microsoft, oidc,
}

/// Without refresh tokens nothing is renewed and nothing ends early: the login's word counts.
#[tokio::test]
async fn without_refresh_tokens_the_login_counts() {
    for case in [cases::facebook().await, cases::github().await] {
        let (house, _upstream) = super::house(&case, "\"anyone\"", "").await;
        let token = json!({ "expires_in": 1 });
        case.backend.plain().set(|quirks| quirks.token = token);
        let browser = house.browser();
        browser.follow("/page").await.seen();
        let calls = case.backend.plain().all_calls().len();
        sleep(OVER).await;
        browser.get("/page").await.seen();
        assert_eq!(
            case.backend.plain().all_calls().len(),
            calls,
            "{}",
            case.kind
        );
    }
}

/// Who does not want it has no refresh token in the session, and the provider is not asked again.
#[tokio::test]
async fn refresh_can_be_turned_off() {
    let case = cases::oidc().await;
    case.backend.renew(Refresh::Rotates, 1);
    let (house, _upstream) = super::house(&case, "\"anyone\"", "refresh = false\n").await;
    let browser = house.browser();
    browser.follow("/page").await.seen();
    sleep(OVER).await;
    browser.get("/page").await.seen();
    assert_eq!(renewals(&case), 0);
}
