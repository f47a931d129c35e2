//! `sidegate explain`: the road's verdict without the road.

use std::fs;

use serde_json::Value;

use super::{GOOD, text};
use crate::support::house::sidegate;

const ROUTES: &str = "
[headers.set]
X-Gate = { env = \"NOT_ON_THIS_MACHINE\" }

[[routes]]
path = \"/public/**\"
access = \"public\"

[[routes]]
path = \"/admin/**\"
allow = { groups = [\"admins\"] }

[[routes]]
path = \"/dry/**\"
allow = { groups = [\"admins\"] }
dry_run = true

[[routes]]
path = \"/metrics\"
access = \"public\"
allow = { networks = [\"10.0.0.0/8\"] }

[[routes]]
path = \"/closed\"
access = \"deny\"

[[routes]]
path = \"/api/**\"
access = \"api\"
methods = [\"POST\"]

[[routes]]
path = \"/fresh/**\"
max_age = \"10m\"
acr_values = [\"gold\"]

[[routes]]
path = \"/scoped/**\"
access = \"api\"
allow = { scopes = [\"read\"], credentials = [\"bearer\", \"api_token\"] }

[[routes]]
path = \"/mcp/**\"
mcp = true

[[routes]]
path = \"/tokens/**\"
tokens = true

[issuer]
";

/// Every credential that there is.
const CREDENTIALS: &str = "bearer = { audience = [\"api\"] }

[api_tokens]
scopes = [\"read\"]

[[service_tokens]]
name = \"ci\"
hash = \"sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\"
groups = [\"builders\"]

[users]
htpasswd = \"htpasswd\"
groups = { machines = [\"backup\"] }
";

const HTPASSWD: &str = "backup:$2y$05$NDJBewmsurG4KCAEt.1fxuVvYRRHC8wHKsNGpDad.0tcrKkD.eRbO\n";

fn explain(arguments: &[&str]) -> (i32, String) {
    explain_with(&format!("{CREDENTIALS}{ROUTES}"), arguments)
}

/// `tables` begin in the provider's.
fn explain_with(tables: &str, arguments: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("test.toml");
    fs::write(directory.path().join("htpasswd"), HTPASSWD).expect("the file is written");
    fs::write(&file, format!("state = \"memory\"\n{GOOD}{tables}")).expect("the file is written");
    let mut command = sidegate();
    command.arg("explain").args(arguments).arg("-c").arg(&file);
    let output = command.output().expect("the binary runs");
    let told = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().expect("a code"), told)
}

fn json(arguments: &[&str]) -> Value {
    let (code, told) = explain(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{told}");
    serde_json::from_str(&told).expect("JSON")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_verdict_is_told_with_its_route_and_rule() {
    let ada = "user=ada,email=ada@example.com,groups=users;ops";
    let admin = "user=ada,email=ada@example.com,groups=admins";
    let (gold, old) = (
        format!("{ada},acr=gold"),
        format!("{ada},acr=gold,auth_age=11m"),
    );
    let [read, token, less, password, bearer] = [
        "scopes=read;write",
        "credential=api_token,scopes=read,client=laptop",
        "scopes=write",
        "credential=password,scopes=read",
        "credential=bearer,acr=gold",
    ]
    .map(|proof| format!("{ada},{proof}"));
    for (arguments, verdict, route, status) in [
        (&["GET", "/public/x"][..], "public", "routes[0]", None),
        (&["GET", "/x"], "sign_in", "the default", Some(401)),
        (&["GET", "/x", "--as", ada], "pass", "the default", None),
        (
            &["GET", "/x", "--as", "user=eve,email=eve@evil.example"],
            "forbidden",
            "the default",
            Some(403),
        ),
        (
            &["GET", "/admin/x", "--as", ada],
            "forbidden",
            "routes[1]",
            Some(403),
        ),
        (
            &["GET", "/admin/x", "--as", admin],
            "pass",
            "routes[1]",
            None,
        ),
        (&["GET", "/dry/x", "--as", ada], "pass", "routes[2]", None),
        (&["GET", "/metrics"], "forbidden", "routes[3]", Some(403)),
        (
            &["GET", "/metrics", "--client", "10.1.2.3"],
            "public",
            "routes[3]",
            None,
        ),
        (
            &["GET", "/closed", "--as", admin],
            "forbidden",
            "routes[4]",
            Some(403),
        ),
        (&["POST", "/api/x"], "sign_in", "routes[5]", Some(401)),
        (
            &["GET", "/fresh/x", "--as", ada],
            "step_up",
            "routes[6]",
            Some(401),
        ),
        (
            &["GET", "/fresh/x", "--as", &gold],
            "pass",
            "routes[6]",
            None,
        ),
        (
            &["GET", "/fresh/x", "--as", &old],
            "step_up",
            "routes[6]",
            Some(401),
        ),
        (
            &["GET", "/scoped/x", "--as", &read],
            "pass",
            "routes[7]",
            None,
        ),
        (
            &["GET", "/scoped/x", "--as", &token],
            "pass",
            "routes[7]",
            None,
        ),
        (
            &["GET", "/scoped/x", "--as", &less],
            "forbidden",
            "routes[7]",
            Some(403),
        ),
        (
            &["GET", "/scoped/x", "--as", &password],
            "forbidden",
            "routes[7]",
            Some(403),
        ),
        (
            &["GET", "/scoped/x", "--as", ada],
            "forbidden",
            "routes[7]",
            Some(403),
        ),
        (
            &["GET", "/fresh/x", "--as", &bearer],
            "step_up",
            "routes[6]",
            Some(401),
        ),
        (
            &["GET", "/x", "--as", "user=backup,credential=service_token"],
            "pass",
            "the default",
            None,
        ),
        (
            &["GET", "https://app.example.com:443/public/x?a=b"],
            "public",
            "routes[0]",
            None,
        ),
    ] {
        let told = json(arguments);
        assert_eq!(told["verdict"], verdict, "{arguments:?}: {told}");
        assert_eq!(told["route"], route, "{arguments:?}: {told}");
        assert_eq!(told["status"], Value::from(status), "{arguments:?}: {told}");
    }
}

/// Which credential counts is the route's to say.
#[test]
fn sessions_and_access_tokens_count_where_the_road_counts_them() {
    let ada = "user=ada,email=ada@example.com";
    let token = format!("{ada},credential=access_token,scopes=api");
    let made = format!("{ada},credential=api_token");
    for (path, person, verdict, status) in [
        ("/mcp/x", ada, "sign_in", Some(401)),
        ("/mcp/x", &token, "pass", None),
        ("/mcp/x", &made, "pass", None),
        ("/tokens/x", ada, "pass", None),
        ("/tokens/x", &token, "pass", None),
        ("/x", &token, "invalid_credential", Some(401)),
        ("/x", &made, "pass", None),
        // Nobody asks there.
        ("/public/x", &token, "public", None),
        ("/closed", &token, "forbidden", Some(403)),
    ] {
        let told = json(&["GET", path, "--as", person]);
        assert_eq!(told["verdict"], verdict, "{path} {person}: {told}");
        assert_eq!(told["status"], Value::from(status), "{path} {person}");
    }
    let told = json(&["GET", "/mcp/x", "--as", ada]);
    let why = told["because"].as_str().unwrap_or_default();
    assert!(why.contains("an mcp route accepts"), "{told}");
}

#[test]
fn a_method_that_no_app_gets_passes_nowhere() {
    for method in ["TRACE", "CONNECT", "post", "Get"] {
        for path in ["/public/x", "/oauth2/account"] {
            let told = json(&[method, path]);
            assert_eq!(told["verdict"], "bad_request", "{method} {path}: {told}");
            assert_eq!(told["status"], 400);
        }
    }
}

#[test]
fn a_path_that_cannot_be_judged_passes_nowhere() {
    for (path, verdict) in [
        ("/public/../admin", "bad_request"),
        ("/public/%2e%2e/admin", "bad_request"),
        ("/public%2Fx", "bad_request"),
        ("/public/..%2Fadmin", "bad_request"),
        ("/a%00", "bad_request"),
        ("/a\u{1b}[31m", "bad_request"),
        ("/public/x#y", "bad_request"),
        ("/%zz", "bad_request"),
        ("/oauth2/auth", "own"),
        ("/oauth2%2Fauth", "bad_request"),
    ] {
        let told = json(&["GET", path]);
        assert_eq!(told["verdict"], verdict, "{path}: {told}");
        assert_eq!(told["headers"], serde_json::json!({}), "{path}");
        let (_, plain) = explain(&["GET", path]);
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
    }
    for question in [
        &["GET", "nowhere"][..],
        &["G T", "/"],
        &["GET", "https://a@b/"],
        &["GET", "/", "--as", "ada"],
        &["GET", "/", "--as", "user=ada,provider=nobody"],
        &[
            "GET",
            "/",
            "--as",
            "user=ada,provider=service,credential=bearer",
        ],
        &["GET", "/", "--as", "user=ada,grups=staff"],
        &["GET", "/", "--as", "user=ada,credential=passport"],
        &[
            "GET",
            "/",
            "--as",
            "user=ada,credential=session,scopes=read",
        ],
    ] {
        let (code, told) = explain(question);
        assert_eq!(code, 2, "{question:?}: {told}");
    }
}

#[test]
fn the_app_gets_the_headers_that_are_told_and_no_secret_is() {
    let told = json(&[
        "GET",
        "/x",
        "--as",
        "user=ada,email=ada@example.com,groups=a;b",
    ]);
    assert_eq!(told["headers"]["X-User"], "ada");
    assert_eq!(told["headers"]["X-User-Groups"], "a,b");
    assert_eq!(told["headers"]["X-Gate"], Value::Null);
    let told = json(&["GET", "/public/x"]);
    let names: Vec<_> = told["headers"]
        .as_object()
        .expect("headers")
        .keys()
        .collect();
    assert_eq!(names, ["X-Gate"]);
    let (_, plain) = explain(&["GET", "/dry/x", "--as", "user=ada,email=ada@example.com"]);
    assert!(plain.contains("would be refused: routes[2]"), "{plain}");
}

/// A credential that the configuration has no place for, or the route.
#[test]
fn it_says_where_a_credential_is_not_accepted() {
    let because = |path: &str, person: &str, config: &str| {
        let (code, told) = explain_with(config, &["GET", path, "--as", person, "--json"]);
        assert_eq!(code, 0, "{told}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let verdict = told["verdict"].as_str().unwrap_or_default().to_owned();
        (
            verdict,
            told["because"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let ada = "user=ada,email=ada@example.com";
    let bearer = format!("{ada},credential=bearer,scopes=read");
    // Nothing reads the header, and so the login is asked for.
    let (verdict, why) = because("/x", &bearer, "");
    assert_eq!(verdict, "sign_in", "{why}");
    assert!(why.contains("no provider has `bearer`"), "{why}");
    let (verdict, why) = because("/x", &bearer, "[issuer]\n");
    assert_eq!(verdict, "invalid_credential", "{why}");
    for (person, expected) in [
        (format!("{ada},credential=api_token"), "no [api_tokens]"),
        (
            "user=ci,credential=service_token".to_owned(),
            "no [[service_tokens]]",
        ),
        ("user=ci,credential=password".to_owned(), "no [users]"),
        (
            "user=ci,credential=certificate".to_owned(),
            "no tls.client_ca",
        ),
    ] {
        let (_, why) = because("/x", &person, "");
        assert!(why.contains(expected), "{person}: {why}");
    }
    // The route accepts tokens of the gate's own, and what is none of them gets 401, or counts for nothing.
    let mcp = format!("{CREDENTIALS}[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n");
    let only = "an mcp route accepts access tokens, API tokens and service tokens only";
    for (person, expected) in [
        (ada, "sign_in"),
        (&*bearer, "invalid_credential"),
        ("user=backup,credential=password", "invalid_credential"),
        ("user=robot,credential=certificate", "sign_in"),
    ] {
        let (verdict, why) = because("/mcp/x", person, &mcp);
        assert_eq!(verdict, expected, "{person}: {why}");
        assert!(why.ends_with(only), "{person}: {why}");
    }
    let (verdict, _) = because("/mcp/x", "user=ci,credential=service_token", &mcp);
    assert_eq!(verdict, "pass");
}

/// What the configuration itself knows of them need not be said.
#[test]
fn groups_of_passwords_and_machines_are_those_of_the_configuration() {
    for (person, groups) in [
        ("credential=password,user=backup", "machines"),
        ("credential=service_token,user=ci", "builders"),
        ("credential=password,user=backup,groups=other", "other"),
    ] {
        let told = json(&["GET", "/x", "--as", person]);
        assert_eq!(told["headers"]["X-User-Groups"], groups, "{person}: {told}");
    }
}

#[test]
fn a_token_that_is_exchanged_stands_in_authorization() {
    let route = "[[routes]]\npath = \"/orders/**\"\ntoken_exchange = { audience = \"orders\" }\n";
    let ada = "user=ada,email=ada@example.com";
    let (_, told) = explain_with(route, &["GET", "/orders/x", "--as", ada]);
    assert!(
        told.contains("header     Authorization: (a secret)"),
        "{told}"
    );
    let (_, told) = explain_with(route, &["GET", "/x", "--as", ada]);
    assert!(!told.contains("Authorization"), "{told}");
}

/// Which app gets a request, who vouches for a machine, and what is missing from the question.
#[test]
fn it_says_which_app_gets_it_and_what_was_not_said() {
    let (_, plain) = explain(&["GET", "/public/x"]);
    assert!(plain.contains("  upstream   default (http://"), "{plain}");
    let told = json(&["GET", "/public/x"]);
    assert_eq!(told["upstream"], "default");
    assert_eq!(json(&["GET", "/closed"])["upstream"], Value::Null);
    for machine in [
        "user=ci,credential=service_token",
        "user=ci,provider=service",
    ] {
        let told = json(&["GET", "/x", "--as", machine]);
        assert_eq!(told["headers"]["X-User-Id"], "service:ci", "{told}");
        assert_eq!(told["headers"]["X-User-Client"], "ci", "{told}");
    }
    let told = json(&["GET", "/admin/x", "--as", "user=ada,email=ada@example.com"]);
    assert_eq!(told["verdict"], "forbidden");
    let why = told["because"].as_str().unwrap_or_default();
    assert!(why.contains("groups"), "{why}");
}
