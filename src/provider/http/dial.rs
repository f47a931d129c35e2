//! A connection to a provider: direct, or through a proxy (RFC 9110 §9.3.6), with TLS where configured.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request,
    header::{HOST, PROXY_AUTHORIZATION, USER_AGENT},
};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Url};

use super::{AGENT, HttpError, MAX_HEAD, address::is_loopback, proxy::Proxy};
use crate::net::dial;

/// What HTTP runs over: TCP, TLS on it, or a tunnel.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to whoever serves `url`. A proxy for plain http is the one to speak to: it forwards the request itself.
pub(super) async fn dial(
    url: &Url,
    proxy: Option<&Proxy>,
    tls: &TlsConnector,
) -> Result<Box<dyn Stream>, HttpError> {
    let host = host_of(url)?;
    let port = url.port_or_known_default().ok_or(HttpError::ForbiddenUrl)?;
    let is_plain = url.scheme() == "http";
    let Some(proxy) = proxy else {
        // `localhost` is a name like any other to a resolver; plain http to it must not leave the machine.
        let stays = is_plain && is_loopback(url);
        let tcp = connect(&host, port, stays).await?;
        return if is_plain {
            Ok(Box::new(tcp))
        } else {
            begin_tls(tls, &host, tcp).await
        };
    };
    let tcp = connect(&proxy.host, proxy.port, false).await?;
    let stream: Box<dyn Stream> = if proxy.tls {
        begin_tls(tls, &proxy.host, tcp).await?
    } else {
        Box::new(tcp)
    };
    if is_plain {
        return Ok(stream);
    }
    let authority = url.host_str().ok_or(HttpError::ForbiddenUrl)?;
    let tunnel = tunnel(stream, proxy, format!("{authority}:{port}")).await?;
    begin_tls(tls, &host, tunnel).await
}

/// The host without the brackets that a URL puts around IPv6.
fn host_of(url: &Url) -> Result<String, HttpError> {
    Ok(match url.host().ok_or(HttpError::ForbiddenUrl)? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

async fn begin_tls(
    tls: &TlsConnector,
    host: &str,
    stream: impl Stream + 'static,
) -> Result<Box<dyn Stream>, HttpError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::ForbiddenUrl)?;
    let stream = tls
        .connect(name, stream)
        .await
        .map_err(|error| HttpError::Tls {
            host: host.to_owned(),
            reason: error.to_string(),
        })?;
    Ok(Box::new(stream))
}

/// Has the proxy connect to `target`, host and port. It resolves the name: who needs a proxy often cannot.
async fn tunnel(
    stream: Box<dyn Stream>,
    proxy: &Proxy,
    target: String,
) -> Result<Box<dyn Stream>, HttpError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| HttpError::Broken)?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let mut request = Request::connect(target.as_str())
        .header(HOST, target.as_str())
        .header(USER_AGENT, HeaderValue::from_static(AGENT));
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| HttpError::ForbiddenUrl)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|_| HttpError::Broken)?;
    if !response.status().is_success() {
        return Err(HttpError::Proxy {
            proxy: proxy.to_string(),
            target,
            status: response.status(),
        });
    }
    let tunnel = hyper::upgrade::on(response)
        .await
        .map_err(|_| HttpError::Broken)?;
    Ok(Box::new(TokioIo::new(tunnel)))
}

/// Connects as to anybody; what `stays_here` only to this machine's own addresses.
async fn connect(host: &str, port: u16, stays_here: bool) -> Result<TcpStream, HttpError> {
    let mut addresses = dial::resolve(host, port)
        .await
        .map_err(|_| HttpError::Resolve(host.to_owned()))?;
    if stays_here {
        addresses.retain(|address| address.ip().is_loopback());
    }
    let connected = async {
        let stream = dial::first_of(addresses).await?;
        dial::watch(&stream, USER_TIMEOUT)?;
        Ok(stream)
    };
    connected
        .await
        .map_err(|error: io::Error| HttpError::Connect {
            host: host.to_owned(),
            kind: error.kind(),
        })
}

/// How long bytes to a provider may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_provider_that_vanishes_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for stays_here in [true, false] {
            let stream = connect("127.0.0.1", port, stays_here).await.unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        }
    }
}
