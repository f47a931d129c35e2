//! Machines that the configuration names.

use std::process::Command;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Method, StatusCode};

use super::{basic, bearer, with};
use crate::{
    live,
    support::{house, standard_with},
};

/// A fresh token and its hash, as the program prints them.
fn fresh() -> (String, String) {
    let mut command: Command = house::sidegate();
    let output = command.arg("token").output().expect("it runs");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines = text.lines().map(str::to_owned);
    let (token, hash) = (lines.next(), lines.next());
    (token.expect("a token"), hash.expect("its hash"))
}

#[tokio::test]
async fn a_machine_is_known_by_its_token() {
    let (token, hash) = fresh();
    let (other, _) = fresh();
    let table = format!(
        "[[service_tokens]]\nname = \"ci\"\nhash = \"{hash}\"\ngroups = [\"builders\"]\n\
         [[routes]]\npath = \"/build/**\"\nallow = {{ groups = [\"builders\"] }}\n\
         [[routes]]\npath = \"/machines/**\"\nallow = {{ providers = [\"service\"] }}\n\
         [[routes]]\npath = \"/people/**\"\nallow = {{ providers = [\"script\"] }}\n\
         [[routes]]\npath = \"/admin/**\"\nallow = {{ groups = [\"admins\"] }}"
    );
    // A provider's `allow` does not concern machines.
    let (house, upstream, _provider) = standard_with(|plan| {
        plan.allow("{ emails = [\"nobody@example.com\"] }")
            .tables(&table)
    })
    .await;
    let seen = bearer(&house, &token, "/build/1").await.seen();
    assert_eq!(seen.header("x-user"), Some("ci"));
    assert_eq!(seen.header("x-user-id"), Some("service:ci"));
    assert_eq!(seen.header("x-user-groups"), Some("builders"));
    assert_eq!(seen.header("authorization"), None);
    let reply = with(&house, &basic(&format!("x:{token}")), "/machines/1").await;
    assert_eq!(reply.status, StatusCode::OK);
    for (path, told) in [
        ("/people/1", "This token may not use this."),
        (
            "/admin/1",
            "This token is in the groups builders; none of them may use this.",
        ),
    ] {
        let reply = bearer(&house, &token, path).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(reply.json()["message"], told, "{path}");
    }
    let detail = "allow.groups: they have 1: builders";
    house.until_logged(detail).await;
    let before = upstream.count();
    for wrong in [&other, &token[..41], &hash[7..]] {
        let reply = bearer(&house, wrong, "/build/1").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert_eq!(upstream.count(), before);
    // Without [api_tokens] nobody makes any.
    let reply = house.browser().get("/oauth2/account/tokens").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    // Taken out of the file, it is out, and so is what it has opened.
    let browser = house.browser();
    let request = browser.bare(Method::GET, "/_/events");
    let request = request.header("authorization", &format!("Bearer {token}"));
    let mut open = request.begin().await.into_body();
    live::next_event(&mut open).await.expect("an event");
    house.rewrite("name = \"ci\"", "name = \"other\"");
    let (_, another) = fresh();
    house.rewrite(&hash, &another);
    house.process.signal("HUP");
    super::becomes(&house, &token, StatusCode::UNAUTHORIZED, super::SOON * 4).await;
    live::broken_off(&mut open).await;
    assert!(!house.process.log().contains(&token[10..]));
}

/// A machine of the file comes with what no page can send by itself, and what was made for this gate.
#[tokio::test]
async fn a_machine_may_speak_to_an_mcp_server() {
    let (token, hash) = fresh();
    let table = format!(
        "[issuer]\n[[service_tokens]]\nname = \"ci\"\nhash = \"{hash}\"\n\
         [[routes]]\npath = \"/mcp/**\"\nmcp = true"
    );
    let (house, _upstream, _provider) = standard_with(|plan| plan.tables(&table)).await;
    let reply = bearer(&house, &token, "/mcp/x").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

/// However a token is written: by a public route no app sees it, and where somebody is asked for it is read to the letter.
#[tokio::test]
async fn no_app_sees_a_token_in_whatever_spelling() {
    let (token, hash) = fresh();
    let table = format!("[[service_tokens]]\nname = \"ci\"\nhash = \"{hash}\"");
    let (house, upstream, _provider) =
        standard_with(|plan| plan.tables(&table).route("/public/**", "public")).await;
    let pair = format!("me:{token}?~");
    for written in [
        format!("Digest x, Bearer {token}"),
        format!(", Bearer {token}"),
        format!("Token token=\"{token}\""),
        format!("Bearer=\"{token}\""),
        format!("Basic {}", STANDARD.encode(&pair)),
        format!("Basic {}", URL_SAFE_NO_PAD.encode(&pair)),
    ] {
        let seen = with(&house, &written, "/public/x").await.seen();
        assert_eq!(seen.header("authorization"), None, "{written}");
    }
    let before = upstream.count();
    for written in [
        format!("Bearer\t{token}"),
        format!("Bearer={token}"),
        format!("Basic\t{}", STANDARD.encode(&pair)),
    ] {
        let reply = with(&house, &written, "/x").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{written}");
    }
    assert_eq!(upstream.count(), before);
}

/// Who writes a token, or a secret, where its hash belongs reads what is wrong, and neither is in the report.
#[test]
fn a_token_where_its_hash_belongs_is_not_shown() {
    let (token, _) = fresh();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sidegate.toml");
    let text = format!(
        "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n\
         [session]\nsecret = \"{}\"\n[providers.hub]\ntype = \"github\"\nclient_id = \"a\"\n\
         client_secret = \"b\"\nallow = \"anyone\"\n[[service_tokens]]\nname = \"ci\"\nhash = \"{token}\"\n\
         [[service_tokens]]\nname = \"{token}!\"\n[issuer]\n[[issuer.clients]]\nid = \"x\"\n\
         secret_hash = \"the whole secret\"\nredirect_uris = [\"https://x.example/\"]\n",
        house::SECRET
    );
    std::fs::write(&config, text).expect("written");
    let mut command = house::sidegate();
    let checked = command.args(["check", "-c"]).arg(&config).output();
    let checked = checked.expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success());
    assert!(said.contains("and not the hash of one"), "{said}");
    assert!(said.contains("`secret_hash` is no SHA-256"), "{said}");
    assert!(
        !said.contains(&token[4..20]) && !said.contains("the whole secret"),
        "{said}"
    );
}
