//! Several addresses of one app, some of which are killed, hang, or say that they cannot.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::support::{Browser, House, Upstream};

/// Three addresses of one app.
struct Scene {
    house: House,
    apps: Vec<Upstream>,
}

async fn scene(count: usize, lines: &str) -> Scene {
    let mut apps = Vec::new();
    for _ in 0..count {
        apps.push(Upstream::start().await);
    }
    let urls: Vec<_> = apps
        .iter()
        .map(|app| format!("\"http://{}\"", app.address))
        .collect();
    let tables = format!(
        "[[routes]]\npath = \"/**\"\naccess = \"public\"\nupstream = \"app\"\n\
         [upstreams.app]\nurl = [{}]\n{lines}",
        urls.join(", ")
    );
    let house = House::plan()
        .top("workers = 2")
        .tables(&tables)
        .admin()
        .start()
        .await;
    Scene { house, apps }
}

/// How many requests got which status.
async fn load(house: &House, clients: usize, each: usize, method: &Method) -> Vec<(u16, usize)> {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let browser: Browser = house.browser();
        let method = method.clone();
        running.spawn(async move {
            let mut seen = Vec::new();
            for number in 0..each {
                let ask = browser.fetch(method.clone(), &format!("/{number}"));
                seen.push(ask.send().await.status.as_u16());
            }
            seen
        });
    }
    let mut all: Vec<u16> = running.join_all().await.concat();
    all.sort_unstable();
    let counted = all.chunk_by(|one, other| one == other);
    counted.map(|same| (same[0], same.len())).collect()
}

#[tokio::test]
async fn requests_are_spread() {
    let Scene { house, apps } = scene(3, "").await;
    assert_eq!(load(&house, 6, 20, &Method::GET).await, [(200, 120)]);
    for app in &apps {
        assert!((20..=60).contains(&app.count()), "{}", app.count());
    }
}

/// One of three is killed and comes back, under load: nobody notices, not even who sends what cannot be sent twice.
#[tokio::test]
async fn an_address_that_is_killed_costs_no_request() {
    for method in [Method::GET, Method::POST] {
        let Scene { house, apps } = scene(3, "").await;
        assert_eq!(load(&house, 4, 5, &method).await, [(200, 20)]);
        apps[1].server.down();
        // What rests between two requests, and what is connected anew.
        assert_eq!(load(&house, 4, 50, &method).await, [(200, 200)], "{method}");
        let (_, metrics) = house.admin_says("/metrics").await;
        let has = |line: &str| metrics.lines().any(|other| other.starts_with(line));
        assert!(
            has("sidegate_upstream_ejections_total{upstream=\"app\"} 1"),
            "{metrics}"
        );
        assert!(
            !has("sidegate_upstream_retries_total{upstream=\"app\"} 0"),
            "{metrics}"
        );
        for (place, app) in apps.iter().enumerate() {
            let address = app.address;
            let line = format!(
                "sidegate_upstream_in_service{{upstream=\"app\",address=\"{address}\"}} {}",
                u8::from(place != 1)
            );
            assert!(has(&line), "{line}: {metrics}");
        }
        let before = apps[1].count();
        apps[1].server.up().await;
        let mut failed = 0;
        for _ in 0..300 {
            let statuses = load(&house, 2, 2, &method).await;
            failed += statuses.iter().filter(|(status, _)| *status != 200).count();
            if apps[1].count() > before + 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(failed, 0);
        assert!(apps[1].count() > before + 3, "it never came back");
    }
}

/// One of three takes requests and answers none: so many fail as it takes to see that, and a trial now and then.
#[tokio::test]
async fn an_address_that_hangs_fails_few_requests() {
    let Scene { house, apps } = scene(2, "head_timeout = \"400ms\"\n").await;
    let hung = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = hung.local_addr().expect("an address").to_string();
    house.rewrite(&apps[1].address.to_string(), &at);
    let browser = house.browser();
    let began = Instant::now();
    let mut failed = 0;
    while failed < 3 && began.elapsed() < Duration::from_secs(30) {
        failed += usize::from(browser.get("/").await.status == StatusCode::GATEWAY_TIMEOUT);
    }
    assert_eq!(
        failed, 3,
        "it gets its share until it has failed three times"
    );
    let before = apps[1].count();
    let statuses = load(&house, 4, 50, &Method::GET).await;
    let failed: usize = statuses
        .iter()
        .filter(|(status, _)| *status != 200)
        .map(|(_, count)| count)
        .sum();
    assert!(failed <= 4, "{statuses:?}");
    assert_eq!(apps[1].count(), before);
}

/// An answer 500 is the app's own affair: it is passed on, and speaks against nobody. 503 in a row does.
#[tokio::test]
async fn an_address_that_says_it_cannot_is_left_alone() {
    for (code, most) in [(503, 5), (500, 200)] {
        let Scene { house, apps } = scene(2, "").await;
        let ill = Server::start(code).await;
        house.rewrite(&apps[1].address.to_string(), &ill.to_string());
        wait_for(&house, code).await;
        let statuses = load(&house, 4, 50, &Method::GET).await;
        let failed: usize = statuses
            .iter()
            .filter(|(status, _)| *status != 200)
            .map(|(_, count)| count)
            .sum();
        assert!(failed <= most, "{code}: {statuses:?}");
        assert_eq!(failed > 50, code == 500, "{statuses:?}");
    }
}

/// With `health` it is known before anybody asks.
#[tokio::test]
async fn a_probe_takes_an_address_out_and_in() {
    let Scene { house, apps } = scene(
        2,
        "health = { path = \"/healthz\", interval = \"100ms\" }\n",
    )
    .await;
    for app in &apps {
        app.wait_until("a probe", |app| app.count() > 1).await;
    }
    let seen = &apps[0].seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/healthz")
    );
    apps[0].server.down();
    let log = async |words: &str| {
        for _ in 0..500 {
            if house.process.log().contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{words} is not in the log:\n{}", house.process.log());
    };
    log("the app's address fails its health check").await;
    assert_eq!(load(&house, 2, 10, &Method::POST).await, [(200, 20)]);
    apps[1].server.down();
    for _ in 0..500 {
        let began = Instant::now();
        let reply = house.browser().get("/").await;
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(began.elapsed() < Duration::from_secs(2));
            assert_eq!(reply.header("retry-after"), "1");
            break;
        }
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        house.browser().get("/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    apps[0].server.up().await;
    log("the app's address passes its health check again").await;
    assert_eq!(load(&house, 2, 10, &Method::POST).await, [(200, 20)]);
}

#[tokio::test]
async fn where_every_address_is_out_the_answer_comes_at_once_and_says_when_to_come_back() {
    let Scene { house, apps } = scene(2, "").await;
    for app in &apps {
        app.server.down();
    }
    let browser = house.browser();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let reply = browser.get("/x").await;
        statuses.push(reply.status.as_u16());
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds: u64 = reply.header("retry-after").parse().expect("seconds");
            assert!((1..=60).contains(&seconds));
        }
    }
    assert!(statuses[..3].contains(&502), "{statuses:?}");
    assert!(statuses.contains(&503), "{statuses:?}");
    let line = house
        .access_line_where("a 503", |line| line["status"] == 503)
        .await;
    assert_eq!(line["verdict"], "bad_gateway");
    for app in &apps {
        app.server.up().await;
    }
    for _ in 0..500 {
        if browser.get("/x").await.status == StatusCode::OK {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the app came back, and nobody noticed");
}

/// What cannot be sent twice is not: an app may have seen it.
#[tokio::test]
async fn a_request_that_broke_is_repeated_elsewhere_only_where_that_does_no_harm() {
    let Scene { house, apps } = scene(2, "").await;
    let breaking = Breaking::start().await;
    house.rewrite(&apps[1].address.to_string(), &breaking.address.to_string());
    let browser = house.browser();
    for _ in 0..500 {
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
        if breaking.count() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(breaking.count() > 0, "it never got a request");
    let mut posted = Vec::new();
    for _ in 0..200 {
        let reply = browser
            .fetch(Method::POST, "/post")
            .body("once")
            .send()
            .await;
        posted.push(reply.status);
        if reply.status == StatusCode::BAD_GATEWAY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(posted.last(), Some(&StatusCode::BAD_GATEWAY), "{posted:?}");
    let elsewhere = apps[0]
        .seen()
        .iter()
        .filter(|seen| seen.method == "POST")
        .count();
    assert_eq!(elsewhere, posted.len() - 1);
}

use self::apps::{Breaking, Server, wait_for};

mod apps {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use http::StatusCode;

    use crate::support::{House, server};

    /// An app with one answer.
    pub(super) struct Server;

    impl Server {
        pub(super) async fn start(code: u16) -> SocketAddr {
            let status = StatusCode::from_u16(code).expect("a status");
            let server =
                server::Server::start(
                    move |_| async move { server::full(status, "text/plain", "no") },
                )
                .await;
            let address = server.address;
            // As long as the test runs.
            Box::leak(Box::new(server));
            address
        }
    }

    /// An app that breaks off before each answer.
    pub(super) struct Breaking {
        pub(super) address: SocketAddr,
        count: Arc<AtomicUsize>,
        _server: server::Server,
    }

    impl Breaking {
        pub(super) async fn start() -> Self {
            let count = Arc::<AtomicUsize>::default();
            let counted = Arc::clone(&count);
            let server = server::Server::start(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                async { server::break_off() }
            })
            .await;
            Self {
                address: server.address,
                count,
                _server: server,
            }
        }

        pub(super) fn count(&self) -> usize {
            self.count.load(Ordering::SeqCst)
        }
    }

    /// Waits until a reload has brought an app that answers so.
    pub(super) async fn wait_for(house: &House, code: u16) {
        for _ in 0..500 {
            if house.browser().get("/").await.status.as_u16() == code {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody answers {code}");
    }
}
