//! Before anything is measured: does each setup do its work? A proxy that lets everybody pass, or
//! that answers by itself, would be fast.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    request::{APP_COOKIE_FIRST, APP_COOKIE_LAST, get},
    setup::Setup,
    upstream::INSPECT_PATH,
};

/// That `setup` tells the app of the client.
pub fn forwards(setup: &Setup, session_cookie: &str) -> Result<(), Box<dyn Error>> {
    let head = seen_by_app(setup, session_cookie)?;
    expect(setup, &head, "X-Forwarded-For", "127.0.0.1")
}

/// That `setup` tells the app who `session_cookie` is.
pub fn identifies(setup: &Setup, session_cookie: &str, user: &str) -> Result<(), Box<dyn Error>> {
    let head = seen_by_app(setup, session_cookie)?;
    expect(setup, &head, "X-User", user)
}

/// That `setup` asks for a session, opens it truly, and keeps it from the app.
pub fn guards(setup: &Setup, session_cookie: &str) -> Result<(), Box<dyn Error>> {
    let head = seen_by_app(setup, session_cookie)?;
    let cookies = format!("{APP_COOKIE_FIRST}; {APP_COOKIE_LAST}");
    expect(setup, &head, "Cookie", &cookies)?;

    let (most, last) = session_cookie.split_at(session_cookie.len() - 8);
    let other = |letter| if letter == 'A' { 'B' } else { 'A' };
    let forged = format!("{most}{}", last.chars().map(other).collect::<String>());
    for cookie in [None, Some(forged.as_str())] {
        let response = exchange(setup.address, &get(INSPECT_PATH, cookie))?;
        if response.starts_with("HTTP/1.1 200 ") {
            return Err(format!("{} lets a request without a session pass", setup.name).into());
        }
    }
    Ok(())
}

fn seen_by_app(setup: &Setup, session_cookie: &str) -> Result<String, Box<dyn Error>> {
    let response = exchange(setup.address, &get(INSPECT_PATH, Some(session_cookie)))?;
    match response.split_once("\r\n\r\n") {
        Some((head, seen)) if head.starts_with("HTTP/1.1 200 ") => Ok(seen.to_owned()),
        _ => Err(format!("{} does not forward:\n{response}", setup.name).into()),
    }
}

fn expect(setup: &Setup, head: &str, name: &str, value: &str) -> Result<(), Box<dyn Error>> {
    let is_there = head.lines().any(|line| {
        line.split_once(": ")
            .is_some_and(|(found, text)| found.eq_ignore_ascii_case(name) && text == value)
    });
    if is_there {
        Ok(())
    } else {
        Err(format!("{} does not send `{name}: {value}`:\n{head}", setup.name).into())
    }
}

/// One request on a connection of its own. The response must have a `Content-Length`.
fn exchange(address: SocketAddr, request: &[u8]) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut response = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        response.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&response);
        if length == 0 || text.split_once("\r\n\r\n").is_some_and(is_whole) {
            return Ok(text.into_owned());
        }
    }
}

fn is_whole((head, body): (&str, &str)) -> bool {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .is_none_or(|length| body.len() >= length)
}

const TIMEOUT: Duration = Duration::from_secs(5);
