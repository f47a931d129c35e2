//! The app behind every proxy, and the endpoint nginx asks in `auth_request`: one thread, one epoll,
//! a fixed answer. As cheap as it can be, so that the proxy is what is measured.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use clap::ValueEnum;
use memchr::memmem;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use serde_json::json;
use sidegate::jose::sign::SigningKey;

/// The length of the app's body. The load generator checks it in every response.
pub const BODY_LENGTH: usize = 200;

/// A path whose answer is the request's head as it arrived, so that the comparison can check once
/// what each setup sends to the app.
pub const INSPECT_PATH: &str = "/inspect";

/// What is answered.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    /// 200 with a body, as an app would.
    App,
    /// 202 with the identity in headers, as a forward-auth endpoint would.
    Auth,
    /// 200 with the JSON of a token endpoint, of a userinfo endpoint and of a key set in one.
    Provider,
    /// 200 with a body as long as its path says, and whatever a request's body is taken.
    Bulk,
}

/// With which the provider signs. It protects nothing.
pub fn signing_key() -> SigningKey {
    SigningKey::derive(|number| [number.wrapping_add(1); 32])
}

/// Answers on `address` until the process is ended.
pub fn serve(address: SocketAddr, role: Role) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server {
        answer: answer(role),
        connections: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; 64 * 1024],
    };
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept(&listener, &poll)?,
                Token(index) => server.ready(index),
            }
        }
    }
}

struct Server {
    answer: Vec<u8>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a head whose end has not come yet.
    pending: Vec<u8>,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            self.connections[index] = Some(Connection {
                stream,
                pending: Vec::new(),
            });
        }
    }

    fn ready(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut() else {
            return;
        };
        if connection.serve(&mut self.buffer, &self.answer).is_err() {
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

impl Connection {
    /// Answers the requests that are there. Their order is kept and bodies are not expected.
    /// An error means the connection is over.
    fn serve(&mut self, buffer: &mut [u8], answer: &[u8]) -> io::Result<()> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            // One read less per request: a head that is whole and alone needs no copy, and after it
            // the peer waits, so that nothing more can have arrived.
            if self.pending.is_empty()
                && memmem::find(&buffer[..length], HEAD_END).map(|end| end + HEAD_END.len())
                    == Some(length)
            {
                return self.answer(&buffer[..length], answer);
            }
            self.pending.extend_from_slice(&buffer[..length]);
            while let Some(end) = memmem::find(&self.pending, HEAD_END) {
                let rest = self.pending.split_off(end + HEAD_END.len());
                let head = std::mem::replace(&mut self.pending, rest);
                self.answer(&head, answer)?;
            }
        }
    }

    fn answer(&mut self, head: &[u8], answer: &[u8]) -> io::Result<()> {
        if head.starts_with(INSPECT_START) {
            let mut echo = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                head.len()
            )
            .into_bytes();
            echo.extend_from_slice(head);
            return self.stream.write_all(&echo);
        }
        // The socket's buffer holds hundreds of these answers; a peer that lets it fill is not ours.
        self.stream.write_all(answer)
    }
}

fn answer(role: Role) -> Vec<u8> {
    match role {
        Role::App | Role::Bulk => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: app\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\n\
                 Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\
                 Vary: Cookie\r\nContent-Length: {BODY_LENGTH}\r\n\r\n"
            );
            let mut answer = head.into_bytes();
            answer.resize(answer.len() + BODY_LENGTH, b'x');
            answer
        }
        Role::Provider => {
            let body = json!({
                "access_token": "a", "token_type": "bearer", "sub": "8f3c1c3e-6d0e-4f0b", "login": "ada.lovelace",
                "email": "ada.lovelace@example.com", "email_verified": true, "name": "Ada Lovelace",
                "groups": ["engineering", "operations", "everyone"], "keys": [signing_key().public()],
            });
            let body = body.to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        }
        Role::Auth => b"HTTP/1.1 202 Accepted\r\nServer: auth\r\n\
            Date: Sun, 22 Nov 2026 10:00:00 GMT\r\nX-Auth-Request-User: ada.lovelace\r\n\
            X-Auth-Request-Email: ada.lovelace@example.com\r\n\
            X-Auth-Request-Groups: engineering,operations,everyone\r\nContent-Length: 0\r\n\r\n"
            .to_vec(),
    }
}

const LISTENER: Token = Token(usize::MAX);
const HEAD_END: &[u8] = b"\r\n\r\n";
const INSPECT_START: &[u8] = b"GET /inspect ";
