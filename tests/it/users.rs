//! `[users]`: names and passwords for programs that know nothing else.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};

use crate::{
    live,
    support::{Browser, House, Reply, Upstream, house::Plan, standard_with},
};

/// `secret`, by `htpasswd -nbB -C 5 ada secret`; `other`; and argon2's `password`.
const ADA: &str = "ada:$2y$05$NDJBewmsurG4KCAEt.1fxuVvYRRHC8wHKsNGpDad.0tcrKkD.eRbO\n";
const BOB: &str = "bob:$2b$05$ja5ZKm2ngj/Atr/HWTA/PObqnQZT9XVFhsfQ3kAbjeq2EIzO96qQm\n";
const EVE: &str =
    "eve:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n";

async fn house_with(change: impl FnOnce(Plan) -> Plan) -> (House, Upstream, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, format!("{ADA}{BOB}{EVE}")).expect("written");
    let (house, upstream, _provider) = standard_with(|plan| {
        change(
            plan.top("trusted_proxies = [\"127.0.0.1\"]")
                .admin()
                .tables(&format!(
                    "[users]\nhtpasswd = \"{}\"\ngroups = {{ admins = [\"ada\"] }}",
                    file.display()
                ))
                .tables("[audit]\nto = \"file:trail.jsonl\"")
                .tables("[[routes]]\npath = \"/admin/**\"\nallow = { groups = [\"admins\"] }")
                .tables("[[routes]]\npath = \"/eve/**\"\nallow = { providers = [\"users\"] }"),
        )
    })
    .await;
    (house, upstream, folder)
}

async fn ask(browser: &Browser, path: &str, name: &str, password: &str, client: &str) -> Reply {
    let text = STANDARD.encode(format!("{name}:{password}"));
    let ask = browser.bare(Method::GET, path);
    let ask = ask.header("authorization", &format!("Basic {text}"));
    ask.header("x-forwarded-for", client).send().await
}

const HOME: &str = "198.51.100.7";

#[tokio::test]
async fn whoever_has_a_password_is_told_to_the_app_and_judged_like_everybody() {
    let (house, _upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    let seen = ask(&program, "/page", "ada", "secret", HOME).await.seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-id"), Some("users:ada"));
    assert_eq!(seen.header("x-user-groups"), Some("admins"));
    assert_eq!(seen.header("x-user-provider"), Some("users"));
    assert_eq!(
        ask(&program, "/admin/x", "ada", "secret", HOME)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        ask(&program, "/admin/x", "bob", "other", HOME).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ask(&program, "/eve/x", "eve", "password", HOME)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        seen.header("authorization"),
        None,
        "the app sees a password"
    );

    let text = told(&house, "\"event\":\"login\"", 3).await;
    let logins = text
        .lines()
        .filter(|line| line.contains("\"event\":\"login\""));
    assert_eq!(logins.count(), 3, "one for each who was new:\n{text}");
    assert!(text.contains("\"credential\":\"password\""), "{text}");
    for secret in ["secret", "YWRhOnNlY3JldA", "$2y$"] {
        assert!(
            !text.contains(secret) && !house.process.log().contains(secret),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn a_false_one_is_refused_and_the_scheme_is_named_to_programs_alone() {
    let (house, upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    for (name, password) in [
        ("ada", "wrong"),
        ("ada", ""),
        ("mallory", "secret"),
        ("Ada", "secret"),
    ] {
        let refused = ask(&program, "/page", name, password, HOME).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(challenges(&refused).len(), 2, "{name}");
        assert!(challenges(&refused)[1].starts_with("Basic realm="));
    }
    let nobody = program.bare(Method::GET, "/api").send().await;
    assert!(challenges(&nobody)[0].starts_with("Bearer"));
    assert!(challenges(&nobody)[1].starts_with("Basic realm="));
    let script = program.fetch(Method::GET, "/api");
    let script = script
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-site", "same-origin");
    let script = script.send().await;
    assert_eq!(script.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        challenges(&script).len(),
        1,
        "a browser would ask for a password"
    );
    assert_eq!(upstream.count(), 0);
    told(&house, "\"event\":\"credential_refused\"", 4).await;
}

/// The trail, once it has so many of these.
async fn told(house: &House, event: &str, count: usize) -> String {
    let path = house.directory().join("trail.jsonl");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.matches(event).count() >= count {
            return text;
        }
        assert!(Instant::now() < end, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn challenges(reply: &Reply) -> Vec<String> {
    let values = reply.headers.get_all("www-authenticate").iter();
    values
        .map(|value| value.to_str().expect("text").to_owned())
        .collect()
}

#[tokio::test]
async fn guesses_are_held_up_and_lock_nobody_else_out() {
    let (house, _upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    assert_eq!(
        ask(&program, "/page", "bob", "other", HOME).await.status,
        StatusCode::OK
    );
    let mut refused = None;
    for number in 0..40 {
        let reply = ask(
            &program,
            "/page",
            "ada",
            &format!("guess{number}"),
            "203.0.113.9",
        )
        .await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=12).contains(&wait), "{wait}");
    // The right one does not get in from there now either: that would be an answer.
    let right = ask(&program, "/page", "ada", "secret", "203.0.113.9").await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        ask(&program, "/page", "ada", "secret", HOME).await.status,
        StatusCode::OK
    );
    // From many addresses at one name: who it has let in before is not locked out.
    for number in 0..40 {
        ask(
            &program,
            "/page",
            "bob",
            &format!("guess{number}"),
            &format!("192.0.2.{number}"),
        )
        .await;
    }
    let stranger = ask(&program, "/page", "bob", "other2", "192.0.3.1").await;
    assert_eq!(stranger.status, StatusCode::TOO_MANY_REQUESTS);
    let wrong = ask(&program, "/page", "bob", "typo", HOME).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "his own count");
    assert_eq!(
        ask(&program, "/page", "bob", "other", HOME).await.status,
        StatusCode::OK
    );
}

/// What a program proves at its own address answers no guess from elsewhere.
#[tokio::test]
async fn a_password_in_use_is_no_answer_to_whoever_guesses_it_elsewhere() {
    let (house, _upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    for number in 0..10 {
        let guess = format!("guess{number}");
        ask(&program, "/page", "ada", &guess, "203.0.113.9").await;
    }
    let used = ask(&program, "/page", "ada", "secret", HOME).await;
    assert_eq!(used.status, StatusCode::OK);
    let guessed = ask(&program, "/page", "ada", "secret", "203.0.113.9").await;
    assert_eq!(guessed.status, StatusCode::TOO_MANY_REQUESTS);
    let used = ask(&program, "/page", "ada", "secret", HOME).await;
    assert_eq!(used.status, StatusCode::OK);
}

/// Whoever was right somewhere is not locked out there by what others at the same address have guessed.
#[tokio::test]
async fn neighbours_behind_one_address_lock_nobody_out_who_was_right_there() {
    let (house, _upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    let right = ask(&program, "/page", "ada", "secret", HOME).await;
    assert_eq!(right.status, StatusCode::OK);
    let mut last = StatusCode::UNAUTHORIZED;
    for number in 0..40 {
        let name = format!("user{number}");
        last = ask(&program, "/page", &name, "wrong", HOME).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let wrong = ask(&program, "/page", "ada", "typo", HOME).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let stranger = ask(&program, "/page", "bob", "other", HOME).await;
    assert_eq!(stranger.status, StatusCode::TOO_MANY_REQUESTS);
}

/// Pages may read what a route with `mcp = true` answers: they learn nothing of a password there.
#[tokio::test]
async fn no_password_counts_where_tokens_alone_do() {
    let (house, upstream, _folder) =
        house_with(|plan| plan.tables("[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true"))
            .await;
    let program = house.browser();
    for password in ["secret", "wrong"].iter().cycle().take(30) {
        let refused = ask(&program, "/mcp/x", "ada", password, HOME).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{password}");
        let challenges = challenges(&refused);
        assert_eq!(challenges.len(), 1, "{challenges:?}");
        assert!(
            challenges[0].contains("resource_metadata="),
            "{challenges:?}"
        );
    }
    assert_eq!(upstream.count(), 0);
    // Nobody has guessed at anything.
    let right = ask(&program, "/page", "ada", "secret", HOME).await;
    assert_eq!(right.status, StatusCode::OK);
}

/// A password of the file is for the gate, where nobody asks for one no less than elsewhere; other names are the app's.
#[tokio::test]
async fn no_app_sees_a_name_of_the_file() {
    let (house, _upstream, _folder) = house_with(|plan| plan.route("/public/**", "public")).await;
    let program = house.browser();
    let seen = async |text: &str| {
        let request = program.bare(Method::GET, "/public/x");
        let seen = request.header("authorization", text).send().await.seen();
        seen.header("authorization").map(str::to_owned)
    };
    let encoded = STANDARD.encode("ada:secret");
    let (one, other) = encoded.split_at(6);
    for written in [
        format!("Basic {encoded}"),
        format!("basic {}", encoded.trim_end_matches('=')),
        format!("Basic {one} {other}"),
    ] {
        assert_eq!(seen(&written).await, None, "{written}");
    }
    let apps = format!("Basic {}", STANDARD.encode("carol:secret"));
    assert_eq!(seen(&apps).await, Some(apps));
}

/// What is open by a password ends when the file has it no more.
#[tokio::test]
async fn what_is_open_by_a_password_ends_with_it() {
    let (house, _upstream, folder) = house_with(|plan| plan).await;
    let program = house.browser();
    let stream = async |pair: &str| {
        let request = program.bare(Method::GET, "/_/events");
        let authorization = format!("Basic {}", STANDARD.encode(pair));
        let request = request.header("authorization", &authorization);
        let mut body = request.begin().await.into_body();
        live::next_event(&mut body).await.expect("an event");
        body
    };
    let (mut adas, mut bobs) = (stream("ada:secret").await, stream("bob:other").await);
    let next = folder.path().join("next");
    std::fs::write(&next, ADA).expect("written");
    std::fs::rename(&next, folder.path().join("htpasswd")).expect("moved");
    let end = Instant::now() + Duration::from_secs(30);
    while !house.process.log().contains("was read again") && Instant::now() < end {
        live::next_event(&mut adas)
            .await
            .expect("the stream goes on");
    }
    live::broken_off(&mut bobs).await;
    live::next_event(&mut adas)
        .await
        .expect("the stream goes on");
}

/// However a name is written it is one, so that nobody guesses four times as often.
#[tokio::test]
async fn j17_a_name_has_one_count_however_it_is_written() {
    let (house, _upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    let mut refused = 0;
    for (number, name) in ["john", "John", "JOHN", "jOHN"]
        .iter()
        .cycle()
        .take(40)
        .enumerate()
    {
        let client = format!("192.0.2.{number}");
        let reply = ask(&program, "/page", name, "wrong", &client).await;
        refused += usize::from(reply.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 20);
}

/// Somebody who fails with very many names holds nobody else up.
#[tokio::test]
async fn j18_many_names_that_fail_lock_nobody_out() {
    let (house, _upstream, _folder) = house_with(|plan| plan).await;
    let program = house.browser();
    for number in 0..400 {
        let name = format!("user{number}");
        ask(
            &program,
            "/page",
            &name,
            "wrong",
            &format!("203.0.113.{}", number % 4),
        )
        .await;
    }
    let flooding = ask(&program, "/page", "bob", "other", "203.0.113.1").await;
    assert_eq!(flooding.status, StatusCode::TOO_MANY_REQUESTS);
    for (name, password) in [("ada", "secret"), ("bob", "other"), ("eve", "password")] {
        let reply = ask(&program, "/page", name, password, HOME).await;
        assert_eq!(reply.status, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn what_htpasswd_writes_is_read_and_what_is_weak_is_refused_by_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    let write = |flags: &[&str]| {
        let mut command = std::process::Command::new("htpasswd");
        let done = command
            .arg("-bc")
            .args(flags)
            .arg(&file)
            .args(["ada", "from the tool"]);
        let done = done.output().expect("htpasswd");
        assert!(done.status.success(), "{done:?}");
    };
    write(&["-B", "-C", "6"]);
    let table = format!("[users]\nhtpasswd = \"{}\"", file.display());
    let (house, _upstream, _provider) = standard_with(|plan| plan.tables(&table)).await;
    let passed = ask(&house.browser(), "/page", "ada", "from the tool", HOME).await;
    assert_eq!(passed.status, StatusCode::OK);

    write(&["-m"]);
    let config = folder.path().join("sidegate.toml");
    let text = format!(
        "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
         [session]\nsecret = \"{}\"\n[providers.hub]\ntype = \"github\"\nclient_id = \"a\"\n\
         client_secret = \"b\"\nallow = \"anyone\"\n{table}\n",
        crate::support::house::SECRET
    );
    std::fs::write(&config, text).expect("written");
    let mut check = crate::support::house::sidegate();
    let checked = check
        .args(["check", "-c"])
        .arg(&config)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success());
    assert!(
        said.contains("line 1 of") && said.contains("htpasswd -B"),
        "{said}"
    );
    assert!(!said.contains("$apr1$"), "{said}");
}

/// Where the trail is required, a password opens nothing that is not written down.
#[tokio::test]
async fn no_password_counts_while_a_required_trail_cannot_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, ADA).expect("written");
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.tables(&format!("[users]\nhtpasswd = \"{}\"", file.display()))
            .tables("[audit]\nto = \"file:later/trail.jsonl\"\nrequired = true")
    })
    .await;
    let program = house.browser();
    for _ in 0..2 {
        let refused = ask(&program, "/page", "ada", "secret", HOME).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    std::fs::create_dir(house.directory().join("later")).expect("a folder");
    assert_eq!(
        ask(&program, "/page", "ada", "secret", HOME).await.status,
        StatusCode::OK
    );
}

#[test]
fn the_block_that_the_page_begins_with_is_right() {
    let page = std::fs::read_to_string(crate::support::house::root().join("docs/passwords.md"));
    let page = page.expect("the page");
    let (_, rest) = page.split_once("```toml\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("htpasswd"), ADA).expect("written");
    let block = block.replace("/etc/sidegate/", "");
    let text = format!(
        "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
         [session]\nsecret = \"{}\"\n[providers.hub]\ntype = \"github\"\nclient_id = \"a\"\n\
         client_secret = \"b\"\nallow = \"anyone\"\n{block}\n",
        crate::support::house::SECRET
    );
    let config = folder.path().join("sidegate.toml");
    std::fs::write(&config, text).expect("written");
    let mut check = crate::support::house::sidegate();
    let checked = check
        .args(["check", "-c"])
        .arg(&config)
        .output()
        .expect("it runs");
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let (house, _upstream, folder) = house_with(|plan| plan).await;
    let program = house.browser();
    assert_eq!(
        ask(&program, "/page", "bob", "other", HOME).await.status,
        StatusCode::OK
    );
    let next = folder.path().join("next");
    std::fs::write(&next, ADA).expect("written");
    std::fs::rename(&next, folder.path().join("htpasswd")).expect("moved");
    let end = Instant::now() + Duration::from_secs(30);
    while !house.process.log().contains("was read again") && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        ask(&program, "/page", "bob", "other", HOME).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        ask(&program, "/page", "ada", "secret", HOME).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_question_with_a_password_is_judged_alike() {
    let (house, _upstream, _folder) = house_with(|plan| plan.top("forward_auth = \"nginx\"")).await;
    let program = house.browser();
    let question = async |password: &str| {
        let text = STANDARD.encode(format!("ada:{password}"));
        let ask = program.bare(Method::GET, "/oauth2/auth");
        let ask = ask
            .header("x-original-uri", "/admin/x")
            .header("x-original-method", "GET");
        ask.header("authorization", &format!("Basic {text}"))
            .send()
            .await
    };
    let passed = question("secret").await;
    assert_eq!(
        (passed.status, passed.header("x-user-id")),
        (StatusCode::ACCEPTED, "users:ada")
    );
    let refused = question("wrong").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(challenges(&refused).len(), 2);
}
