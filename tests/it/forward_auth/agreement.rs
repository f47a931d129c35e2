//! One request, asked by every road: the gate as a reverse proxy, and each door of each spelling. All must say the same, and
//! what a slow model says that looks at nothing but the table of rules.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    self, House, ScriptedProvider, Stream, Upstream,
    envoy::{Envoy, Held},
    ports,
};

const RULES: &str = r#"
[[routes]]
host = "wiki.test"
path = "/open/**"
access = "public"

[[routes]]
path = "/public/**"
access = "public"

[[routes]]
path = "/feed"
methods = ["GET"]
access = "public"

[[routes]]
path = "/api/**"
access = "api"

[[routes]]
path = "/maybe/**"
access = "optional"

[[routes]]
path = "/admin/**"
allow = { groups = ["engineers"] }

[[routes]]
path = "/shut/**"
access = "deny"

[[routes]]
path = "/near/**"
access = "public"
allow = { networks = ["192.0.2.0/24"] }
"#;

/// A path as a client writes it, and what every reader makes of it; none where two readers could differ over the rule.
const PATHS: &[(&str, Option<&str>)] = &[
    ("/", Some("/")),
    ("/page", Some("/page")),
    ("/open/x", Some("/open/x")),
    ("/public/x", Some("/public/x")),
    ("/feed", Some("/feed")),
    ("/api/v1", Some("/api/v1")),
    ("/maybe/x", Some("/maybe/x")),
    ("/admin/x", Some("/admin/x")),
    ("/shut/x", Some("/shut/x")),
    ("/near/x", Some("/near/x")),
    ("/publicity", Some("/publicity")),
    ("/PUBLIC/x", Some("/PUBLIC/x")),
    ("/public/...", Some("/public/...")),
    ("/public/x?next=/admin/y", Some("/public/x")),
    ("/page?x=/public/", Some("/page")),
    ("/page?/public/", Some("/page")),
    ("/page%3F/public/", Some("/page")),
    ("/public/x%3Fy", Some("/public/x")),
    ("/%70ublic/x", Some("/public/x")),
    ("/public/x;v=1", Some("/public/x")),
    ("/admin//x", Some("/admin/x")),
    ("/group%2Fx", Some("/group/x")),
    ("/public/../admin/x", None),
    ("/public/%2e%2e/admin/x", None),
    ("/public/%252e%252e/admin/x", None),
    ("/public/..;/admin/x", None),
    ("/public//../admin/x", None),
    ("/public\\..\\admin\\x", None),
    ("/public/%2e%2e%2fadmin/x", None),
    ("/public/%5c..%5cadmin/x", None),
    ("/public/%c0%ae%c0%ae/admin/x", None),
    ("/public/.", None),
    ("/public/%00", None),
    ("/public/%", None),
    ("/public/%zz", None),
    ("/public%2Fx", None),
    ("/public%252Fx", None),
    ("/public\\x", None),
    ("/public;v=1/x", None),
    ("//public/x", None),
    ("/admin%2Fx", None),
    ("/oauth2%2Fsign_in", None),
];
/// Of those that two readers read differently: what falls under two rules, which is known once the host is.
const TWO_RULES: [&str; 6] = [
    "/public%2Fx",
    "/public%252Fx",
    "/public\\x",
    "/public;v=1/x",
    "//public/x",
    "/admin%2Fx",
];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "post"];
const HOSTS: [&str; 3] = ["app.test", "wiki.test", "evil.test"];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    /// A cookie that opens nowhere.
    Forged,
    /// In the group that `/admin` asks for.
    Ada,
    /// In none.
    Eve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// And the app is told of this user, or of nobody.
    Pass(&'static str),
    SignIn,
    Forbidden,
    BadRequest,
    Misdirected,
}

/// Slow and obvious.
fn model(method: &str, host: &str, (written, path): (&str, Option<&str>), who: Who) -> Verdict {
    let user = match who {
        Who::Nobody | Who::Forged => "",
        Who::Ada => "ada",
        Who::Eve => "eve",
    };
    let login = if user.is_empty() {
        Verdict::SignIn
    } else {
        Verdict::Pass(user)
    };
    if method == "post" || path.is_none() && !TWO_RULES.contains(&written) {
        return Verdict::BadRequest;
    }
    if host == "evil.test" {
        return Verdict::Misdirected;
    }
    let Some(path) = path else {
        return Verdict::BadRequest;
    };
    let below = |folder: &str| path.starts_with(folder);
    let is_read = method == "GET" || method == "HEAD";
    if host == "wiki.test" && below("/open/") || below("/public/") || path == "/feed" && is_read {
        Verdict::Pass("")
    } else if below("/maybe/") {
        Verdict::Pass(user)
    } else if below("/admin/") && who == Who::Eve || below("/shut/") || below("/near/") {
        Verdict::Forbidden
    } else {
        login
    }
}

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    ReverseProxy,
    Nginx,
    TraefikAuth,
    TraefikForward,
    EnvoyAuth,
    EnvoyForward,
    ExtAuthz,
}

impl Road {
    fn request(self, (method, host, path): (&str, &str, &str), cookie: &str) -> String {
        // What a client could send, in the spellings that are not this road's.
        let forged_original = "X-Original-URI: /public/forged\r\nX-Original-Method: GET\r\n";
        let forged_url = "X-Original-URL: http://app.test/public/forged\r\n";
        let forged_forwarded = "X-Forwarded-Uri: /public/forged\r\nX-Forwarded-Method: GET\r\n";
        let cookie = if cookie.is_empty() {
            String::new()
        } else {
            format!("Cookie: {cookie}\r\n")
        };
        let (line, told) = match self {
            // Its headers alone are taken from here.
            Self::ReverseProxy | Self::ExtAuthz => (
                format!("{method} {path} HTTP/1.1\r\nHost: {host}"),
                format!("{forged_original}{forged_url}{forged_forwarded}"),
            ),
            Self::Nginx => (
                format!("GET /oauth2/auth HTTP/1.1\r\nHost: {host}"),
                format!(
                    "X-Original-URI: {path}\r\nX-Original-Method: {method}\r\n{forged_url}{forged_forwarded}\
                     X-Forwarded-Host: app.test\r\n"
                ),
            ),
            Self::TraefikAuth | Self::TraefikForward => {
                let door = if self == Self::TraefikAuth {
                    "auth"
                } else {
                    "forward"
                };
                (
                    format!("GET /oauth2/{door} HTTP/1.1\r\nHost: gate.internal"),
                    format!(
                        "X-Forwarded-Method: {method}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: {host}\r\n\
                         X-Forwarded-Uri: {path}\r\n{forged_original}{forged_url}"
                    ),
                )
            }
            Self::EnvoyAuth | Self::EnvoyForward => {
                let door = if self == Self::EnvoyAuth {
                    "auth"
                } else {
                    "forward"
                };
                (
                    format!("{method} /oauth2/{door}{path} HTTP/1.1\r\nHost: {host}"),
                    format!(
                        "{forged_original}{forged_url}{forged_forwarded}X-Forwarded-Host: app.test\r\n"
                    ),
                )
            }
        };
        format!("{line}\r\n{told}{cookie}X-User: forged\r\nContent-Length: 0\r\n\r\n")
    }

    fn expected(self, verdict: Verdict) -> &'static [u16] {
        match (self, verdict) {
            (Self::Nginx | Self::TraefikAuth, Verdict::Pass(_)) => &[202],
            (_, Verdict::Pass(_)) => &[200],
            (_, Verdict::SignIn) => &[401],
            // Two statuses for a yes and three for a no are all that nginx takes.
            (
                Self::Nginx | Self::TraefikAuth,
                Verdict::Forbidden | Verdict::BadRequest | Verdict::Misdirected,
            )
            | (Self::EnvoyAuth, Verdict::Misdirected)
            | (_, Verdict::Forbidden) => &[403],
            // Some are refused before it is known who asks.
            (Self::EnvoyAuth, Verdict::BadRequest) => &[400, 403],
            (_, Verdict::BadRequest) => &[400],
            (_, Verdict::Misdirected) => &[421],
        }
    }
}

/// A connection that is kept as long as the house keeps it.
struct Line<'h> {
    house: &'h House,
    stream: Option<Stream>,
    /// Where the house is asked over gRPC.
    envoy: Option<Envoy>,
}

impl Line<'_> {
    /// What Envoy is told of the same request: its status, and whom the app would be told of.
    async fn check(&mut self, asked: (&str, &str, &str), request: &str) -> (u16, String) {
        let (method, host, path) = asked;
        let mut held = Held::new(method, host, path);
        for line in request.lines().skip(2) {
            if let Some((name, value)) = line.split_once(": ") {
                held = held.header(&name.to_ascii_lowercase(), value);
            }
        }
        let told = self.envoy.as_mut().unwrap().ask(&held).await;
        (told.status(), format!("\r\n\r\n{}", told.header("x-user")))
    }

    /// The status, and the whole answer as text.
    async fn ask(&mut self, request: &str) -> (u16, String) {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => support::connect(self.house.address, false).await,
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 8_192];
        let (head, length) = loop {
            let read = stream.read(&mut buffer).await.unwrap();
            answer.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
            if let Some(end) = text.find("\r\n\r\n") {
                let head = text[..end].to_owned();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                let has_body = !request.starts_with("HEAD ");
                break (head, end + 4 + if has_body { length } else { 0 });
            }
            assert_ne!(read, 0, "no answer to {request}");
        };
        assert!(!head.contains("transfer-encoding"), "{head}");
        while answer.len() < length {
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "half an answer to {request}");
            answer.extend_from_slice(&buffer[..read]);
        }
        if !head.contains("connection: close") {
            self.stream = Some(stream);
        }
        (
            head[9..12].parse().unwrap(),
            String::from_utf8_lossy(&answer).into_owned(),
        )
    }
}

/// Whom an answer tells of: the app's echo, or the header of a door's answer.
fn told(road: Road, answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if road == Road::ExtAuthz {
        return body.to_owned();
    }
    if road == Road::ReverseProxy {
        let seen: support::upstream::Seen = serde_json::from_str(body).unwrap();
        return seen.header("x-user").unwrap_or_default().to_owned();
    }
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let users: Vec<_> = lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-user"))
        .collect();
    assert_eq!(users.len(), 1, "{head}");
    users[0].1.trim().to_owned()
}

/// The `Cookie` of each.
async fn people(house: &House, provider: &ScriptedProvider) -> Vec<(Who, String)> {
    let mut people = vec![
        (Who::Nobody, String::new()),
        (Who::Forged, "sidegate=AAAAAAAAAAAAAAAAAAAA".to_owned()),
    ];
    for (who, name, group) in [
        (Who::Ada, "ada", "engineers"),
        (Who::Eve, "eve", "visitors"),
    ] {
        provider.set(|behaviour| {
            behaviour.user = json!({ "sub": name, "preferred_username": name, "groups": [group] });
        });
        let browser = house.browser();
        browser.sign_in("/").await;
        people.push((who, browser.cookies("/")));
    }
    people
}

#[tokio::test]
async fn every_door_judges_as_the_reverse_proxy_and_as_the_model() {
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let house = async |lines: &str| {
        House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .public_url("http://app.test")
            .top("trusted_proxies = [\"127.0.0.1/32\"]\nlog = \"warn\"")
            .top(lines)
            .tables(RULES)
            .start()
            .await
    };
    let authz = ports::free_address();
    let bare = house(&format!("ext_authz_listen = \"{authz}\"")).await;
    let nginx = house("forward_auth = \"nginx\"").await;
    let traefik = house("forward_auth = \"traefik\"").await;
    let envoy = house("forward_auth = \"envoy\"").await;
    let people = people(&bare, &provider).await;
    let mut roads = [
        (Road::ReverseProxy, &bare),
        (Road::Nginx, &nginx),
        (Road::TraefikAuth, &traefik),
        (Road::TraefikForward, &traefik),
        (Road::EnvoyAuth, &envoy),
        (Road::EnvoyForward, &envoy),
        (Road::ExtAuthz, &bare),
    ]
    .map(|(road, house)| {
        (
            road,
            Line {
                house,
                stream: None,
                envoy: None,
            },
        )
    });
    roads[6].1.envoy = Some(Envoy::connect(authz).await);
    let mut asked = 0;
    let mut passed = 0;
    for (path, reading) in PATHS {
        for method in METHODS {
            for host in HOSTS {
                for (who, cookie) in &people {
                    // Nobody's host is nobody's, whoever comes.
                    if host == "evil.test" && *who != Who::Ada {
                        continue;
                    }
                    let verdict = model(method, host, (path, *reading), *who);
                    for (road, line) in &mut roads {
                        let before = upstream.count();
                        let request = road.request((method, host, path), cookie);
                        let (status, answer) = if *road == Road::ExtAuthz {
                            line.check((method, host, path), &request).await
                        } else {
                            line.ask(&request).await
                        };
                        let what = format!("{road:?} {method} {host} {path} {who:?}: {answer}");
                        assert!(
                            road.expected(verdict).contains(&status),
                            "{verdict:?} {what}"
                        );
                        let reached = upstream.count() - before;
                        let reaches =
                            *road == Road::ReverseProxy && matches!(verdict, Verdict::Pass(_));
                        assert_eq!(reached, usize::from(reaches), "{what}");
                        if let Verdict::Pass(user) = verdict {
                            passed += 1;
                            // The echo of a HEAD has no body.
                            if !(*road == Road::ReverseProxy && method == "HEAD") {
                                assert_eq!(told(*road, &answer), user, "{what}");
                            }
                        }
                        asked += 1;
                    }
                }
            }
        }
    }
    assert!(asked >= 10_500 && passed >= 2_200, "{asked} {passed}");
}
