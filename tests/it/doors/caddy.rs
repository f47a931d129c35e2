//! Caddy, as Debian ships it.

use super::{
    Front, Page,
    journey::{self, Ways},
    substitute, tool,
};

#[tokio::test]
async fn caddy_asks_the_gate() {
    let page = Page::open("caddy");
    let recipe = page.block("caddyfile");
    let front = Front::start(&page.block("toml"), |parts| {
        let site = format!(
            "\nhttps://app.example.com:{} {{\n\tbind 127.0.0.1\n\ttls {} {}\n",
            parts.at.port(),
            parts.certificate.display(),
            parts.key.display()
        );
        let recipe = substitute(
            &recipe,
            &[
                ("\napp.example.com {\n", site),
                ("127.0.0.1:4180", parts.gate.to_string()),
                ("127.0.0.1:8000", parts.app.to_string()),
            ],
        );
        let options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
        let file = parts.write("Caddyfile", &format!("{options}{recipe}"));
        let mut command = tool("caddy", "caddy");
        command.env("HOME", parts.place);
        command.args(["run", "--adapter", "caddyfile", "--config"]);
        command.arg(file);
        command
    })
    .await;
    let ways = Ways {
        nothing: Some(""),
        renews: false,
        is_served_by_the_gate: false,
    };
    journey::is_kept(front, &ways).await;
}
