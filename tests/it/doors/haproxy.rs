//! `HAProxy`, as Debian ships it, with Lua.

use std::fs;

use super::{
    Front, Page,
    journey::{self, Ways},
    substitute, tool,
};

#[tokio::test]
async fn haproxy_asks_the_gate() {
    let page = Page::open("haproxy");
    let (recipe, script) = (page.block("haproxy"), page.block("lua"));
    let front = Front::start(&page.block("toml"), |parts| {
        let pem = [&parts.certificate, &parts.key].map(|file| fs::read_to_string(file).unwrap());
        let pem = parts.write("both.pem", &pem.concat());
        let gate = ("127.0.0.1:4180", parts.gate.to_string());
        let script = parts.write(
            "sidegate.lua",
            &substitute(&script, std::slice::from_ref(&gate)),
        );
        let recipe = substitute(
            &recipe,
            &[
                gate,
                ("127.0.0.1:8000", parts.app.to_string()),
                ("bind :443 ", format!("bind {} ", parts.at)),
                (
                    "/etc/haproxy/certs/app.example.com.pem",
                    pem.display().to_string(),
                ),
                ("/etc/haproxy/sidegate.lua", script.display().to_string()),
            ],
        );
        let mut command = tool("/usr/sbin/haproxy", "haproxy");
        // In the foreground, one process.
        command.args(["-db", "-f"]);
        command.arg(parts.write("haproxy.cfg", &recipe));
        command
    })
    .await;
    let ways = Ways {
        nothing: None,
        renews: true,
        is_served_by_the_gate: false,
    };
    journey::is_kept(front, &ways).await;
}
