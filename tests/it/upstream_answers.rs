//! What an upstream may say on its connections, byte for byte, and that nobody gets another one's answer by it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{House, browser::Browser, raw};

/// An upstream that does with each connection what its script says.
struct Scripted {
    house: House,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

/// One connection, as a script sees it.
struct Connection {
    stream: TcpStream,
    /// From 0.
    number: usize,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    /// Reads a request's head; false at the end of the connection.
    async fn read_head(&mut self) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return false,
            }
        }
        let head = String::from_utf8(head).expect("ASCII");
        self.heads.lock().expect("no panic inside").push(head);
        true
    }

    async fn say(&mut self, answer: &str) {
        // The gate may have gone.
        let _ = self.stream.write_all(answer.as_bytes()).await;
    }
}

impl Scripted {
    async fn start<F>(script: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::<AtomicUsize>::default();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let heads = Arc::clone(&seen);
                tokio::spawn(script(Connection {
                    stream,
                    number,
                    heads,
                }));
            }
        });
        let house = House::plan()
            .upstream_at(&format!("http://{address}"))
            .top("workers = 1")
            .top("upstream_timeout = \"3s\"")
            .route("/**", "public")
            .start()
            .await;
        Self {
            house,
            connections,
            heads,
        }
    }

    /// Answers each request on each connection with `answer`.
    async fn always(answer: &'static str) -> Self {
        Self::start(move |mut connection| async move {
            while connection.read_head().await {
                connection.say(answer).await;
            }
        })
        .await
    }

    fn browser(&self) -> Browser {
        self.house.browser()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic inside").clone()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys_answer() {
    for first in [
        format!("{OK}{POISON}"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{POISON}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n{POISON}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n{POISON}"
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let said = first.clone();
        let scripted = Scripted::start(move |mut connection| {
            let said = said.clone();
            async move {
                let answers = match connection.number {
                    0 => [said, POISON.to_owned()],
                    _ => [OK.to_owned(), OK.to_owned()],
                };
                for answer in answers {
                    if connection.read_head().await {
                        connection.say(&answer).await;
                    }
                }
            }
        })
        .await;
        let browser = scripted.browser();
        assert!(!browser.get("/first").await.text().contains("poison"));
        assert_eq!(browser.get("/second").await.text(), "fine", "{first:?}");
        assert_eq!(scripted.connections(), 2, "{first:?}");
    }
}

#[tokio::test]
async fn what_comes_while_nobody_asks_is_nobodys_answer() {
    let scripted = Scripted::start(|mut connection| async move {
        let number = connection.number;
        while connection.read_head().await {
            connection.say(OK).await;
            if number == 0 {
                sleep(Duration::from_millis(100)).await;
                connection.say(POISON).await;
            }
        }
    })
    .await;
    let browser = scripted.browser();
    assert_eq!(browser.get("/first").await.text(), "fine");
    sleep(Duration::from_millis(400)).await;
    assert_eq!(browser.get("/second").await.text(), "fine");
    assert_eq!(scripted.connections(), 2);
}

#[tokio::test]
async fn chunks_count_and_a_length_beside_them_does_not() {
    let scripted = Scripted::always(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let reply = scripted.browser().get("/").await;
    assert_eq!(reply.text(), "hello");
    assert_ne!(
        reply
            .headers
            .get("content-length")
            .map(http::HeaderValue::as_bytes),
        Some(&b"3"[..])
    );
}

#[tokio::test]
async fn answers_without_a_body_keep_their_connection() {
    let scripted = Scripted::start(|mut connection| async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"a\"\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
            OK,
        ] {
            if connection.read_head().await {
                connection.say(answer).await;
            }
        }
    })
    .await;
    let browser = scripted.browser();
    let head = browser.fetch(Method::HEAD, "/").send().await;
    assert_eq!(head.header("content-length"), "7");
    assert_eq!(browser.get("/").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(browser.get("/").await.status, StatusCode::NO_CONTENT);
    assert_eq!(browser.get("/").await.text(), "fine");
    assert_eq!(browser.get("/").await.text(), "fine");
    assert_eq!(scripted.connections(), 1);
}

#[tokio::test]
async fn interim_answers_stay_here_and_have_an_end() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let scripted = Scripted::start(move |mut connection| async move {
        while connection.read_head().await {
            connection.say(interim).await;
            sleep(Duration::from_millis(50)).await;
            connection.say(OK).await;
        }
    })
    .await;
    let reply = scripted.browser().get("/").await;
    assert_eq!(
        (reply.status, reply.text()),
        (StatusCode::OK, "fine".to_owned())
    );
    assert!(!reply.headers.contains_key("link"));

    let endless = Scripted::start(move |mut connection| async move {
        while connection.read_head().await {
            connection.say(&interim.repeat(20)).await;
        }
    })
    .await;
    let reply = endless.browser().get("/").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn old_servers_end_their_answer_with_the_connection() {
    let scripted = Scripted::start(|mut connection| async move {
        if connection.read_head().await {
            connection
                .say("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello ")
                .await;
            sleep(Duration::from_millis(50)).await;
            connection.say("world").await;
        }
    })
    .await;
    let browser = scripted.browser();
    for _ in 0..2 {
        assert_eq!(browser.get("/").await.text(), "hello world");
    }
    assert_eq!(scripted.connections(), 2);
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let scripted = Scripted::start(|mut connection| async move {
        while connection.read_head().await {
            for byte in OK.split_inclusive(|_| true) {
                connection.say(byte).await;
                sleep(Duration::from_millis(2)).await;
            }
        }
    })
    .await;
    assert_eq!(scripted.browser().get("/").await.text(), "fine");
}

/// A connection that the upstream closes at the moment of use: what may be sent twice is, and nothing else.
#[tokio::test]
async fn a_connection_closed_at_the_moment_of_use_loses_no_get_and_repeats_no_post() {
    let scripted = Scripted::start(|mut connection| async move {
        let even = connection.number % 2 == 0;
        if connection.read_head().await {
            connection.say(OK).await;
        }
        // The second request is read, and its connection closed without a word.
        if connection.read_head().await && !even {
            connection.say(OK).await;
        }
    })
    .await;
    let browser = scripted.browser();
    assert_eq!(browser.get("/1").await.text(), "fine");
    assert_eq!(browser.get("/2").await.text(), "fine");
    assert_eq!(scripted.connections(), 2);
    let asked = |path: &str| {
        let heads = scripted.heads();
        let line = format!(" {path} ");
        heads.iter().filter(|head| head.contains(&line)).count()
    };
    assert_eq!(asked("/2"), 2);

    // The second connection still serves one, and a third is fresh; its second request is dropped.
    assert_eq!(browser.get("/3").await.text(), "fine");
    assert_eq!(browser.get("/4").await.text(), "fine");
    let reply = browser.fetch(Method::POST, "/5").body("once").send().await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    assert_eq!(asked("/5"), 1);
}

#[tokio::test]
async fn an_upstream_may_answer_before_it_has_heard_all() {
    let scripted = Scripted::start(|mut connection| async move {
        if connection.read_head().await {
            connection
                .say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
                .await;
        }
        sleep(Duration::from_secs(2)).await;
    })
    .await;
    let request = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000000\r\n\r\nabc";
    let mut stream = scripted.house.connect().await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = raw::read_until(&mut stream, "no!", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 413, "{answer}");
}

#[tokio::test]
async fn an_upload_goes_on_after_its_answer() {
    let length = 300_000;
    let heard = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&heard);
    let scripted = Scripted::start(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            if !connection.read_head().await {
                return;
            }
            connection.say(OK).await;
            let mut buffer = [0; 4096];
            while let Ok(read) = connection.stream.read(&mut buffer).await
                && read > 0
            {
                count.fetch_add(read, Ordering::SeqCst);
            }
        }
    })
    .await;
    let request = format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = scripted.house.connect().await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = raw::read_until(&mut stream, "fine", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    stream
        .write_all(&vec![b'a'; length])
        .await
        .expect("written");
    for _ in 0..200 {
        if heard.load(Ordering::SeqCst) == length {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {length} bytes arrived", heard.load(Ordering::SeqCst));
}

/// An app that waits for the rest of a request would wait for ever, and the gate with it.
#[tokio::test]
async fn who_leaves_in_the_middle_of_a_request_leaves_nothing_behind() {
    let ended = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&ended);
    let scripted = Scripted::start(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            if connection.read_head().await {
                connection
                    .say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                    .await;
                let mut rest = Vec::new();
                let _ = connection.stream.read_to_end(&mut rest).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let bodies = [
        ("Content-Length: 1000\r\n\r\nxxxxxxxxxx", ""),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n"),
    ];
    for (body, rest) in bodies {
        let request = format!("POST / HTTP/1.1\r\nHost: app\r\n{body}");
        let mut stream = scripted.house.connect().await;
        stream.write_all(request.as_bytes()).await.expect("written");
        let answer = raw::read_until(&mut stream, "abc", Duration::from_secs(5)).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        stream.write_all(rest.as_bytes()).await.expect("written");
    }
    for _ in 0..250 {
        if ended.load(Ordering::SeqCst) == bodies.len() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {} ended", ended.load(Ordering::SeqCst), bodies.len());
}

/// More connections than a task may look at in one turn.
#[tokio::test]
async fn of_many_idle_connections_none_is_taken_that_has_spoken() {
    const MANY: usize = 300;
    let together = Arc::new(tokio::sync::Barrier::new(MANY));
    let scripted = Scripted::start(move |mut connection| {
        let together = Arc::clone(&together);
        async move {
            let speaks = connection.number < MANY;
            while connection.read_head().await {
                if speaks {
                    together.wait().await;
                }
                connection.say(OK).await;
                if speaks {
                    sleep(Duration::from_millis(300)).await;
                    connection.say(POISON).await;
                }
            }
        }
    })
    .await;
    let held = (0..MANY).map(|_| {
        let browser = scripted.browser();
        tokio::spawn(async move { browser.get("/held").await.text() })
    });
    for reply in held.collect::<Vec<_>>() {
        assert_eq!(reply.await.expect("no panic"), "fine");
    }
    sleep(Duration::from_millis(1_500)).await;
    for method in [Method::POST, Method::GET, Method::POST] {
        let reply = scripted.browser().fetch(method, "/after").send().await;
        assert_eq!(
            (reply.status, reply.text()),
            (StatusCode::OK, "fine".to_owned())
        );
    }
}

/// Two that talk with each other may be silent for long.
#[tokio::test]
async fn an_upload_may_rest_while_its_answer_lasts() {
    let scripted = Scripted::start(|mut connection| async move {
        if connection.read_head().await {
            connection
                .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .await;
            let mut heard = Vec::new();
            while !heard.ends_with(b"0\r\n\r\n") {
                match connection.stream.read_u8().await {
                    Ok(byte) => heard.push(byte),
                    Err(_) => return,
                }
            }
            connection.say("4\r\nover\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let request = "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    let mut stream = scripted.house.connect().await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = raw::read_until(&mut stream, "hello", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    // Longer than the upstream may take to begin.
    sleep(Duration::from_secs(5)).await;
    let rest = b"3\r\ntwo\r\n0\r\n\r\n";
    stream.write_all(rest).await.expect("written");
    let answer = raw::read_until(&mut stream, "over", Duration::from_secs(5)).await;
    assert!(answer.contains("over"), "{answer}");
}

#[tokio::test]
async fn a_request_says_how_long_it_is_once() {
    let scripted = Scripted::start(|mut connection| async move {
        if connection.read_head().await {
            let mut rest = [0; 1024];
            // Some requests have no body.
            let waited = connection.stream.read(&mut rest);
            let length = tokio::time::timeout(Duration::from_millis(300), waited).await;
            let length = length.map_or(0, |length| length.unwrap_or(0));
            let text = String::from_utf8_lossy(&rest[..length]).into_owned();
            connection.heads.lock().expect("no panic inside").push(text);
            connection.say(OK).await;
        }
    })
    .await;
    for (request, framing, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", ""),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "content-length: 0\r\n",
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "content-length: 5\r\n",
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let request = request.replacen("Host: a\r\n", "Host: a\r\nConnection: close\r\n", 1);
        let answer = raw::exchange(&scripted.house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        let heads = scripted.heads();
        let [.., head, rest] = &heads[..] else {
            panic!("{heads:?}");
        };
        let said: Vec<_> = head
            .split_inclusive("\r\n")
            .filter(|line| {
                line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
            })
            .collect();
        assert_eq!(said.concat(), framing, "{head}");
        // The end of the chunks may come in a piece of its own.
        assert!(
            body.starts_with(rest.as_str()) && rest.is_empty() == body.is_empty(),
            "{rest:?}"
        );
    }
}
