//! nginx, as Debian ships it.

use std::{fs, process::Command};

use super::{
    Front, Page, Parts,
    journey::{self, Ways},
    substitute, tool,
};
use crate::support::house::root;

fn command(parts: &Parts<'_>, recipe: &str) -> Command {
    let folder = parts.place.display();
    let recipe = substitute(
        recipe,
        &[
            ("listen 443 ssl;", format!("listen {} ssl;", parts.at)),
            (
                "/etc/ssl/app.example.com/fullchain.pem",
                parts.certificate.display().to_string(),
            ),
            (
                "/etc/ssl/app.example.com/privkey.pem",
                parts.key.display().to_string(),
            ),
            ("127.0.0.1:4180", parts.gate.to_string()),
            ("127.0.0.1:8000", parts.app.to_string()),
        ],
    );
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    // One process, so that it ends with the test.
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{recipe}}}\n"
    );
    let mut command = tool("/usr/sbin/nginx", "nginx");
    command.args(["-e", "stderr", "-p"]).arg(parts.place);
    command.arg("-c").arg(parts.write("nginx.conf", &whole));
    command
}

#[tokio::test]
async fn nginx_asks_the_gate() {
    let page = Page::open("nginx");
    let recipe = page.block("nginx");
    let front = Front::start(&page.block("toml"), |parts| command(parts, &recipe)).await;
    let ways = Ways {
        nothing: None,
        // One of the two, by `add_header`.
        renews: true,
        is_served_by_the_gate: false,
    };
    journey::is_kept(front, &ways).await;
}

#[test]
fn the_page_and_the_file_are_the_same() {
    for (page, language, file) in [
        ("nginx", "nginx", "deploy/nginx/auth_request.conf"),
        ("caddy", "caddyfile", "deploy/caddy/forward_auth.Caddyfile"),
    ] {
        let file = fs::read_to_string(root().join(file)).unwrap();
        assert_eq!(Page::open(page).block(language), file);
    }
}
