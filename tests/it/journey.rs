//! A person's journey through the demo, in a real browser, and pictures of every page of ours.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    issuer,
    providers::several,
    support::{
        House, ScriptedProvider, Upstream, arranged,
        house::{self, sidegate},
        node_provider, ports,
        process::Process,
        standard_with,
    },
};

/// Debian's, or what stands in for it.
fn chromium() -> &'static str {
    [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
    .expect("these tests need Chromium: apt-get install chromium (`tests/run` does it)")
}

/// Where this run's pictures of `what` go; those of the run before are gone.
fn screens(what: &str) -> PathBuf {
    let folder = house::root().join("target/artifacts/screens").join(what);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the screenshots");
    folder
}

/// Browsers that may run at once. Each keeps a core busy and waits for nobody: more would only be slower than pages expect.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// Runs a script of `tests/node` to its end; its log, if it does not end well, is the reason.
async fn succeed(script: Command) {
    let _turn = BROWSERS.acquire().await.expect("never closed");
    let mut script = Process::start(script);
    let status = script.ended(Duration::from_secs(100)).await;
    assert!(status.success(), "{}", script.log());
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("the folder").count()
}

#[tokio::test]
async fn a_newcomer_signs_in_at_the_demo() {
    let port = ports::free_address().port().to_string();
    let mut demo = sidegate();
    demo.args(["demo", "--port", &port]);
    let mut demo = Process::start(demo);
    let open = demo
        .wait_for("the address to open", |line| {
            let (_, address) = line.split_once("Open ")?;
            Some(address.trim().to_owned())
        })
        .await;
    assert!(demo.log().contains("DEMO"), "it says loudly what it is");
    let folder = screens("demo");
    let mut journey = node_provider::node("journey.mjs");
    journey.arg(&open).arg(&folder).arg(chromium());
    succeed(journey).await;
    assert_eq!(
        count(&folder),
        18,
        "six pages, each in light, dark and narrow"
    );
}

/// Such a page must not keep its visitor, and everybody behind the same address, from signing in.
#[tokio::test]
async fn a_page_with_hidden_frames_spends_nobodys_logins() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.top("trusted_proxies = [\"127.0.0.1\"]")).await;
    let mut frames = node_provider::node("frames.mjs");
    frames.arg(house.url("")).arg(chromium()).arg("203.0.113.7");
    succeed(frames).await;
}

/// A frame around the page of consent, forms of another site, and its form in another browser bring nobody a code.
#[tokio::test]
async fn nobody_else_says_yes_on_the_page_of_consent() {
    let home = issuer::home().await;
    let client = issuer::client(&home.house).await;
    let mut attacks = node_provider::node("consent_attacks.mjs");
    attacks
        .arg(home.house.url(""))
        .arg(chromium())
        .arg(issuer::authorize(&home.house, &client, &[]));
    succeed(attacks).await;
}

/// From its own page, which has another origin than the server and the gate.
#[tokio::test]
async fn the_mcp_inspector_registers_and_calls_a_tool() {
    let (_demo, server) = issuer::sdks::demo().await;
    let mut inspector = node_provider::node("inspector.mjs");
    inspector.arg(&server).arg(chromium());
    succeed(inspector).await;
}

#[tokio::test]
async fn two_apps_on_two_hosts_have_one_login() {
    let address = ports::free_address();
    let (app, wiki) = (Upstream::start().await, Upstream::start().await);
    let provider = ScriptedProvider::start().await;
    let at = |name: &str| format!("http://{name}.example.test:{}", address.port());
    let plan = House::plan().upstream(&app).provider(&provider);
    let _house = plan
        .public_url(&at("login"))
        .session("cookie_domain = \"example.test\"")
        .tables(&format!(
            "[upstreams.wiki]\nurl = \"http://{}\"\n[[routes]]\nhost = \"app.example.test\"\n\
             [[routes]]\nhost = \"wiki.example.test\"\nupstream = \"wiki\"\n",
            wiki.address
        ))
        .start_at(address)
        .await;
    let mut apps = node_provider::node("several_apps.mjs");
    apps.args([at("login"), at("app"), at("wiki")])
        .arg(chromium());
    succeed(apps).await;
    assert!(app.count() > 0 && wiki.count() > 0);
}

#[tokio::test]
async fn every_page_is_fit_to_be_seen() {
    let other = ScriptedProvider::start().await;
    let second = format!(
        "[providers.second]\nlabel = \"Second provider\"\n{}allow = \"anyone\"\n",
        other.table()
    );
    let (choosing, _upstream, _provider) = standard_with(|plan| plan.tables(&second)).await;
    let (denying, _upstream2, _provider2) =
        standard_with(|plan| plan.allow("{ groups = [\"admins\"] }")).await;
    // Neither its upstream nor its provider is there.
    let alone = House::plan()
        .route("/public/**", "public")
        .route("/closed", "deny")
        .start()
        .await;
    let folder = screens("pages");
    let mut pages = node_provider::node("pages.mjs");
    pages.arg(&folder).arg(chromium());
    for (name, status, address) in [
        ("chooser", "200", choosing.url("/deep?x=1")),
        ("denied", "403", denying.url("/page")),
        ("closed", "403", alone.url("/closed")),
        ("try-again", "503", alone.url("/page")),
        ("bad-gateway", "502", alone.url("/public/x")),
        ("bad-path", "400", alone.url("/public/%2e%2e%2fx")),
    ] {
        pages.args([name, status, &address]);
    }
    succeed(pages).await;
    assert_eq!(
        count(&folder),
        18,
        "six pages, each in light, dark and narrow"
    );
}

#[tokio::test]
async fn every_kind_of_provider_is_met_through_the_chooser() {
    let cases = several::everybody().await;
    let upstream = Upstream::start().await;
    let mut plan = House::plan().upstream(&upstream);
    let mut journey = node_provider::node("providers.mjs");
    let mut providers = Vec::new();
    for (name, case) in &cases {
        case.backend.ask_first();
        plan = plan.named(name, &case.table(name, "\"anyone\""));
        providers.push(format!("{name}={}", case.subject));
    }
    let message = "Only people of the campus may come in. Ask pedago@campus.example.";
    let denying = cases[0].1.table("tokyo", "{ campus = [\"Tokyo\"] }");
    let table = format!("label = \"42 Tokyo\"\ndeny_message = \"{message}\"\n{denying}");
    let house = plan.named("tokyo", &table).start().await;
    let folder = screens("providers");
    journey.arg(house.url("")).arg(&folder).arg(chromium());
    journey.arg("tokyo").args(&providers);
    succeed(journey).await;
    assert_eq!(
        count(&folder),
        9,
        "three pages, each in light, dark and narrow"
    );
}

#[tokio::test]
async fn the_account_is_looked_at_and_other_devices_are_signed_out() {
    let (house, _upstream, _provider) = arranged(
        |behaviour| behaviour.offers_logout = false,
        |plan| {
            plan.tables("[headers]\nset = { X-Api-Token = \"access_token\" }")
                .session("store = \"memory\"")
        },
    )
    .await;
    let folder = screens("account");
    let mut account = node_provider::node("account.mjs");
    account.arg(house.url("")).arg(&folder).arg(chromium());
    succeed(account).await;
    assert_eq!(
        count(&folder),
        6,
        "two pages, each in light, dark and narrow"
    );
}
