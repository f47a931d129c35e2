//! The requests: what a browser sends, with one of many session cookies. Every setup gets the same
//! bytes.

use std::net::Ipv4Addr;

/// The host name in every request; sidegate's `public_url` names it too.
pub const HOST: &str = "app.example.com";

/// Requests to send in turn.
pub struct Requests {
    heads: Vec<Vec<u8>>,
}

impl Requests {
    /// A GET of `path` for each session cookie (`NAME=VALUE`).
    pub fn new(path: &str, session_cookies: &[String]) -> Self {
        let cookies = session_cookies.iter();
        Self {
            heads: cookies.map(|cookie| get(path, Some(cookie))).collect(),
        }
    }

    /// `count` registrations of clients, each from the address that has the next number after `first`.
    pub fn registrations(first: u32, count: u32) -> Self {
        Self {
            heads: (first..first + count).map(registration).collect(),
        }
    }

    /// A GET of `path` as a program writes it, with each of these values of `Authorization`.
    pub fn of_programs(path: &str, authorizations: &[String]) -> Self {
        let head = |authorization: &String| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: python-requests/2.32.3\r\n\
                 Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\
                 Authorization: {authorization}\r\n\r\n"
            )
            .into_bytes()
        };
        Self {
            heads: authorizations.iter().map(head).collect(),
        }
    }

    /// The same as a proxy in front forwards them: with what it says of the client.
    pub fn forwarded(mut self) -> Self {
        for head in &mut self.heads {
            head.truncate(head.len() - 2);
            head.extend_from_slice(FORWARDED.as_bytes());
        }
        self
    }

    /// The request to send as the `number`th.
    pub fn at(&self, number: usize) -> &[u8] {
        &self.heads[number % self.heads.len()]
    }

    /// How many there are, before the first comes again.
    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// The mean length of a head.
    pub fn length(&self) -> usize {
        self.heads.iter().map(Vec::len).sum::<usize>() / self.heads.len()
    }
}

/// One GET as a browser writes it: eleven headers, two small cookies of the app and, where there is
/// one, the session cookie between them.
pub fn get(path: &str, session_cookie: Option<&str>) -> Vec<u8> {
    let session_cookie = session_cookie.map_or_else(String::new, |cookie| format!("{cookie}; "));
    format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {HOST}\r\n\
         Connection: keep-alive\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n\
         Sec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-Mode: navigate\r\n\
         Sec-Fetch-Dest: document\r\n\
         Referer: https://{HOST}/projects\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9\r\n\
         Cookie: {APP_COOKIE_FIRST}; {session_cookie}{APP_COOKIE_LAST}\r\n\
         \r\n"
    )
    .into_bytes()
}

/// A registration as VS Code sends it, by way of a proxy in front.
fn registration(number: u32) -> Vec<u8> {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(20, 0, 0, 0).to_bits() + number);
    format!(
        "POST /oauth2/register HTTP/1.1\r\n\
         Host: {HOST}\r\n\
         X-Forwarded-For: {address}\r\n\
         X-Forwarded-Proto: https\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {}\r\n\
         \r\n{CLIENT}",
        CLIENT.len()
    )
    .into_bytes()
}

const CLIENT: &str = concat!(
    r#"{"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com","#,
    r#""grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"#,
    r#""response_types":["code"],"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","#,
    r#""http://127.0.0.1/","http://127.0.0.1:33418/"],"token_endpoint_auth_method":"none","application_type":"native"}"#
);
/// What a proxy in front says, and the end of the head.
const FORWARDED: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: app.example.com\r\nX-Request-Id: 5f0c9a1be7d84c02b1f0d3c5a7e96f12\r\n\r\n";
/// A cookie of the app's, before the session cookie.
pub const APP_COOKIE_FIRST: &str = "theme=dark";
/// A cookie of the app's, after the session cookie.
pub const APP_COOKIE_LAST: &str = "app_id=5f0c9a1be7";
