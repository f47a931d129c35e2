//! The journey that is the same for every kind: in, seen by the app, kept out by each list that can, out.

use http::StatusCode;

use super::{
    cases::{self, Case},
    link, sign_in_at,
};
use crate::support::{Browser, House, Reply, Upstream, node_provider};

/// What somebody who may not pass reads; the operator's own words, which are text and not HTML.
const DENY_MESSAGE: &str = "Ask the <dean> & bring cake";

/// The parameters by which providers are asked for another account.
const SWITCHES: [(&str, &str); 5] = [
    ("prompt", "select_account"),
    ("prompt", "login"),
    ("prompt", "consent"),
    ("auth_type", "reauthenticate"),
    ("max_age", "0"),
];

/// The whole of it, in one house: a table for each list, the same server behind all.
async fn journey(case: Case) {
    let upstream = Upstream::start().await;
    let mut plan = House::plan().upstream(&upstream).tables(&format!(
        "[headers]\nset = {{ X-Claim = \"{}\", X-Access = \"access_token\", X-Face = \"picture\" }}",
        case.claim.0
    ));
    plan = plan.named("open", &case.table("open", "\"anyone\""));
    for list in &case.lists {
        let name = format!("yes-{}", list.key);
        let allow = case.allow(list.key, list.passes);
        plan = plan.named(&name, &case.table(&name, &allow));
        let name = format!("no-{}", list.key);
        let allow = case.allow(list.key, list.denies);
        let table = case.table(&name, &allow);
        plan = plan.named(
            &name,
            &format!("{table}deny_message = \"{DENY_MESSAGE}\"\n"),
        );
    }
    let house = plan.start().await;
    in_and_out(&case, &house).await;
    // All that goes wrong is told at once.
    let mut problems = Vec::new();
    for list in &case.lists {
        let name = format!("yes-{}", list.key);
        let reply = sign_in_at(&house.browser(), &name, "/page").await;
        if reply.status != StatusCode::OK {
            let text = reply.text();
            let text = words(&text);
            problems.push(format!("{name}: does not pass: {} {text}", reply.status));
        }
        if let Err(problem) = denied(&case, &house, &upstream, list.key).await {
            problems.push(format!("no-{}: {problem}", list.key));
        }
    }
    assert!(problems.is_empty(), "{}: {problems:#?}", case.kind);
    for secret in ["canary-client-secret", "canary-code", "canary-access-token"] {
        assert!(!house.process.log().contains(secret), "{secret} in the log");
    }
}

async fn in_and_out(case: &Case, house: &House) {
    let browser = house.browser();
    let reply = sign_in_at(&browser, "open", "/page").await;
    let seen = reply.seen();
    let id = format!("open:{}", case.subject);
    assert_eq!(seen.target, "/page");
    assert_eq!(seen.header("x-user"), Some(case.user));
    assert_eq!(seen.header("x-user-id"), Some(id.as_str()));
    assert_eq!(seen.header("x-user-email"), case.email);
    assert_eq!(seen.header("x-user-name"), Some("Ada Lovelace"));
    assert_eq!(seen.header("x-user-provider"), Some("open"));
    assert_eq!(seen.header("x-claim"), Some(case.claim.1));
    let token = seen.header("x-access").unwrap_or_default();
    assert!(token.starts_with("canary-access-token-"), "{token}");
    for call in case.backend.calls(case.authorize) {
        let challenge = call.fields.get("code_challenge");
        assert!(
            case.kind == "facebook" || challenge.is_some(),
            "PKCE is used"
        );
    }
    // The same person in another browser is the same user.
    let again = sign_in_at(&house.browser(), "open", "/again").await.seen();
    assert_eq!(again.header("x-user-id"), Some(id.as_str()));
    sign_out(&browser).await;
    assert_eq!(
        browser.get("/oauth2/auth").await.status,
        StatusCode::UNAUTHORIZED
    );
    let next = browser.get("/page").await;
    assert!(
        next.status != StatusCode::OK || !next.text().contains("x-user"),
        "signed out: {}",
        next.text()
    );
}

/// As the sign-out form of the house's own page is sent.
async fn sign_out(browser: &Browser) {
    let origin = browser.absolute("/").origin().ascii_serialization();
    let reply = browser
        .navigate("/oauth2/sign_out")
        .method(http::Method::POST)
        .header("origin", &origin)
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await;
    assert!(reply.status.as_u16() < 400, "{}", reply.text());
}

/// Ada is kept out by the list `key`, is told so, and may come as somebody else.
async fn denied(case: &Case, house: &House, upstream: &Upstream, key: &str) -> Result<(), String> {
    let before = upstream.count();
    let browser = house.browser();
    let reply = sign_in_at(&browser, &format!("no-{key}"), "/page").await;
    let text = reply.text();
    let check = |holds: bool, what: &str| {
        if holds {
            return Ok(());
        }
        Err(format!("{what}: {} {}", reply.status, words(&text)))
    };
    check(reply.status == StatusCode::FORBIDDEN, "403")?;
    check(
        text.contains("Ask the &lt;dean&gt; &amp; bring cake")
            || text.contains("Ask the &#60;dean&#62; &#38; bring cake"),
        "the operator's words, escaped",
    )?;
    check(text.contains(case.user), "who is signed in")?;
    check(!reply.sets_session(), "no session")?;
    check(upstream.count() == before, "the app is not asked")?;
    let path = format!("/oauth2/callback/no-{key}");
    let line = house.access_line(&path).await.to_string();
    let rule = format!("allow.{key}");
    check(line.contains(&rule), &format!("the rule in {line}"))?;
    let status = browser.get("/oauth2/auth").await.status;
    check(!status.is_success(), "/auth does not let in either")?;
    another_account(&browser, &reply, case).await
}

/// The link of the page leads to the provider, which is asked for another account.
async fn another_account(browser: &Browser, page: &Reply, case: &Case) -> Result<(), String> {
    let text = page.text();
    if case.can_switch == text.contains("sign out there first") {
        return Err(format!("how to use another account: {}", words(&text)));
    }
    let offer = if case.can_switch {
        "Use another account"
    } else {
        "Sign in again"
    };
    let mut reply = browser.get(&link(page, offer)).await;
    while reply.location().path() != case.authorize {
        reply = browser.get(reply.location().as_str()).await;
    }
    let asked = reply.location();
    let asks = |(name, value): &(&str, &str)| {
        let mut pairs = asked.query_pairs();
        pairs.any(|(key, said)| key == *name && said.split(' ').any(|word| word == *value))
    };
    if !case.can_switch || SWITCHES.iter().any(asks) {
        return Ok(());
    }
    Err(format!(
        "\"use another account\" does not ask for one: {asked}"
    ))
}

/// What a page says, without what it looks like.
fn words(page: &str) -> &str {
    page.find("<main").map_or(page, |begin| &page[begin..])
}

macro_rules! journeys {
    ($($kind:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $kind() {
            journey(cases::$kind().await).await;
        }
    )+};
}

journeys! {
    forty_two, github, github_enterprise, facebook, discord, oauth2, google, gitlab, microsoft, oidc,
}

/// npm's provider is strict in other ways than ours.
#[tokio::test]
async fn kinds_that_speak_openid_do_so_with_another_server() {
    for kind in ["oidc", "google", "gitlab"] {
        let upstream = Upstream::start().await;
        let key = if kind == "oidc" { "issuer" } else { "base_url" };
        // The name is the one whose callback is registered there.
        let table = format!(
            "type = \"{kind}\"\n{key} = \"{}\"\nclient_id = \"sidegate\"\n\
             client_secret = \"npm-client-secret\"\nclient_auth = \"basic\"\nallow = \"anyone\"\n",
            node_provider::issuer()
        );
        let house = House::plan()
            .upstream(&upstream)
            .named("npm", &table)
            .start()
            .await;
        let browser = house.browser();
        let seen = node_provider::sign_in(&browser, "/page", "ada")
            .await
            .seen();
        assert_eq!(seen.header("x-user-id"), Some("npm:ada"), "{kind}");
        sign_out(&browser).await;
        assert_eq!(
            browser.get("/oauth2/auth").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}
