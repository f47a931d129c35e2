//! The signed assertion: what it says, to whom, and that the verifiers in `docs/assertion.md` take it and nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream,
    house::{SECRET, root},
    provider::now,
    standard_with,
};

const HEADER: &str = "x-user-assertion";

async fn house() -> (House, Upstream, ScriptedProvider) {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let apps = format!(
        "[upstreams.wiki]\nurl = \"http://{address}\"\n\
         [upstreams.shop]\nurl = \"http://{address}\"\naudience = \"https://shop.example\"\n\
         [[routes]]\npath = \"/wiki/**\"\nupstream = \"wiki\"\n\
         [[routes]]\npath = \"/shop/**\"\nupstream = \"shop\"\n\
         [[routes]]\npath = \"/open/**\"\naccess = \"public\"\n",
        address = upstream.address
    );
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let house = plan.tables(&apps).start().await;
    (house, upstream, provider)
}

/// The assertion that the app gets at `path`.
async fn assertion(browser: &Browser, path: &str) -> String {
    let seen = browser.get(path).await.seen();
    let assertion = seen.header(HEADER).expect("an assertion");
    assertion.to_owned()
}

async fn keys(house: &House) -> JwkSet {
    let reply = house.browser().get("/oauth2/jwks").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    let text = reply.text();
    assert!(!text.contains("\"d\""), "{text}");
    serde_json::from_str(&text).expect("a key set")
}

/// The claims of an assertion for `audience` by one of `keys`.
fn verified(
    token: &str,
    keys: &JwkSet,
    issuer: &str,
    audience: &str,
) -> jsonwebtoken::errors::Result<Value> {
    let kid = jsonwebtoken::decode_header(token)?.kid.expect("a kid");
    let key = DecodingKey::from_jwk(keys.find(&kid).expect("a published key"))?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.leeway = 0;
    Ok(jsonwebtoken::decode(token, &key, &validation)?.claims)
}

#[tokio::test]
async fn each_app_is_told_who_is_there_in_its_own_name() {
    let (house, _upstream, provider) = house().await;
    provider.set(|behaviour| {
        behaviour.id_token = json!({ "auth_time": now() - 30, "acr": "gold" });
    });
    let ada = house.browser();
    ada.sign_in("/").await;
    let keys = keys(&house).await;
    assert_eq!(keys.keys.len(), 1);
    let issuer = &house.public_url;
    for (path, audience, route) in [
        ("/page", "default", "the default"),
        ("/wiki/x", "wiki", "routes[0]"),
        ("/shop/x", "https://shop.example", "routes[1]"),
    ] {
        let token = assertion(&ada, path).await;
        let claims = verified(&token, &keys, issuer, audience).expect("a good one");
        assert_eq!(claims["sub"], "script:ada-1815");
        assert_eq!(claims["user"], "ada");
        assert_eq!(claims["email"], "ada@example.com");
        assert_eq!(claims["groups"], json!(["engineers"]));
        assert_eq!(claims["route"], route);
        assert_eq!(claims["acr"], "gold");
        let (iat, exp) = (claims["iat"].as_u64(), claims["exp"].as_u64());
        assert_eq!(exp, iat.map(|iat| iat + 60));
        assert!(claims["auth_time"].as_u64() < iat);
        assert!(claims["sid"].as_str().is_some_and(|sid| !sid.is_empty()));
        assert!(verified(&token, &keys, issuer, "another").is_err());
        // A busy session costs no signature each time.
        assert_eq!(assertion(&ada, path).await, token);
    }
    // Nobody is told of where nobody is asked, whatever a client writes.
    for stranger in [&ada, &house.browser()] {
        let forged = stranger
            .navigate("/open/x")
            .header("X-User-Assertion", "e30.e30.");
        let forged = forged.header("X_User_Assertion", "e30.e30.").send().await;
        let seen = forged.seen();
        assert_eq!(seen.header(HEADER), None);
        assert_eq!(seen.header("x_user_assertion"), None);
    }
}

#[tokio::test]
async fn a_preset_has_it_in_its_own_header_and_a_key_takes_it_out() {
    for (preset, header) in [
        ("pomerium", "x-pomerium-jwt-assertion"),
        ("cloudflare-access", "cf-access-jwt-assertion"),
        ("google-iap", "x-goog-iap-jwt-assertion"),
        ("aws-alb", "x-amzn-oidc-data"),
    ] {
        let tables = format!("[headers]\npreset = \"{preset}\"\n");
        let (house, _upstream, _provider) = standard_with(|plan| plan.tables(&tables)).await;
        let ada = house.browser();
        let seen = ada.sign_in("/").await.seen();
        let token = seen.header(header).expect("an assertion").to_owned();
        let keys = keys(&house).await;
        verified(&token, &keys, &house.public_url, "default").expect("a good one");
    }
    let off = "[headers]\nassertion = false\nset = { X-Mine = \"assertion\" }\n";
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.tables(off).top("upstream_audience = \"mine\"")).await;
    let ada = house.browser();
    let seen = ada.sign_in("/").await.seen();
    assert_eq!(seen.header(HEADER), None);
    let token = seen.header("x-mine").expect("an assertion").to_owned();
    verified(&token, &keys(&house).await, &house.public_url, "mine").expect("a good one");
    let account = ada.get("/oauth2/account").await.text();
    assert!(account.contains("X-Mine") && !account.contains(&token));
}

#[tokio::test]
async fn the_doors_give_it_too() {
    let (house, _upstream, _provider) = house().await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let reply = ada.get("/oauth2/auth").await;
    let token = reply.header(HEADER);
    verified(token, &keys(&house).await, &house.public_url, "default").expect("a good one");
}

#[tokio::test]
async fn replicas_share_a_key_and_a_new_secret_is_a_new_one_beside() {
    let other = "tYw3Vu9Xq0c1pYtR7aKz5LwB2nHs8dEf4gJ6iQoU0vT";
    let lists = [
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\", \"{other}\"]"),
        format!("[\"{other}\", \"{SECRET}\"]"),
    ];
    let mut kids = Vec::new();
    let mut tokens = Vec::new();
    let mut sets = Vec::new();
    for secrets in &lists {
        let (house, _upstream, _provider) =
            standard_with(|plan| plan.secret(secrets).public_url("http://localhost:4180")).await;
        let ada = house.browser();
        tokens.push(assertion_after_login(&ada).await);
        let set = keys(&house).await;
        kids.push(
            set.keys
                .iter()
                .map(|key| key.common.key_id.clone().expect("a kid"))
                .collect::<Vec<_>>(),
        );
        sets.push(set);
    }
    assert_eq!(kids[0][..], kids[1][..1]);
    assert_eq!(
        kids[1].iter().rev().collect::<Vec<_>>(),
        kids[2].iter().collect::<Vec<_>>()
    );
    // Once both are published, either's word holds at both.
    for token in &tokens {
        for set in &sets[1..] {
            verified(token, set, "http://localhost:4180", "default").expect("a good one");
        }
    }
}

async fn assertion_after_login(browser: &Browser) -> String {
    let seen = browser.sign_in("/").await.seen();
    seen.header(HEADER).expect("an assertion").to_owned()
}

/// A verifier of the page, with the house's address in it.
fn verifier(language: &str, house: &House) -> String {
    let page = fs::read_to_string(root().join("docs/assertion.md")).expect("the page");
    let fence = format!("```{language}\n");
    let (_, block) = page.split_once(&fence).expect("a block of that language");
    let (block, _) = block.split_once("\n```").expect("its end");
    assert!(block.contains("https://app.example.com"), "{block}");
    block.replace("https://app.example.com", &house.public_url) + "\n"
}

/// What must not be taken, made from a good one.
fn forgeries(good: &str, other_app: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let decode = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    };
    let mut root = decode(parts[1]);
    root["user"] = json!("root");
    let mut none = decode(parts[0]);
    none["alg"] = json!("none");
    vec![
        ("another app's", other_app.to_owned()),
        (
            "changed claims",
            format!("{}.{}.{}", parts[0], encode(&root), parts[2]),
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{}.{}.", encode(&none), parts[1])),
        ("nothing", String::new()),
    ]
}

/// Runs a verifier over a good assertion, which it takes, and over others, which it does not. `run` gets what to verify.
async fn is_verified_by(run: impl Fn(&House, &str) -> Output, house: &House) {
    let ada = house.browser();
    ada.sign_in("/").await;
    let (good, other) = (
        assertion(&ada, "/wiki/x").await,
        assertion(&ada, "/page").await,
    );
    let output = run(house, &good);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.trim(), "script:ada-1815", "{said}");
    for (what, forged) in forgeries(&good, &other) {
        let output = run(house, &forged);
        assert!(!output.status.success(), "{what} is taken");
        assert!(output.stdout.is_empty(), "{what} is taken");
    }
}

/// A folder with one file, which is a verifier and something that calls it.
fn written(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    fs::write(&file, text).expect("written");
    (folder, file)
}

fn output(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command
        .output()
        .unwrap_or_else(|error| panic!("{} does not run: {error}", program.display()))
}

#[tokio::test]
async fn the_python_verifier_takes_it_and_nothing_else() {
    let (house, _upstream, _provider) = house().await;
    let python = root().join("tests/.cache/python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `tests/run` makes it",
        python.display()
    );
    let text = verifier("python", &house) + "import sys\nprint(who(sys.argv[1])[\"sub\"])\n";
    let (_folder, file) = written("verify.py", &text);
    is_verified_by(
        |_, token| output(Command::new(&python).arg(&file).arg(token)),
        &house,
    )
    .await;
}

#[tokio::test]
async fn the_node_verifier_takes_it_and_nothing_else() {
    let (house, _upstream, _provider) = house().await;
    let text = verifier("js", &house) + "console.log((await who(process.argv[2])).sub);\n";
    // Beside `node_modules`, where Node looks for packages.
    let folder = tempfile::tempdir_in(root().join("tests/node")).expect("a folder");
    let file = folder.path().join("verify.mjs");
    fs::write(&file, text).expect("written");
    is_verified_by(
        |_, token| output(Command::new("node").arg(&file).arg(token)),
        &house,
    )
    .await;
}

#[tokio::test]
async fn the_go_verifier_takes_it_and_nothing_else() {
    let Some(go) = tool(&["/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/usr/bin/go"]) else {
        return;
    };
    let (house, _upstream, _provider) = house().await;
    let (folder, file) = written("verify.go", &verifier("go", &house));
    let main = folder.path().join("main.go");
    fs::write(
        &main,
        "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() {\n\tclaims, err := Who(os.Args[1])\n\t\
         if err != nil {\n\t\tos.Exit(1)\n\t}\n\tfmt.Println(claims.Sub)\n}\n",
    )
    .expect("written");
    let program = folder.path().join("verify");
    let built = output(
        Command::new(go)
            .args(["build", "-o"])
            .args([&program, &file, &main])
            .env("GOCACHE", folder.path().join("cache"))
            .env("GOPATH", folder.path().join("path"))
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local"),
    );
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    is_verified_by(|_, token| output(Command::new(&program).arg(token)), &house).await;
}

#[tokio::test]
async fn the_java_verifier_takes_it_and_nothing_else() {
    let Some(java) = tool(&["/usr/bin/java", "/usr/local/bin/java"]) else {
        return;
    };
    let Some(jar) = jar() else {
        not_run(
            "tests/.cache/java has no Nimbus JOSE + JWT (`tests/run` fetches it where Maven is there)",
        );
        return;
    };
    let (house, _upstream, _provider) = house().await;
    let (imports, class) = {
        let text = verifier("java", &house);
        let (imports, class) = text.split_once("class Assertion").expect("the class");
        (imports.to_owned(), format!("class Assertion{class}"))
    };
    let main = "class Main {\n    public static void main(String[] arguments) throws Exception {\n        \
                System.out.println(Assertion.who(arguments[0]).getSubject());\n    }\n}\n";
    let (_folder, file) = written("Main.java", &format!("{imports}{main}{class}"));
    is_verified_by(
        |_, token| {
            output(
                Command::new(java)
                    .arg("-cp")
                    .arg(&jar)
                    .arg(&file)
                    .arg(token),
            )
        },
        &house,
    )
    .await;
}

/// Go and Java are run where they are installed.
fn tool<'p>(places: &[&'p str]) -> Option<&'p str> {
    let found = places.iter().find(|place| Path::new(place).exists());
    if found.is_none() {
        not_run(&format!("none of {places:?} is there"));
    }
    found.copied()
}

fn jar() -> Option<PathBuf> {
    let folder = fs::read_dir(root().join("tests/.cache/java")).ok()?;
    let mut files = folder.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|file| file.extension().is_some_and(|end| end == "jar"))
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests is told")]
fn not_run(why: &str) {
    println!("not run: {why}");
}

/// A script of one app may ask at a door itself, and would take what it gets to another app, or to the provider.
#[tokio::test]
async fn a_door_vouches_for_the_app_that_is_asked_about_and_gives_tokens_to_proxies_alone() {
    for trusted in [false, true] {
        let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
        let apps = format!(
            "[headers.set]\nX-Token = \"access_token\"\n[upstreams.wiki]\nurl = \"http://{}\"\n\
             [[routes]]\nhost = \"127.0.0.1\"\nupstream = \"wiki\"\n",
            upstream.address
        );
        let mut plan = House::plan().upstream(&upstream).provider(&provider);
        if trusted {
            plan = plan.top("trusted_proxies = [\"127.0.0.1/32\"]");
        }
        let house = plan.tables(&apps).start().await;
        let ada = house.browser();
        ada.sign_in("/").await;
        let keys = keys(&house).await;
        let ask = ada.bare(Method::GET, "/oauth2/auth");
        let answer = ask.header("X-Original-URI", "/page").send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.header("x-user"), "ada");
        assert_eq!(answer.header("x-token").is_empty(), !trusted);
        let assertion = answer.header(HEADER);
        verified(assertion, &keys, &house.public_url, "wiki").expect("for that app");
    }
}
