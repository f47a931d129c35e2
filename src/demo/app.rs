//! The demo app: what a developer would put behind the gate, without a login of its own.
//!
//! `/` greets the user and shows the headers it got, `/public/` is open to all, `/headers` says the
//! same as JSON, `/echo` streams a body back, `/ws` echoes a WebSocket, `/events` is a clock, and `/mcp` a server of the Model Context Protocol.

use askama::Template;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use percent_encoding::percent_decode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    event, mcp,
    page::{self, Link, Message},
    server::{self, Request, Response},
    websocket::Sockets,
};

/// Serves the app until `shutdown`.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) {
    let sockets = Sockets::new(shutdown.clone());
    let opened = sockets.clone();
    server::serve(listener, shutdown, move |request| {
        let opened = opened.clone();
        async move {
            if request.uri().path() == "/mcp" {
                return mcp::serve(request).await;
            }
            answer(request, &opened)
        }
    })
    .await;
    sockets.drain().await;
}

fn answer(request: Request, sockets: &Sockets) -> Response {
    match request.uri().path() {
        "/headers" => headers(&request),
        "/echo" => echo(request),
        "/ws" => sockets.echo(request),
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => method_not_allowed(),
        "/" => home(&request),
        "/public" | "/public/" => public(&request),
        "/events" => event::clock(),
        _ => not_found(),
    }
}

#[derive(Template)]
#[template(path = "demo/app.html")]
struct Home<'a> {
    nonce: &'a str,
    greeting: &'a str,
    initials: String,
    email: Option<String>,
    groups: Vec<String>,
    signed_in: bool,
    method: &'a str,
    path: &'a str,
    headers: Vec<HeaderRow>,
}

struct HeaderRow {
    name: String,
    value: String,
    identity: bool,
}

fn home(request: &Request) -> Response {
    let headers = request.headers();
    let user =
        identity_header(headers, "x-user-name").or_else(|| identity_header(headers, "x-user"));
    let greeting = user.as_deref().unwrap_or("stranger");
    let nonce = page::nonce();
    let home = Home {
        nonce: &nonce,
        greeting,
        initials: initials(greeting),
        email: identity_header(headers, "x-user-email"),
        groups: identity_header(headers, "x-user-groups")
            .map(|groups| groups.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        signed_in: user.is_some(),
        method: request.method().as_str(),
        path: path_and_query(request),
        headers: rows(headers),
    };
    page::html(StatusCode::OK, &home, &nonce, &[])
}

/// All headers, with those that the page is about on top.
fn rows(headers: &HeaderMap) -> Vec<HeaderRow> {
    let mut rows: Vec<_> = headers
        .iter()
        .map(|(name, value)| HeaderRow {
            name: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            identity: is_identity(name.as_str()),
        })
        .collect();
    rows.sort_by_key(|row| !row.identity);
    rows
}

/// What an identity header says. The gate percent-encodes what is not ASCII.
fn identity_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    let text = percent_decode(value).decode_utf8_lossy().into_owned();
    (!text.is_empty()).then_some(text)
}

/// The first letters of at most two words.
fn initials(name: &str) -> String {
    name.split_whitespace()
        .filter_map(|word| word.chars().next())
        .take(2)
        .flat_map(char::to_uppercase)
        .collect()
}

fn is_identity(name: &str) -> bool {
    name == "x-user" || name.starts_with("x-user-")
}

fn path_and_query(request: &Request) -> &str {
    request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
}

#[derive(Template)]
#[template(path = "demo/public.html")]
struct Public<'a> {
    nonce: &'a str,
    named: bool,
}

fn public(request: &Request) -> Response {
    let nonce = page::nonce();
    let public = Public {
        nonce: &nonce,
        named: request
            .headers()
            .keys()
            .any(|name| is_identity(name.as_str())),
    };
    page::html(StatusCode::OK, &public, &nonce, &[])
}

fn headers(request: &Request) -> Response {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let seen = json!({
        "method": request.method().as_str(),
        "path": path_and_query(request),
        "headers": headers,
    });
    page::json(StatusCode::OK, &seen)
}

/// The body comes back as it arrives, never held whole. The type is one that no browser renders, so
/// that a form elsewhere cannot put a page on this origin.
fn echo(request: Request) -> Response {
    let mut response = http::Response::new(request.into_body().map_err(Into::into).boxed());
    page::harden(&mut response);
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}

fn method_not_allowed() -> Response {
    let mut response = page::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn not_found() -> Response {
    let nonce = page::nonce();
    let message = Message {
        nonce: &nonce,
        place: "sidegate demo app",
        title: "Nothing here",
        text: "The demo app has no page at this address. The gate let you pass, though.",
        bad: false,
        link: Some(Link {
            href: "/",
            label: "To the start",
        }),
        footer: "A demo: nothing is kept, nothing leaves this machine.",
    };
    page::html(StatusCode::NOT_FOUND, &message, &nonce, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_are_two_letters() {
        assert_eq!(initials("Ada Lovelace"), "AL");
        assert_eq!(initials("grace"), "G");
        assert_eq!(initials("Ada King Countess Lovelace"), "AK");
        assert_eq!(initials(""), "");
    }

    #[test]
    fn identity_values_are_decoded() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user-name", HeaderValue::from_static("Zo%C3%AB"));
        headers.insert("x-user", HeaderValue::from_static(""));
        assert_eq!(
            identity_header(&headers, "x-user-name").as_deref(),
            Some("Zoë")
        );
        assert_eq!(identity_header(&headers, "x-user"), None);
    }
}
