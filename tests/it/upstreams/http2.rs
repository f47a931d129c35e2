//! An app that HTTP/2 is spoken with: what gRPC needs, end to end.

use std::{convert::Infallible, fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
    server::conn::http2::Builder,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    House, h2, raw,
    server::{Answer, Frames},
    tls,
};

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// An app that speaks HTTP/2 alone.
struct App {
    address: SocketAddr,
    /// Told when an answer without end was given up.
    aborted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl App {
    async fn start(over_tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let aborted = Arc::<Notify>::default();
        let told = Arc::clone(&aborted);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (told, over_tls) = (Arc::clone(&told), over_tls.clone());
                open.spawn(async move {
                    let service = service_fn(move |request| {
                        let told = Arc::clone(&told);
                        async move { Ok::<_, Infallible>(answer(request, &told)) }
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    // Tests break connections on purpose.
                    let _ = match over_tls {
                        None => {
                            builder
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                        }
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else {
                                return;
                            };
                            builder
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                        }
                    };
                });
            }
        });
        Self {
            address,
            aborted,
            task,
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(request: Request<Incoming>, aborted: &Arc<Notify>) -> Answer {
    assert_eq!(request.version(), Version::HTTP_2);
    let path = request.uri().path().to_owned();
    let uri = request.uri().to_string();
    let headers = request.headers().clone();
    let (sender, body) = Frames::channel();
    let body = if path == "/hang" {
        let aborted = Arc::clone(aborted);
        body.on_drop(move || aborted.notify_one())
    } else {
        body
    };
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        let mut length = 0;
        match path.as_str() {
            "/large" => {
                for _ in 0..400 {
                    let piece = Bytes::from(vec![b'x'; 256 * 1024]);
                    if sender.send(Frame::data(piece)).await.is_err() {
                        return;
                    }
                }
            }
            // Each piece as it comes.
            "/mirror" => {
                while let Some(Ok(frame)) = incoming.frame().await {
                    if let Ok(data) = frame.into_data()
                        && sender.send(Frame::data(data)).await.is_err()
                    {
                        return;
                    }
                }
            }
            "/hang" => sender.closed().await,
            _ => {
                while let Some(Ok(frame)) = incoming.frame().await {
                    length += frame.data_ref().map_or(0, Bytes::len);
                }
                let mut text = format!("{uri}\n{length}\n");
                for (name, value) in &headers {
                    let value = value.to_str().expect("ASCII");
                    let _ = writeln!(text, "{name}: {value}");
                }
                let _ = sender.send(Frame::data(text.into())).await;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        trailers.insert("set-cookie", "sidegate=evil".parse().expect("a value"));
        let _ = sender.send(Frame::trailers(trailers)).await;
    });
    let mut answer = Response::new(BodyExt::boxed(body));
    let headers = answer.headers_mut();
    headers.insert("content-type", "application/grpc".parse().expect("a value"));
    headers.insert("set-cookie", "sidegate=evil".parse().expect("a value"));
    answer
}

async fn house(url: &str, lines: &str) -> House {
    let tables = format!(
        "[[routes]]\npath = \"/private/**\"\nupstream = \"grpc\"\n\
         [[routes]]\npath = \"/**\"\naccess = \"public\"\nupstream = \"grpc\"\n\
         [upstreams.grpc]\nurl = \"{url}\"\nhttp2 = true\n{lines}"
    );
    House::plan()
        .top("workers = 1")
        .tables(&tables)
        .admin()
        .start()
        .await
}

type Streaming = SendRequest<BoxBody<Bytes, Infallible>>;

async fn client(house: &House) -> Streaming {
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

fn call(
    house: &House,
    path: &str,
    body: BoxBody<Bytes, Infallible>,
) -> Request<BoxBody<Bytes, Infallible>> {
    let mut request = Request::post(format!("http://{}{path}", house.address));
    for (name, value) in GRPC {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a request")
}

fn whole(bytes: &'static str) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(bytes)).boxed()
}

async fn text(response: Response<Incoming>) -> (String, HeaderMap) {
    let collected = response.into_body().collect().await.expect("a whole body");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let bytes = collected.to_bytes();
    (String::from_utf8_lossy(&bytes).into_owned(), trailers)
}

#[tokio::test]
async fn a_unary_call_passes_with_its_trailers() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    let mut client = client(&house).await;
    for _ in 0..3 {
        let mut request = call(&house, "/echo.Echo/Say?a=b", whole("hello"));
        let headers = request.headers_mut();
        headers.insert("grpc-timeout", "5S".parse().expect("a value"));
        headers.insert("x-user", "root".parse().expect("a value"));
        headers.insert(
            "cookie",
            "app=1; sidegate=x; other=2".parse().expect("a value"),
        );
        let response = client.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("set-cookie"), None);
        let (text, trailers) = text(response).await;
        let own = format!("http://{}/echo.Echo/Say?a=b\n5\n", house.address);
        assert!(text.starts_with(&own), "{text}");
        for line in [
            "te: trailers",
            "grpc-timeout: 5S",
            "x-forwarded-proto: http",
            "app=1",
            "other=2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        for absent in ["x-user", "sidegate=x", "\nhost:", "connection"] {
            assert!(!text.contains(absent), "{absent} is in\n{text}");
        }
        assert_eq!(
            trailers.get("grpc-status").map(http::HeaderValue::as_bytes),
            Some(&b"0"[..])
        );
        assert_eq!(trailers.get("set-cookie"), None);
    }
    let (_, metrics) = house.admin_says("/metrics").await;
    assert!(
        metrics.contains("sidegate_upstream_dials_total{upstream=\"grpc\"} 1"),
        "{metrics}"
    );
    // A client of HTTP/1.1 gets the same.
    let reply = house.browser().get("/plain").await;
    assert!(reply.text().contains("/plain\n0\n"), "{}", reply.text());
}

/// An app that answers in HTTP/1.1 is there, and needs no looking for.
#[tokio::test]
async fn an_app_that_does_not_speak_http2_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let _app = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut [0; 1024]).await;
            });
        }
    }));
    let house = house(&format!("http://{address}"), "").await;
    let reply = house.browser().get("/plain").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    let line = house.access_line("/plain").await;
    let remedy = line["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("see that it speaks HTTP/2"), "{line}");
}

/// What no host is called is the client's mistake. A client of HTTP/1.0 need not name one.
#[tokio::test]
async fn an_app_hears_of_hosts_that_http2_can_name() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    for host in ["a:b:c", "a:b", "[::1", "::1", ":80"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host} {answer}");
    }
    let answer = raw::exchange(&house, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("http://localhost/"), "{answer}");
}

/// What logs in a connection would log in everybody who shares it.
#[tokio::test]
async fn credentials_that_log_in_a_connection_go_over_one_of_their_own() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    let mut client = client(&house).await;
    for (authorization, dials) in [
        ("Negotiate YII=", 1),
        ("Basic YTpi", 2),
        ("NTLM TlRM", 3),
        ("Basic YTpi", 3),
        ("negotiate YII=", 4),
        ("Basic YTpi", 4),
    ] {
        let mut request = call(&house, "/call", whole("hello"));
        let value = authorization.parse().expect("a value");
        request.headers_mut().insert("authorization", value);
        let response = client.send_request(request).await.expect("an answer");
        let (text, trailers) = text(response).await;
        assert!(text.contains(authorization), "{text}");
        assert_eq!(trailers["grpc-status"], "0");
        let (_, metrics) = house.admin_says("/metrics").await;
        let line = format!("sidegate_upstream_dials_total{{upstream=\"grpc\"}} {dials}\n");
        assert!(metrics.contains(&line), "{authorization} {metrics}");
    }
    // Each is closed with its answer; the one of all stays.
    for _ in 0..100 {
        let (_, metrics) = house.admin_says("/metrics").await;
        if metrics.contains("sidegate_upstream_connections{upstream=\"grpc\"} 1\n") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("one connection is left");
}

/// Both sides talk in turns: each piece comes back before the next is sent.
#[tokio::test]
async fn streams_run_both_ways() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    let mut client = client(&house).await;
    let (sender, body) = Frames::channel();
    let response = client.send_request(call(&house, "/mirror", BodyExt::boxed(body)));
    let response = response.await.expect("an answer before the request's end");
    let mut body = response.into_body();
    for number in 0..20 {
        let said = Bytes::from(format!("piece {number}"));
        sender
            .send(Frame::data(said.clone()))
            .await
            .expect("the gate listens");
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), said);
    }
    drop(sender);
    let frame = body.frame().await.expect("trailers").expect("no error");
    assert_eq!(frame.into_trailers().expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn a_hundred_megabytes_pass() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    let mut client = client(&house).await;
    let response = client
        .send_request(call(&house, "/large", whole("")))
        .await
        .expect("an answer");
    let mut body = response.into_body();
    let (mut length, mut status) = (0, None);
    while let Some(frame) = body.frame().await {
        match frame.expect("no error").into_data() {
            Ok(data) => length += data.len(),
            Err(frame) => status = frame.into_trailers().ok(),
        }
    }
    assert_eq!(length, 400 * 256 * 1024);
    assert_eq!(status.expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call_at_the_app() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    let mut client = client(&house).await;
    let response = client
        .send_request(call(&house, "/hang", whole("")))
        .await
        .expect("a head");
    drop(response);
    let told = tokio::time::timeout(Duration::from_secs(10), app.aborted.notified());
    told.await.expect("the app is told");
}

/// A client of gRPC reads a status of its own: nobody is signed in, or the app is away.
#[tokio::test]
async fn the_gates_own_answers_are_grpcs() {
    let app = App::start(None).await;
    let house = house(&format!("http://{}", app.address), "").await;
    let mut client = client(&house).await;
    let status = async |client: &mut Streaming, path: &str| {
        let response = client
            .send_request(call(&house, path, whole("x")))
            .await
            .expect("an answer");
        let (head, _) = response.into_parts();
        let status = head.headers.get("grpc-status").cloned();
        (
            head.status.as_u16(),
            status.map(|status| status.to_str().expect("ASCII").to_owned()),
        )
    };
    assert_eq!(
        status(&mut client, "/private/call").await,
        (200, Some("16".to_owned()))
    );
    assert_eq!(status(&mut client, "/call").await, (200, None));
    drop(app);
    for _ in 0..3 {
        assert_eq!(
            status(&mut client, "/call").await,
            (200, Some("14".to_owned()))
        );
    }
}

#[tokio::test]
async fn http2_is_chosen_within_tls_and_a_certificate_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = tls::write_files(folder.path());
    let acceptor = |protocols: &[&[u8]]| {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain: Vec<_> = CertificateDer::pem_file_iter(&cert)
            .expect("PEM")
            .flatten()
            .collect();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain[0].clone()).expect("a root");
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        );
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).expect("a key"))
            .expect("a certificate");
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    };
    let lines = format!(
        "ca = \"{0}\"\nserver_name = \"localhost\"\nclient_cert = \"{0}\"\nclient_key = \"{1}\"\n",
        cert.display(),
        key.display()
    );
    let app = App::start(Some(acceptor(&[b"h2"]))).await;
    let own = house(&format!("https://127.0.0.2:{}", app.address.port()), &lines).await;
    // Another address of this machine, where nobody listens.
    assert_eq!(
        own.browser().get("/x").await.status,
        StatusCode::BAD_GATEWAY
    );
    let own = house(&format!("https://{}", app.address), &lines).await;
    let reply = own.browser().get("/x").await;
    assert!(reply.text().starts_with("https://"), "{}", reply.text());
    let without = lines.lines().take(2).collect::<Vec<_>>().join("\n");
    let stranger = house(&format!("https://{}", app.address), &without).await;
    assert_eq!(
        stranger.browser().get("/x").await.status,
        StatusCode::BAD_GATEWAY
    );
    let old = App::start(Some(acceptor(&[]))).await;
    let own = house(&format!("https://{}", old.address), &lines).await;
    assert_eq!(
        own.browser().get("/y").await.status,
        StatusCode::BAD_GATEWAY
    );
    let line = own.access_line("/y").await;
    assert!(
        line["detail"].as_str().unwrap_or_default().contains("ALPN"),
        "{line}"
    );
}

/// As over HTTP/1.1: the app is silent for too long.
#[tokio::test]
async fn an_app_that_is_silent_is_given_up() {
    let app = App::start(None).await;
    let house = house(
        &format!("http://{}", app.address),
        "idle_timeout = \"300ms\"\n",
    )
    .await;
    let mut client = h2::connect(&house).await;
    let request = h2::request("GET", &format!("http://{}/hang", house.address), &[]);
    let response = h2::send(&mut client, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.into_body().collect().await.is_err());
    let told = tokio::time::timeout(Duration::from_secs(10), app.aborted.notified());
    told.await.expect("the app is told");
}

/// The app answers, and resets the stream whose rest it does not want (RFC 9113 §8.1). A client of HTTP/1.1 loses its connection by that.
#[tokio::test]
async fn where_an_app_takes_no_more_of_a_body_the_client_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let refuse = service_fn(|_: Request<Incoming>| async {
                let mut answer = Response::new(Full::new(Bytes::from("no!")));
                *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                Ok::<_, Infallible>(answer)
            });
            let builder = Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), refuse));
        }
    });
    let house = house(&format!("http://{address}"), "").await;
    let mut told = 0;
    for _ in 0..20 {
        let mut stream = house.connect().await;
        let ask = b"POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\n";
        stream.write_all(ask).await.expect("sent");
        let answer = raw::read_until(&mut stream, "no!", Duration::from_secs(10)).await;
        assert_eq!(raw::status(&answer), 413, "{answer}");
        told += usize::from(raw::says_close(&answer));
    }
    // The reset may come later than the head.
    assert!(told > 0, "nobody is told");
}
