//! Machines that the configuration names.

use std::process::Command;

use http::StatusCode;

use super::{basic, bearer, with};
use crate::support::{house, standard_with};

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
    // Taken out of the file, it is out.
    house.rewrite("name = \"ci\"", "name = \"other\"");
    let (_, another) = fresh();
    house.rewrite(&hash, &another);
    house.process.signal("HUP");
    super::becomes(&house, &token, StatusCode::UNAUTHORIZED, super::SOON * 4).await;
    assert!(!house.process.log().contains(&token[10..]));
}
