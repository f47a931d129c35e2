//! Long bodies: an app that sends and takes them, and a client that does the other half. One thread each, large pieces:
//! what lies between is measured.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::tls;
use crate::request::HOST;

/// Which way the body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the app to the client.
    Down,
    /// From the client to the app.
    Up,
}

/// Answers on `address` until the process is ended: a GET of `/N` with N bytes, anything else once its body has come.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // The proxy has closed the connection, or sends what no proxy here sends.
            let _ = answer(stream);
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut piece = vec![b'x'; PIECE];
    loop {
        let (head, came) = read_head(&mut stream, &mut piece)?;
        let asked = head.strip_prefix("GET /").map(|target| {
            let digits = target.split(' ').next().unwrap_or_default();
            digits.parse::<u64>().unwrap_or(0)
        });
        let length = asked.unwrap_or(0);
        if asked.is_none() {
            let mut left = content_length(&head)?.saturating_sub(came);
            while left > 0 {
                left -= read_some(&mut stream, &mut piece)?;
            }
        }
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        )?;
        write_bytes(&mut stream, &piece, length)?;
    }
}

/// Moves a body of `length` bytes through the proxy at `address`, over TLS where there is a configuration for it. How long
/// it took.
pub fn transfer(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    cookie: &str,
    direction: Direction,
    length: u64,
) -> Result<Duration, Box<dyn Error>> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    match tls {
        None => exchange(stream, cookie, direction, length),
        Some(config) => {
            let session = ClientConnection::new(Arc::clone(config), tls::name()?)?;
            exchange(StreamOwned::new(session, stream), cookie, direction, length)
        }
    }
}

fn exchange(
    mut stream: impl Read + Write,
    cookie: &str,
    direction: Direction,
    length: u64,
) -> Result<Duration, Box<dyn Error>> {
    let mut piece = vec![b'x'; PIECE];
    let (line, sent, expected) = match direction {
        Direction::Down => (format!("GET /{length} HTTP/1.1"), 0, length),
        Direction::Up => ("POST / HTTP/1.1".to_owned(), length, 0),
    };
    let began = Instant::now();
    write!(
        stream,
        "{line}\r\nHost: {HOST}\r\nCookie: {cookie}\r\nContent-Length: {sent}\r\n\r\n"
    )?;
    write_bytes(&mut stream, &piece, sent)?;
    stream.flush()?;
    let (head, mut came) = read_head(&mut stream, &mut piece)?;
    if !head.starts_with("HTTP/1.1 200 ") || content_length(&head)? != expected {
        return Err(format!("not the app's response:\n{head}").into());
    }
    while came < expected {
        came += read_some(&mut stream, &mut piece)?;
    }
    Ok(began.elapsed())
}

/// Reads a head, and tells how many bytes of the body came with it.
fn read_head(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<(String, u64)> {
    let mut bytes = Vec::new();
    loop {
        let length = stream.read(buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..length]);
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            return Ok((head, (bytes.len() - end - 4) as u64));
        }
    }
}

fn read_some(stream: &mut impl Read, piece: &mut [u8]) -> io::Result<u64> {
    match stream.read(piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(length as u64),
    }
}

fn write_bytes(stream: &mut impl Write, piece: &[u8], mut left: u64) -> io::Result<()> {
    while left > 0 {
        let length = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        stream.write_all(&piece[..length])?;
        left -= length as u64;
    }
    Ok(())
}

fn content_length(head: &str) -> io::Result<u64> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

const PIECE: usize = 256 * 1024;
const LIMIT: Duration = Duration::from_secs(20);
