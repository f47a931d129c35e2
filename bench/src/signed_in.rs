//! Signs in, as a browser would, and keeps the session cookie.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use url::Url;

use crate::request::HOST;

/// So many session cookies (`NAME=VALUE`), each of a login of its own at the provider `corp`.
pub fn cookies(gate: SocketAddr, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    (0..count).map(|_| sign_in(gate)).collect()
}

fn sign_in(gate: SocketAddr) -> Result<String, Box<dyn Error>> {
    let begun = get(gate, "/oauth2/start/corp?rd=/", "")?;
    let location = begun.header("location").ok_or("no way to the provider")?;
    let state = Url::parse(location)?
        .query_pairs()
        .find_map(|(name, value)| (name == "state").then(|| value.into_owned()))
        .ok_or("no state")?;
    let login = begun.cookie("_login").ok_or("no login cookie")?;
    let ended = get(
        gate,
        &format!("/oauth2/callback/corp?code=x&state={state}"),
        login,
    )?;
    let session = ended.cookie("sidegate").ok_or("no session cookie")?;
    Ok(session.to_owned())
}

struct Answer(String);

impl Answer {
    fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.lines(name).next()
    }

    /// The first cookie whose name ends so: `NAME=VALUE`.
    fn cookie(&self, name_end: &str) -> Option<&str> {
        self.lines("set-cookie").find_map(|line| {
            let pair = line.split(';').next()?;
            let (name, value) = pair.split_once('=')?;
            (name.ends_with(name_end) && !value.is_empty()).then_some(pair)
        })
    }

    fn lines<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(wanted).then_some(value)
        })
    }
}

fn get(gate: SocketAddr, target: &str, cookie: &str) -> Result<Answer, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&gate, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nCookie: {cookie}\r\n\
         Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 302 ") {
        let head = answer.lines().next().unwrap_or_default();
        return Err(format!("a login was answered with {head}").into());
    }
    Ok(Answer(answer))
}

const LIMIT: Duration = Duration::from_secs(10);
