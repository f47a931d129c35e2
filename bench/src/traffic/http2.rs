//! Requests over HTTP/2 and TLS: some connections, on each of them some requests at a time.

use std::{error::Error, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, StatusCode,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::LocalSet,
};
use tokio_rustls::TlsConnector;

use super::tls;
use crate::{
    request::{APP_COOKIE_FIRST, HOST},
    upstream::BODY_LENGTH,
};

/// Connections that stay open over several runs.
pub struct Http2Load {
    runtime: Runtime,
    senders: Vec<SendRequest<Empty<Bytes>>>,
}

impl Http2Load {
    /// Opens `connections` connections to `address`.
    pub fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        connections: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connector = TlsConnector::from(Arc::clone(config));
        let mut senders = Vec::new();
        for _ in 0..connections {
            let connected = runtime.block_on(async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let name = tls::name().map_err(std::io::Error::other)?;
                let stream = connector.connect(name, stream).await?;
                let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(std::io::Error::other)?;
                tokio::spawn(connection);
                Ok::<_, std::io::Error>(sender)
            });
            senders.push(connected?);
        }
        Ok(Self { runtime, senders })
    }

    /// Sends `count` requests on each connection, with one of `cookies` in turn, `streams` of them at a time.
    pub fn run(
        &self,
        cookies: &[String],
        streams: usize,
        count: usize,
    ) -> Result<(), Box<dyn Error>> {
        let local = LocalSet::new();
        let cookies: Rc<[String]> = cookies.into();
        let mut tasks = Vec::new();
        for sender in &self.senders {
            for stream in 0..streams {
                let (mut sender, cookies) = (sender.clone(), Rc::clone(&cookies));
                tasks.push(local.spawn_local(async move {
                    for number in (stream..count).step_by(streams) {
                        send(&mut sender, &cookies[number % cookies.len()]).await?;
                    }
                    Ok::<_, hyper::Error>(())
                }));
            }
        }
        self.runtime.block_on(local.run_until(async move {
            for task in tasks {
                task.await??;
            }
            Ok(())
        }))
    }
}

async fn send(sender: &mut SendRequest<Empty<Bytes>>, cookie: &str) -> Result<(), hyper::Error> {
    let request = Request::get(format!("https://{HOST}/projects/7?tab=open"))
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0",
        )
        .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("accept-language", "en-GB,en;q=0.9")
        .header("cookie", APP_COOKIE_FIRST)
        .header("cookie", cookie)
        .body(Empty::new())
        .expect("a request");
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    assert!(
        status == StatusCode::OK && body.len() == BODY_LENGTH,
        "not the app's response: {status}"
    );
    Ok(())
}
