//! Asks a running gate whether it is alive, with only a socket: a container's health check runs every few seconds and should cost almost
//! nothing.

mod own_tls;

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use rustls::pki_types::ServerName;

use crate::{config::Config, listen::settings::ListenAddress};

/// Where to ask, and for which path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    place: Place,
    /// The first is asked for; each further one where there is nothing at the one before it.
    paths: Vec<String>,
    /// As whom it is asked where it speaks TLS.
    tls: Option<ServerName<'static>>,
    /// Whether the listener requires a header of the PROXY protocol.
    is_proxied: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// `HOST:PORT`, as it also stands in `Host`.
    Network(String),
    Unix(PathBuf),
}

const HUNG_UP: &str = "hung up without an answer; where the gate itself speaks TLS leave --url out, and the configuration says where to ask";

const ADMIN_PING: &str = "/ping";

/// How the reason ends where the path is unknown.
const NOTHING_THERE: &str = "answered 404";

/// For connecting, and for all of it.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Target {
    /// The gate that runs with this configuration: its admin listener, which never speaks TLS, else its
    /// first public one, which does where `tls` is set.
    pub(super) fn of(config: &Config) -> Result<Self, String> {
        // One that asks for no header of the PROXY protocol, where there is one.
        let mut listen: Vec<_> = config.listen.iter().collect();
        listen.sort_by_key(|listen| listen.is_proxied);
        let public = listen.first().filter(|_| config.admin_listen.is_none());
        let address = config
            .admin_listen
            .as_ref()
            .or_else(|| public.map(|listen| &listen.address));
        let place = match address.ok_or("nothing listens")? {
            ListenAddress::Tcp(address) => Place::Network(reachable(*address).to_string()),
            ListenAddress::Unix(path) => Place::Unix(path.clone()),
        };
        let speaks_tls = config.admin_listen.is_none() && config.tls.is_some();
        Ok(Self {
            place,
            paths: vec![match config.admin_listen {
                Some(_) => ADMIN_PING.to_owned(),
                None => format!("{}/ping", config.prefix),
            }],
            tls: speaks_tls.then(|| own_tls::name_of(&config.public_url)),
            is_proxied: public.is_some_and(|listen| listen.is_proxied),
        })
    }

    /// `http://HOST:PORT`, with a path if wanted, or `unix:/PATH`. Without a path it is the public port of a gate whose
    /// prefix is the default, or its admin listener.
    pub(super) fn parse(address: &str) -> Result<Self, String> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Self {
                place: Place::Unix(PathBuf::from(path)),
                paths: usual_paths(),
                tls: None,
                is_proxied: false,
            });
        }
        let url = url::Url::parse(address).map_err(|error| format!("--url: {error}"))?;
        if url.scheme() != "http" {
            return Err(
                "--url begins with http:// or unix:; where the gate itself speaks TLS leave it out, and the \
                 configuration says where to ask"
                    .to_owned(),
            );
        }
        let host = url.host_str().ok_or("--url has no host")?;
        let port = url.port_or_known_default().ok_or("--url has no port")?;
        Ok(Self {
            place: Place::Network(format!("{host}:{port}")),
            paths: match url.path() {
                "/" => usual_paths(),
                path => vec![path.to_owned()],
            },
            tls: None,
            is_proxied: false,
        })
    }

    /// Asks, within two seconds in all. Anything but 200 is a failure, with its reason.
    pub(super) fn ask(self) -> Result<(), String> {
        // Limits of single reads would let an answer drip for ever.
        let (sender, outcome) = mpsc::channel();
        thread::spawn(move || sender.send(self.begin()));
        let outcome = outcome.recv_timeout(TIMEOUT);
        outcome.unwrap_or_else(|_| Err(format!("no answer within {} seconds", TIMEOUT.as_secs())))
    }

    fn begin(&self) -> Result<(), String> {
        let mut answer = Err("there is no path to ask for".to_owned());
        for path in &self.paths {
            answer = self.begin_at(path);
            if !answer
                .as_ref()
                .is_err_and(|why| why.ends_with(NOTHING_THERE))
            {
                break;
            }
        }
        answer
    }

    fn begin_at(&self, path: &str) -> Result<(), String> {
        match &self.place {
            Place::Network(address) => self.exchange_with(connect(address)?, address, path),
            Place::Unix(socket) => {
                let stream = UnixStream::connect(socket)
                    .map_err(|error| format!("{}: {error}", socket.display()))?;
                self.exchange_with(stream, "localhost", path)
            }
        }
    }

    fn exchange_with(
        &self,
        mut stream: impl Read + Write,
        host: &str,
        path: &str,
    ) -> Result<(), String> {
        if self.is_proxied {
            // A connection of its own, and nobody else's.
            stream
                .write_all(b"PROXY UNKNOWN\r\n")
                .map_err(|error| failed(&error))?;
        }
        match &self.tls {
            Some(name) => self.exchange(own_tls::begin(stream, name.clone())?, host, path),
            None => self.exchange(stream, host, path),
        }
    }

    fn exchange(
        &self,
        mut stream: impl Read + Write,
        host: &str,
        path: &str,
    ) -> Result<(), String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .map_err(|error| failed(&error))?;
        // "HTTP/1.1 200" is all that counts.
        let mut start = [0; 12];
        stream
            .read_exact(&mut start)
            .map_err(|error| match error.kind() {
                // What a TLS listener does to whoever speaks plainly.
                io::ErrorKind::UnexpectedEof if self.tls.is_none() => HUNG_UP.to_owned(),
                _ => failed(&error),
            })?;
        match start.strip_prefix(b"HTTP/1.") {
            Some([_, b' ', b'2', b'0', b'0']) => Ok(()),
            Some([_, b' ', status @ ..]) => Err(format!(
                "{path} answered {}",
                String::from_utf8_lossy(status)
            )),
            _ => Err("the answer is not HTTP".to_owned()),
        }
    }
}

/// Where a gate says that it lives: below the prefix on its public port, bare on its admin listener.
fn usual_paths() -> Vec<String> {
    vec!["/oauth2/ping".to_owned(), ADMIN_PING.to_owned()]
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let mut error = format!("{address}: no such host");
    for candidate in address
        .to_socket_addrs()
        .map_err(|error| format!("{address}: {error}"))?
    {
        match TcpStream::connect_timeout(&candidate, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(failure) => error = format!("{candidate}: {failure}"),
        }
    }
    Err(error)
}

/// An address to connect to: one that listens everywhere is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn failed(error: &io::Error) -> String {
    format!("no answer: {error}")
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener};

    use super::*;

    fn answer(mut stream: impl Read + Write, answer: &str) {
        let mut request = [0; 512];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /oauth2/ping HTTP/1.1\r\n"));
        stream.write_all(answer.as_bytes()).unwrap();
    }

    #[test]
    fn only_200_is_healthy() {
        for (text, healthy) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\n\r\n", false),
            ("SSH-2.0-something\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let server = thread::spawn(move || answer(listener.accept().unwrap().0, text));
            assert_eq!(
                Target::parse(&url).unwrap().ask().is_ok(),
                healthy,
                "{text}"
            );
            server.join().unwrap();
        }
    }

    #[test]
    fn an_admin_listener_is_asked_for_the_bare_path() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            answer(
                listener.accept().unwrap().0,
                "HTTP/1.1 404 Not Found\r\n\r\n",
            );
            let mut stream = listener.accept().unwrap().0;
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /ping HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        assert_eq!(Target::parse(&url).unwrap().ask(), Ok(()));
        server.join().unwrap();
    }

    #[test]
    fn a_path_that_was_named_is_the_only_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/oauth2/ping", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            answer(
                listener.accept().unwrap().0,
                "HTTP/1.1 404 Not Found\r\n\r\n",
            );
        });
        let error = Target::parse(&url).unwrap().ask().unwrap_err();
        assert_eq!(error, "/oauth2/ping answered 404");
        server.join().unwrap();
    }

    #[test]
    fn who_hangs_up_may_speak_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || answer(listener.accept().unwrap().0, ""));
        let error = Target::parse(&url).unwrap().ask().unwrap_err();
        assert!(error.contains("leave --url out"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn an_answer_that_drips_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            for byte in b"HTTP/1.1 200" {
                // Nobody reads any more at the end.
                let _ = stream.write_all(&[*byte]);
                thread::sleep(TIMEOUT / 8);
            }
        });
        let error = Target::parse(&url).unwrap().ask().unwrap_err();
        assert!(error.contains("within 2 seconds"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn asks_over_a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server =
            thread::spawn(move || answer(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\n\r\n"));
        let target = Target::parse(&format!("unix:{}", path.display())).unwrap();
        assert_eq!(target.ask(), Ok(()));
        server.join().unwrap();
    }

    #[test]
    fn says_why_nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Target::parse(&format!("http://{address}"))
            .unwrap()
            .ask()
            .unwrap_err();
        assert!(error.contains("refused"), "{error}");
        assert!(Target::parse("https://localhost").is_err());
        assert!(Target::parse("nonsense").is_err());
    }

    #[test]
    fn everywhere_is_reached_over_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:4180"), "127.0.0.1:4180");
        assert_eq!(reach("[::]:4180"), "[::1]:4180");
        assert_eq!(reach("10.0.0.1:4180"), "10.0.0.1:4180");
    }
}
