//! `sidegate check --online`: what an operator learns before anybody tries to log in.

mod redis;

use std::{path::Path, process::Output};

use crate::support::{
    ScriptedProvider,
    house::sidegate,
    node_provider, ports,
    provider::CLIENT_SECRET,
    servers::{OAuthServer, forty_two},
};

const TOP: &str = "upstream = \"http://127.0.0.1:9\"\npublic_url = \"https://app.example.com\"\n";

/// What `check` says of a file with these tables.
struct Said {
    status: Option<i32>,
    text: String,
    /// Written to stderr.
    complaints: String,
}

impl Said {
    /// The one line about `asked`.
    fn line(&self, asked: &str) -> &str {
        match self.of(asked)[..] {
            [line] => line,
            _ => panic!("not one line about {asked}: {}", self.text),
        }
    }

    /// The lines about `provider` below `online:`.
    fn of(&self, provider: &str) -> Vec<&str> {
        let (_, online) = self.text.split_once("online:\n").expect("it asked");
        let lines = online.lines().map(str::trim);
        let lines = lines.filter_map(|line| line.strip_prefix(provider));
        lines.map(str::trim).collect()
    }
}

/// Runs beside the test, whose own runtime serves the providers.
async fn check(tables: &str, online: bool) -> Said {
    let toml = format!("{TOP}{tables}");
    let run = move || {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("test.toml");
        std::fs::write(&file, toml).expect("the file is written");
        output(&file, online)
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it ran");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        status: output.status.code(),
        text: text(&output.stdout),
        complaints: text(&output.stderr),
    }
}

fn output(file: &Path, online: bool) -> Output {
    let mut command = sidegate();
    command.args(["check", "-c"]).arg(file);
    if online {
        command.arg("--online");
    }
    command.output().expect("the binary runs")
}

fn scripted(provider: &ScriptedProvider) -> String {
    format!("[providers.corp]\n{}allow = \"anyone\"\n", provider.table())
}

#[tokio::test]
async fn providers_that_answer_are_fine_and_their_callbacks_are_told() {
    let corp = ScriptedProvider::start().await;
    let intra = OAuthServer::start(&forty_two::SCRIPT).await;
    let tables = format!(
        "{}[providers.npm]\n{}allow = \"anyone\"\n[providers.42]\nbase_url = \"{}\"\n\
         client_id = \"app\"\nclient_secret = \"{CLIENT_SECRET}\"\nallow = {{ campus = \"Paris\" }}\n\
         callback_path = \"/oauth/callback/\"\n",
        scripted(&corp),
        node_provider::table(),
        intra.url(),
    );
    let said = check(&tables, true).await;
    assert_eq!(said.status, Some(0), "{}{}", said.text, said.complaints);
    for provider in ["corp", "npm", "42"] {
        let lines = said.of(provider);
        assert!(
            matches!(&lines[..], [line, client] if line.starts_with("ok: ") && line.contains(" answers")
                && *client == "ok: accepts the client id and secret"),
            "{provider}: {}",
            said.text
        );
    }
    for callback in [
        "https://app.example.com/oauth2/callback/corp",
        "https://app.example.com/oauth2/callback/npm",
        "https://app.example.com/oauth/callback/",
    ] {
        let is_told = said.text.lines().any(|line| line.ends_with(callback));
        assert!(is_told, "{callback}: {}", said.text);
    }
    // No login was begun, and the one code was made up.
    assert_eq!(corp.calls("/authorize").len(), 0);
    assert_eq!(corp.token_requests(), 1);
    assert!(!(said.text + &said.complaints).contains("canary"));
}

#[tokio::test]
async fn one_that_is_down_is_told_and_does_not_hide_the_others() {
    let corp = ScriptedProvider::start().await;
    let nobody = ports::free_address();
    let tables = format!(
        "{}[providers.gone]\ntype = \"oidc\"\nissuer = \"http://{nobody}\"\nclient_id = \"app\"\n\
         allow = \"anyone\"\n",
        scripted(&corp),
    );
    let said = check(&tables, true).await;
    assert_eq!(said.status, Some(1), "{}", said.text);
    assert!(said.of("corp")[0].starts_with("ok: "), "{}", said.text);
    let lines = said.of("gone");
    assert!(
        matches!(&lines[..], [line] if line.starts_with("failed: ") && line.contains(&nobody.to_string())),
        "{}",
        said.text
    );
    // The callbacks are told all the same: they may be what is missing there.
    assert!(said.text.contains("/oauth2/callback/gone"));
}

#[tokio::test]
async fn a_provider_that_says_it_is_another_is_a_failure() {
    let corp = ScriptedProvider::start().await;
    corp.set(|behaviour| behaviour.discovered_issuer = Some("https://other.example".to_owned()));
    let said = check(&scripted(&corp), true).await;
    assert_eq!(said.status, Some(1), "{}", said.text);
    assert!(said.of("corp")[0].starts_with("failed: "), "{}", said.text);
}

#[tokio::test]
async fn a_clock_ten_minutes_off_is_a_failure_and_one_minute_a_warning() {
    for (offset, status, grade, side) in [
        (600, Some(1), "failed: ", "behind"),
        (-600, Some(1), "failed: ", "ahead of"),
        (60, Some(0), "warning: ", "behind"),
        (0, Some(0), "", ""),
    ] {
        let corp = ScriptedProvider::start().await;
        corp.set(|behaviour| behaviour.clock_offset = offset);
        let said = check(&scripted(&corp), true).await;
        assert_eq!(said.status, status, "{offset}: {}", said.text);
        let lines = said.of("corp");
        assert!(
            lines[0].starts_with("ok: "),
            "it does answer: {}",
            said.text
        );
        let line = lines[1];
        if offset == 0 {
            assert!(!line.contains("clock"), "{line}");
            continue;
        }
        assert!(
            line.starts_with(grade) && line.contains("clock") && line.contains(side),
            "{line}"
        );
        let seconds: i64 = line
            .split(' ')
            .find_map(|word| word.parse().ok())
            .expect("how far");
        // Two clocks that tick between the question and the answer.
        assert!((seconds - offset.abs()).abs() <= 5, "{line}");
    }
}

#[tokio::test]
async fn without_online_nobody_is_asked() {
    let corp = ScriptedProvider::start().await;
    let said = check(&scripted(&corp), false).await;
    assert_eq!(said.status, Some(0), "{}", said.complaints);
    assert!(!said.text.contains("online:"));
    assert!(said.text.contains("/oauth2/callback/corp"));
    assert_eq!(corp.server.connections(), 0);
}
