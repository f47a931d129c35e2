//! The audit trail: each event with who, by what and from where; rotated, and told of when it cannot be written.

use std::{path::PathBuf, process::Command, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{House, house, house::Plan, standard_with};

const RULES: &str = "[[routes]]\npath = \"/admin/**\"\nallow = { groups = [\"nobody\"] }\n\
    [[routes]]\npath = \"/closed/**\"\naccess = \"deny\"\n";

fn with_trail(plan: Plan) -> Plan {
    plan.admin()
        .tables("[audit]\nto = \"file:trail.jsonl\"")
        .tables(RULES)
}

fn trail(house: &House) -> PathBuf {
    house.directory().join("trail.jsonl")
}

fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The last line of `event` that `fits`, waited for.
async fn line(path: &PathBuf, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let found = lines(path).into_iter().rev();
        let mut found = found.filter(|line| line["event"] == event);
        if let Some(line) = found.find(|line| fits(line)) {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {event} in {:#?}", lines(path));
}

/// Signs in, is refused, and out.
async fn work(house: &House) {
    let browser = house.browser();
    browser.sign_in("/").await;
    browser.get("/admin/users?secret=1").await;
    browser.get("/closed/x").await;
    browser.get("/oauth2/callback/script?code=x&state=y").await;
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
}

#[tokio::test]
async fn each_event_says_who_by_what_and_from_where() {
    let (house, _upstream, _provider) = standard_with(with_trail).await;
    work(&house).await;
    let path = trail(&house);
    let login = line(&path, "login", |_| true).await;
    let id = login["user_id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("script:"), "{login}");
    assert_eq!(login["credential"], "session");
    assert_eq!(login["provider"], "script");
    assert_eq!(login["client"], "127.0.0.1");
    assert_eq!(login["request_id"].as_str().map(str::len), Some(32));

    let denied = line(&path, "denied", |line| line["path"] == "/admin/users").await;
    assert_eq!(denied["user_id"], id);
    assert_eq!(denied["method"], "GET");
    assert!(
        denied["rule"]
            .as_str()
            .unwrap()
            .starts_with("routes[0]: allow.groups")
    );
    let logged = house.access_line("/admin/users").await;
    assert_eq!(logged["request_id"], denied["request_id"]);
    line(&path, "denied", |line| line["path"] == "/closed/x").await;
    let failed = line(&path, "login_denied", |_| true).await;
    assert_eq!(failed["provider"], "script");
    assert!(failed["detail"].is_string(), "{failed}");
    let out = line(&path, "sign_out", |_| true).await;
    assert_eq!(
        (&out["user_id"], &out["object"]),
        (&login["user_id"], &login["object"])
    );

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret=1"), "a query is in the trail");
    let (_, metrics) = house.admin_says("/metrics").await;
    assert!(
        metrics.contains("sidegate_audit_events_total{event=\"denied\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("sidegate_audit_written 1"), "{metrics}");
}

#[tokio::test]
async fn a_proxys_question_that_is_denied_is_told_like_a_request() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        with_trail(plan)
            .top("trusted_proxies = [\"127.0.0.1\"]")
            .top("forward_auth = \"nginx\"")
    })
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let asked = browser.bare(Method::GET, "/oauth2/auth");
    let asked = asked.header("x-original-uri", "/admin/users?x=1");
    let asked = asked.header("x-original-method", "GET");
    assert_eq!(asked.send().await.status, StatusCode::FORBIDDEN);
    let denied = line(&trail(&house), "denied", |_| true).await;
    assert_eq!(
        (&denied["path"], &denied["method"]),
        (&"/admin/users".into(), &"GET".into())
    );
}

#[tokio::test]
async fn a_hangup_opens_the_file_anew_and_is_told_itself() {
    let (house, _upstream, _provider) = standard_with(with_trail).await;
    let (path, moved) = (trail(&house), house.directory().join("trail.1"));
    line(&path, "start", |_| true).await;
    std::fs::rename(&path, &moved).expect("moved");
    house.process.signal("HUP");
    let reload = line(&path, "reload", |_| true).await;
    assert_eq!(reload["outcome"], "applied");
    house.browser().sign_in("/").await;
    line(&path, "login", |_| true).await;
    assert!(lines(&moved).iter().all(|line| line["event"] != "login"));

    house.rewrite("[audit]", "[audit]\nnonsense = 1");
    house.process.signal("HUP");
    line(&path, "reload", |line| line["outcome"] == "refused").await;
}

#[tokio::test]
async fn on_standard_error_the_trail_is_among_the_lines_of_the_log() {
    let (mut house, _upstream, _provider) =
        standard_with(|plan| plan.tables("[audit]\nto = \"stderr\"")).await;
    house.browser().sign_in("/").await;
    house.process.terminate();
    house.process.ended(Duration::from_secs(20)).await;
    let log = house.process.whole_log();
    let events: Vec<_> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| Some(line["event"].as_str()?.to_owned()))
        .collect();
    assert_eq!(events, ["start", "login", "stop"], "{log}");
}

#[tokio::test]
async fn where_it_is_required_nobody_signs_in_while_it_cannot_be_written() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.admin()
            .tables("[audit]\nto = \"file:later/trail.jsonl\"\nrequired = true")
    })
    .await;
    let (_, metrics) = house.admin_says("/metrics").await;
    assert!(metrics.contains("sidegate_audit_written 0"), "{metrics}");
    let browser = house.browser();
    let refused = browser.follow("/").await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        refused.text()
    );
    assert!(!refused.sets_session());
    assert!(
        house
            .process
            .log()
            .contains("the audit trail cannot be written")
    );
    std::fs::create_dir(house.directory().join("later")).expect("a folder");
    house.browser().sign_in("/").await;
    let path = house.directory().join("later/trail.jsonl");
    line(&path, "lost", |_| true).await;
    line(&path, "login", |_| true).await;
}

/// Who asks as an operator, and what they are told.
async fn operator(house: &House, method: &str, target: &str) -> String {
    let asked =
        format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let admin = house.admin_address();
    let answer = crate::support::raw::try_exchange(admin, false, asked.as_bytes()).await;
    answer.expect("an answer")
}

#[tokio::test]
async fn a_tokens_life_is_told_from_its_making_to_its_end() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        with_trail(plan)
            .top("state = \"memory\"")
            .tables("[api_tokens]\n")
    })
    .await;
    let path = trail(&house);
    let browser = house.browser();
    browser.sign_in("/").await;
    let make = async |name: &str| {
        let ask = browser.fetch(Method::POST, "/oauth2/account/tokens");
        let ask = ask.header("content-type", "application/json");
        let reply = ask.body(json!({ "name": name }).to_string()).send().await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
        reply.json()
    };
    let token = make("laptop").await;
    let text = token["token"].as_str().expect("a text");
    let bearer = async |text: &str, path: &str| {
        let program = house.browser();
        let ask = program.bare(Method::GET, path);
        let ask = ask.header("authorization", &format!("Bearer {text}"));
        ask.send().await.status
    };
    let made = line(&path, "token_made", |_| true).await;
    assert_eq!(made["object"], token["start"]);
    assert_eq!(made["detail"], "laptop");
    assert_eq!(made["credential"], "session");

    for _ in 0..3 {
        assert_eq!(bearer(text, "/page").await, StatusCode::OK);
    }
    assert_eq!(bearer(text, "/admin/x").await, StatusCode::FORBIDDEN);
    let denied = line(&path, "denied", |_| true).await;
    assert_eq!(denied["credential"], "api_token");
    assert_eq!(denied["user_id"], made["user_id"]);
    let uses = lines(&path);
    let uses: Vec<_> = uses
        .iter()
        .filter(|line| line["event"] == "token_used")
        .collect();
    assert_eq!(uses.len(), 1, "{uses:#?}");
    assert_eq!(uses[0]["object"], token["start"]);
    assert_eq!(uses[0]["user_id"], made["user_id"]);
    assert_eq!(uses[0]["client"], "127.0.0.1");
    assert_eq!(uses[0]["request_id"].as_str().map(str::len), Some(32));

    // Another person's, or nobody's.
    let mut wrong = text.to_owned();
    wrong.replace_range(10..11, if &text[10..11] == "a" { "b" } else { "a" });
    assert_eq!(bearer(&wrong, "/page").await, StatusCode::UNAUTHORIZED);
    let refused = line(&path, "credential_refused", |_| true).await;
    assert_eq!(refused["path"], "/page");

    let id = token["id"].as_str().expect("an id");
    let end = format!("/oauth2/account/tokens/{id}");
    let ended = browser.fetch(Method::DELETE, &end).send().await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text());
    let ended = line(&path, "token_ended", |_| true).await;
    assert_eq!(ended["object"], token["start"]);
    assert_eq!(ended["credential"], "session");

    let other = make("server").await;
    let id = other["id"].as_str().expect("an id");
    let answer = operator(&house, "DELETE", &format!("/tokens/{id}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let ended = line(&path, "token_ended", |line| line["detail"] == "server").await;
    assert_eq!(ended["credential"], "operator");
    assert_eq!(ended["client"], "127.0.0.1");
    let admin = line(&path, "admin", |_| true).await;
    assert_eq!(admin["outcome"], "tokens_ended");

    let told = std::fs::read_to_string(&path).unwrap();
    for secret in [text, other["token"].as_str().unwrap(), &wrong] {
        assert!(!told.contains(&secret[12..]), "a token is in the trail");
    }
}

/// The questions of docs/audit.md, as they stand there.
#[tokio::test]
async fn the_block_of_the_page_works_and_its_questions_have_answers() {
    let page = house::root().join("docs/audit.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, block) = page.split_once("```toml\n").expect("a block");
    let (block, _) = block.split_once("```").expect("an end");
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.admin()
            .top("state = \"memory\"")
            .tables(&block.replace("/var/log/sidegate/", ""))
            .tables("[api_tokens]\n")
            .tables(RULES)
    })
    .await;
    work(&house).await;
    let path = house.directory().join("audit.jsonl");
    let login = line(&path, "login", |_| true).await;
    line(&path, "sign_out", |_| true).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let ask = browser.fetch(Method::POST, "/oauth2/account/tokens");
    let ask = ask.header("content-type", "application/json");
    let made = ask.body("{\"name\": \"ci\"}").send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let ended = operator(&house, "DELETE", "/sessions?all=true").await;
    assert!(ended.starts_with("HTTP/1.1 200"), "{ended}");
    line(&path, "admin", |_| true).await;

    let (_, questions) = page.split_once("## Questions").expect("questions");
    let (questions, _) = questions.split_once("\n## ").expect("an end");
    let commands: Vec<_> = questions
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("an end").0)
        .collect();
    assert_eq!(commands.len(), 7);
    let id = login["user_id"].as_str().expect("an id");
    let answers: Vec<_> = commands
        .iter()
        .map(|command| {
            let command = command.replace("corp:42", id);
            let done = Command::new("sh")
                .args(["-c", &command])
                .current_dir(house.directory())
                .output()
                .expect("sh");
            assert!(done.status.success(), "{command}: {done:?}");
            String::from_utf8(done.stdout).expect("text")
        })
        .collect();
    assert_eq!(answers[0].lines().count(), 2, "{answers:?}");
    assert!(answers[1].contains("\"event\":\"denied\""), "{answers:?}");
    assert!(answers[2].contains("allow.groups"), "{answers:?}");
    assert!(answers[3].contains("127.0.0.1"), "{answers:?}");
    assert!(
        answers[4].contains("\"object\":\"everybody\""),
        "{answers:?}"
    );
    assert!(answers[5].contains("token_made sgp_"), "{answers:?}");
    assert_eq!(answers[6].trim(), "0");
}
