//! Apache, as Debian ships it, in front of the gate that serves the app.

use super::{
    Front, Page,
    journey::{self, Ways},
    substitute, tool,
};

#[tokio::test]
async fn apache_hands_everything_to_the_gate() {
    let page = Page::open("apache");
    let recipe = page.block("apache");
    let front = Front::start(&page.block("toml"), |parts| {
        let recipe = substitute(
            &recipe,
            &[
                ("*:443", parts.at.to_string()),
                (
                    "/etc/ssl/app.example.com/fullchain.pem",
                    parts.certificate.display().to_string(),
                ),
                (
                    "/etc/ssl/app.example.com/privkey.pem",
                    parts.key.display().to_string(),
                ),
                ("127.0.0.1:4180", parts.gate.to_string()),
            ],
        );
        let modules = [
            ("mpm_event", "mpm_event"),
            ("authz_core", "authz_core"),
            // What the recipe's `a2enmod` names, and what that brings along.
            ("ssl", "ssl"),
            ("headers", "headers"),
            ("proxy", "proxy"),
            ("proxy_http", "proxy_http"),
        ]
        .map(|(name, file)| {
            format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{file}.so\n")
        })
        .concat();
        let folder = parts.place.display();
        let whole = format!(
            "ServerRoot {folder}\nPidFile {folder}/pid\nServerName localhost\nErrorLog /dev/stderr\n{modules}\
             User www-data\nGroup www-data\nListen {}\n{recipe}",
            parts.at
        );
        let mut command = tool("/usr/sbin/apache2", "apache2");
        // One process, so that it ends with the test.
        command.args(["-X", "-f"]);
        command.arg(parts.write("apache.conf", &whole));
        command
    })
    .await;
    let ways = Ways {
        nothing: None,
        renews: true,
        is_served_by_the_gate: true,
    };
    journey::is_kept(front, &ways).await;
}
