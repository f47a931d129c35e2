//! The command line, as somebody at a terminal meets it.

mod explain;
mod import;
mod start;
mod without_secrets;

use std::{collections::HashSet, fs, path::Path, process::Output};

use crate::support::house::sidegate;

fn run(arguments: &[&str]) -> Output {
    sidegate()
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(toml: &str) -> Output {
    check_with(toml, &[])
}

fn check_with(toml: &str, environment: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("test.toml");
    fs::write(&file, toml).expect("the file is written");
    let mut command = sidegate();
    command
        .args(["check", "-c"])
        .arg(&file)
        .envs(environment.iter().copied());
    command.output().expect("the binary runs")
}

const GOOD: &str = "upstream = \"http://127.0.0.1:8000\"
public_url = \"https://app.example.com\"

[providers.corp]
type = \"oidc\"
issuer = \"https://login.example.com\"
client_id = \"app\"
client_secret = \"canary-secret\"
allow = { domains = [\"example.com\"] }
";

/// Whatever somebody sets a header to and should not may be a secret.
#[test]
fn a_constant_that_is_refused_is_not_shown() {
    for value in [
        "Bearer canary-constant",
        "canary-constant",
        "claims.canary-constant.",
    ] {
        let output = check(&format!(
            "{GOOD}\n[headers]\nset = {{ X-Key = \"{value}\" }}\n"
        ));
        assert!(!output.status.success());
        let told = text(&output.stderr) + &text(&output.stdout);
        assert!(told.contains("X-Key"), "{told}");
        assert!(!told.contains("canary-constant"), "{told}");
    }
    let variable = [("SIDEGATE_HEADERS__SET__X_KEY", "canary-constant")];
    let output = check_with(GOOD, &variable);
    let told = text(&output.stderr) + &text(&output.stdout);
    assert!(
        !output.status.success() && !told.contains("canary-constant"),
        "{told}"
    );
}

/// A variable may be named as a source whatever it begins with, for every key that takes one.
#[test]
fn a_source_is_no_key() {
    let sources: &[(&str, &str)] = &[
        ("SIDEGATE_SESSION__STORE__ENV", "SIDEGATE_REDIS_URL"),
        ("SIDEGATE_REDIS_URL", "redis://127.0.0.1:9"),
    ];
    let output = check_with(GOOD, sources);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shared: &[(&str, &str)] = &[
        ("SIDEGATE_SESSION__SHARED__ENV", "SIDEGATE_REDIS_URL"),
        ("SIDEGATE_REDIS_URL", "redis://127.0.0.1:9"),
    ];
    let output = check_with(GOOD, shared);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // What is no source names nothing.
    let other: &[(&str, &str)] = &[
        ("SIDEGATE_HEADERS__SET__ENV", "SIDEGATE_REDIS_URL"),
        ("SIDEGATE_REDIS_URL", "redis://127.0.0.1:9"),
    ];
    let output = check_with(GOOD, other);
    assert!(text(&output.stderr).contains("SIDEGATE_REDIS_URL"));
}

#[test]
fn help_teaches() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for word in ["run", "check", "secret", "demo", "public_url", "upstream"] {
        assert!(help.contains(word), "{word} in:\n{help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100));
    for command in ["run", "check", "demo", "schema", "secret"] {
        assert!(run(&[command, "--help"]).status.success());
    }
}

#[test]
fn version_names_the_program() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert_eq!(
        text(&version.stdout),
        format!("sidegate {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn secrets_are_fresh_and_accepted() {
    let secrets: HashSet<String> = (0..3).map(|_| text(&run(&["secret"]).stdout)).collect();
    assert_eq!(secrets.len(), 3);
    for secret in secrets {
        let secret = secret.trim_end();
        assert!(secret.len() >= 43, "{secret}");
        let toml = format!("{GOOD}\n[session]\nsecret = \"{secret}\"\n");
        assert!(check(&toml).status.success());
    }
}

#[test]
fn a_good_file_is_summed_up() {
    let output = check(GOOD);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("https://app.example.com/oauth2/callback/corp"),
        "what to register: {said}"
    );
    let all = said + &text(&output.stderr);
    assert!(!all.contains("canary"), "{all}");
}

/// Who is believed, and who asks, decides as much as where the gate listens.
#[test]
fn what_is_in_front_is_summed_up() {
    let plain = text(&check(GOOD).stdout);
    for word in ["trusted_proxies", "forward_auth", "ext_authz"] {
        assert!(!plain.contains(word), "{word} in {plain}");
    }
    let said = text(
        &check(&format!(
            "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\nforward_auth = \"caddy\"\n\
             ext_authz_listen = \"127.0.0.1:4182\"\n{GOOD}"
        ))
        .stdout,
    );
    for line in [
        "  ext_authz  127.0.0.1:4182\n",
        "  believes   127.0.0.1/32, 10.0.0.0/8 (trusted_proxies)\n",
        "  asked by   caddy (forward_auth)\n",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

/// Whoever looks for a field that their provider does not have looks for long.
#[test]
fn where_to_come_back_to_after_a_logout_is_told_for_those_that_can_use_it() {
    let table = |kind: &str, more: &str| {
        format!(
            "[providers.{kind}]\nclient_id = \"app\"\nclient_secret = \"canary-secret\"\nallow = \"anyone\"\n{more}"
        )
    };
    let said = |tables: &[String]| {
        let top =
            "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n";
        let output = check(&format!("{top}{}", tables.concat()));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let none =
        ["42", "google", "github", "facebook", "gitlab", "discord"].map(|kind| table(kind, ""));
    let all = said(&none);
    assert!(!all.contains("post-logout"), "{all}");

    let tenant = "issuer = \"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\"\n";
    let mixed = said(&[
        table("github", ""),
        table("microsoft", tenant),
        table(
            "gitlab",
            "end_session_url = \"https://gitlab.com/sign-out\"\n",
        ),
        table("oidc", "issuer = \"https://login.example.com\"\n"),
    ]);
    let (_, after) = mixed.split_once("post-logout").expect("for some of them");
    let told: Vec<&str> = after.lines().skip(1).map(str::trim).collect();
    let line = |name: &str| format!("{name:<10} https://app.example.com/oauth2/sign_out");
    assert_eq!(told, ["microsoft", "gitlab", "oidc"].map(line), "{mixed}");
}

#[test]
fn an_address_of_redis_that_cannot_be_read_is_not_shown() {
    for address in [
        "redis://:canary@host:1:2",
        "redis://ann:can/canary@host",
        "redis://ann:canary@h1,ann:canary@h2",
        "redis-cluster://h1,ann:canary@h2:port",
        "redi://ann:a/canary@host",
        "redis:/:canary@host",
        "redis://:a@canary\\u0040host:x",
    ] {
        for line in [
            format!("[session]\nstore = \"{address}\""),
            format!("[session]\nstore = \"cookie\"\nshared = \"{address}\""),
            // No TOML: a quote is missing.
            format!("[session]\nstore = \"{address}"),
        ] {
            let output = check(&format!("{GOOD}\n{line}\n"));
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!output.status.success(), "{line}: {said}");
            assert!(!said.contains("canary"), "{line}: {said}");
        }
        let variable = [("SIDEGATE_SESSION__STORE", address)];
        let output = check_with(GOOD, &variable);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(
            !output.status.success() && !said.contains("canary"),
            "{said}"
        );
    }
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let output = check(
        "upstraem = \"http://127.0.0.1:8000\"
public_url = \"ftp://app.example.com/path\"
upstream = \"http://127.0.0.1:8000\"
workers = 0

[session]
lifetime = \"300x\"
secret = \"short\"

[providers.corp]
type = \"oidc\"
issuer = \"not a url\"
client_id = \"app\"

[[routes]]
path = \"no-slash\"
access = \"pubic\"
",
    );
    assert_eq!(output.status.code(), Some(2));
    let report = text(&output.stderr);
    for (word, line) in [
        ("upstraem", 1),
        ("public_url", 2),
        ("workers", 4),
        ("300x", 7),
        ("secret", 8),
        ("issuer", 12),
        ("allow", 10),
        ("no-slash", 16),
        ("pubic", 17),
    ] {
        assert!(report.contains(word), "{word} in:\n{report}");
        assert!(
            report.contains(&format!("test.toml:{line}")),
            "line {line} of {word} in:\n{report}"
        );
    }
    assert!(report.contains('^'), "a caret: {report}");
    assert!(
        report.contains("upstream`") || report.contains("\"upstream\""),
        "a hint: {report}"
    );
    assert!(
        !report.contains("short"),
        "a secret is not shown, not even a bad one:\n{report}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn dangerous_configurations_are_refused() {
    for (name, change) in [
        (
            "no allow",
            GOOD.replace("allow = { domains = [\"example.com\"] }", ""),
        ),
        (
            "an empty allow",
            GOOD.replace("{ domains = [\"example.com\"] }", "{}"),
        ),
        ("an empty list", GOOD.replace("[\"example.com\"]", "[]")),
        (
            "a wrong anyone",
            GOOD.replace("{ domains = [\"example.com\"] }", "\"everyone\""),
        ),
        (
            "an issuer without TLS",
            GOOD.replace("https://login", "http://login"),
        ),
        (
            "a short secret",
            format!("{GOOD}[session]\nsecret = \"12345678\"\n"),
        ),
        (
            "a secret of one letter",
            format!("{GOOD}[session]\nsecret = \"{}\"\n", "0".repeat(43)),
        ),
        ("no secrets", format!("{GOOD}[session]\nsecret = []\n")),
        (
            "a missing variable",
            GOOD.replace("\"canary-secret\"", "{ env = \"NOT_THERE\" }"),
        ),
        (
            "a missing file",
            GOOD.replace("\"canary-secret\"", "{ file = \"/not/there\" }"),
        ),
        (
            "an unknown key",
            format!("{GOOD}\n[sesion]\nlifetime = \"1d\"\n"),
        ),
        (
            "a key of oauth2-proxy's",
            format!("email_domains = [\"*\"]\n{GOOD}"),
        ),
        (
            "a key twice",
            format!("upstream = \"http://127.0.0.1:1\"\n{GOOD}"),
        ),
        ("a prefix at the root", format!("prefix = \"/\"\n{GOOD}")),
        (
            "an idle time beyond the lifetime",
            format!("{GOOD}[session]\nlifetime = \"1h\"\nidle_timeout = \"2h\"\n"),
        ),
        (
            "a bad glob",
            format!("{GOOD}\n[[routes]]\npath = \"/a/../b\"\naccess = \"public\"\n"),
        ),
        (
            "every host to return to",
            format!("redirect_hosts = [\"*\"]\n{GOOD}"),
        ),
        (
            "a whole domain of nobody's",
            format!("redirect_hosts = [\".\"]\n{GOOD}"),
        ),
        (
            "a reserved header by hand",
            format!("{GOOD}\n[headers]\nset = {{ Host = \"user\" }}\n"),
        ),
    ] {
        assert_ne!(change, GOOD, "{name} changes something");
        let output = check(&change);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{name}: {}",
            text(&output.stdout)
        );
        assert!(
            !text(&output.stderr).contains("canary"),
            "{name}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn the_environment_has_every_key() {
    let minimal = GOOD.replace("client_secret = \"canary-secret\"\n", "");
    let output = check_with(
        &minimal,
        &[
            ("SIDEGATE_PROVIDERS__CORP__CLIENT_SECRET", "from-outside"),
            ("SIDEGATE_SESSION__LIFETIME", "3d"),
            ("SIDEGATE_PUBLIC_URL", "https://other.example.com"),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("https://other.example.com"),
        "the environment wins"
    );
    let output = check_with(GOOD, &[("SIDEGATE_SESSION__LIFETIME", "long")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("SIDEGATE_SESSION__LIFETIME"));
    let output = check_with(GOOD, &[("SIDEGATE_SESION__LIFETIME", "3d")]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a mistyped name is no comment"
    );
}

#[test]
fn secrets_may_stand_in_files_and_variables() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    fs::write(&file, "from-a-file\n").expect("written");
    let by_file = GOOD.replace(
        "\"canary-secret\"",
        &format!("{{ file = \"{}\" }}", file.display()),
    );
    assert!(check(&by_file).status.success());
    let by_variable = GOOD.replace("\"canary-secret\"", "{ env = \"A_SECRET\" }");
    assert!(
        check_with(&by_variable, &[("A_SECRET", "x")])
            .status
            .success()
    );
    assert_eq!(
        check_with(&by_variable, &[("A_SECRET", "")]).status.code(),
        Some(2)
    );
}

#[test]
fn a_bad_file_does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.toml");
    fs::write(&file, "listen = 7\n").expect("written");
    let output = sidegate()
        .args(["run", "-c"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["run", "-c", "/not/there.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/not/there.toml"));
}

/// An editor finds every key in it; what each takes is held against files beside the code that reads them.
#[test]
fn the_schema_is_for_editors() {
    let output = run(&["schema"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["additionalProperties"], false);
    let lifetime = &schema["properties"]["session"]["properties"]["lifetime"];
    assert_eq!(
        (&lifetime["type"], &lifetime["default"]),
        (&"string".into(), &"7d".into())
    );
    assert!(lifetime["description"].is_string(), "{lifetime}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let manual = fs::read_to_string(file).expect("the example");
    assert!(manual.starts_with("#:schema ./sidegate.schema.json\n"));
}

#[test]
fn the_example_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let output = sidegate()
        .args(["check", "-c"])
        .arg(file)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A reviewer reads what a change means.
#[test]
fn a_change_is_told_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        file
    };
    let old = "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"http://localhost:4180\"\nworkers = 1\n\
        [session]\nsecret = \"m3Vu9Xq0c1pYtR7aKz5LwB2nHs8dEf4gJ6iQoU0vTxk\"\n\
        [providers.corp]\ntype = \"oidc\"\nissuer = \"https://id.example\"\nclient_id = \"a\"\nclient_secret = \"hidden-words\"\n\
        allow = { groups = [\"staff\", \"ops\"] }\n\
        [[routes]]\npath = \"/open/**\"\naccess = \"public\"\n\
        [[routes]]\npath = \"/admin/**\"\nallow = { groups = [\"ops\"] }\n";
    let new = old
        .replace(
            "m3Vu9Xq0c1pYtR7aKz5LwB2nHs8dEf4gJ6iQoU0vTxk",
            "tYw3Vu9Xq0c1pYtR7aKz5LwB2nHs8dEf4gJ6iQoU0vT",
        )
        .replace("workers = 1", "workers = 2")
        .replace("[\"staff\", \"ops\"]", "[\"staff\"]")
        .replace("access = \"public\"", "access = \"deny\"")
        .replace(
            "groups = [\"ops\"] }",
            "groups = [\"ops\"] }\nmax_age = \"10m\"\nacr_values = [\"gold\"]",
        )
        .replace("/admin/**", "/root/**")
        + "dry_run = true\n[upstreams.api]\nurl = \"http://127.0.0.1:9000\"\nconnect_timeout = \"2s\"\n\
           [[routes]]\npath = \"/api/**\"\nupstream = \"api\"\n[[service_tokens]]\nname = \"ci\"\n\
           hash = \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n";
    let (old, new) = (write("old.toml", old), write("new.toml", &new));
    let diff = |new: &Path, old: &Path| {
        let output = sidegate()
            .args(["check", "-c"])
            .arg(new)
            .arg("--diff")
            .arg(old)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let said = diff(&new, &old);
    for wanted in [
        "everybody is signed out",
        "providers.corp lets in groups staff; before, groups staff, ops",
        "the route for /open/**: nobody passes; before, everybody passes",
        "the route for /admin/** is removed",
        "a new route for /root/**: signed-in users pass, with groups ops, signed in at most 600s ago, by one of (gold), as a dry run",
        "a new route for /api/**: signed-in users pass, to api",
        "other keys that differ: upstreams.api.connect_timeout, service_tokens",
        "wait for a restart: workers",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
    assert!(
        !said.contains("hidden-words") && !said.contains("m3Vu9"),
        "{said}"
    );
    assert_eq!(diff(&old, &old), "no change in behaviour\n");
}
