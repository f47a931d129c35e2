//! The load generator: one thread, one epoll, kept-alive connections, each with one request in
//! flight. A fixed number of requests, because a fixed time would give the faster setup more work.
//! Every response's status and body length are checked; one wrong response voids the run.

use std::{
    error::Error,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use memchr::memmem;
use mio::{Events, Interest, Poll, Token, net::TcpStream, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::{request::Requests, upstream::BODY_LENGTH};

/// Connections to one setup that stay open over several runs.
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    answer: Answer,
}

/// What every response has to be.
#[derive(Clone, Copy)]
pub enum Answer {
    /// The app's.
    App,
    /// What a client gets that has registered.
    Registered,
}

/// What one run saw.
pub struct Run {
    /// From the first request to the last response.
    pub wall: Duration,
    /// From writing a request to its last byte back, sorted.
    pub latencies: Vec<Duration>,
}

struct Connection {
    stream: TcpStream,
    /// The request in flight, and how much of it is written.
    request: usize,
    written: usize,
    /// Bytes of the response so far, kept only when it comes in parts.
    partial: Vec<u8>,
    sent_at: Instant,
}

impl Load {
    /// Opens `connections` connections to `address`.
    pub fn connect(address: SocketAddr, connections: usize) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let connections = (0..connections)
            .map(|index| {
                let stream = std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(index), interest)?;
                Ok(Connection {
                    stream,
                    request: 0,
                    // None is in flight yet, and so none is left to write.
                    written: usize::MAX,
                    partial: Vec::new(),
                    sent_at: Instant::now(),
                })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            connections,
            buffer: vec![0; 64 * 1024],
            answer: Answer::App,
        })
    }

    /// The same, for other responses than the app's.
    pub fn expecting(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    /// Sends `count` requests beginning with the `first`th, and returns when all are answered.
    pub fn run(
        &mut self,
        requests: &Requests,
        first: usize,
        count: usize,
    ) -> Result<Run, Box<dyn Error>> {
        let began = Instant::now();
        let mut latencies = Vec::with_capacity(count);
        let mut next = first;
        let end = first + count;
        for connection in self.connections.iter_mut().take(count) {
            connection.begin(next, requests)?;
            next += 1;
        }
        while latencies.len() < count {
            if began.elapsed() > RUN_LIMIT {
                return Err(format!("no end after {} s", RUN_LIMIT.as_secs()).into());
            }
            match self.poll.poll(&mut self.events, Some(POLL_TIMEOUT)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if event.is_writable() {
                    connection.write(requests)?;
                }
                if !event.is_readable() || !connection.read(&mut self.buffer, self.answer)? {
                    continue;
                }
                latencies.push(connection.sent_at.elapsed());
                if next < end {
                    connection.begin(next, requests)?;
                    next += 1;
                }
            }
        }
        let wall = began.elapsed();
        latencies.sort_unstable();
        Ok(Run { wall, latencies })
    }

    /// Sends `count` requests, one each `interval`, whatever became of those before: latency is counted from when a request
    /// was to be sent, so that one that waits for a connection is as late as its client sees it.
    pub fn run_paced(
        &mut self,
        requests: &Requests,
        count: usize,
        interval: Duration,
    ) -> Result<Run, Box<dyn Error>> {
        let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let (registry, source) = (self.poll.registry(), clock.as_raw_fd());
        registry.register(&mut SourceFd(&source), CLOCK, Interest::READABLE)?;
        let each = Timespec::try_from(interval)?;
        let began = Instant::now();
        let times = Itimerspec {
            it_interval: each,
            it_value: each,
        };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &times)?;
        let mut latencies = Vec::with_capacity(count);
        let mut free: Vec<usize> = (0..self.connections.len()).collect();
        let (mut due, mut sent) = (0, 0);
        while latencies.len() < count {
            if began.elapsed() > RUN_LIMIT {
                return Err(format!("no end after {} s", RUN_LIMIT.as_secs()).into());
            }
            match self.poll.poll(&mut self.events, Some(POLL_TIMEOUT)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &self.events {
                if event.token() == CLOCK {
                    let mut ticks = [0; 8];
                    if rustix::io::read(&clock, &mut ticks).is_ok() {
                        due += usize::try_from(u64::from_ne_bytes(ticks))?;
                    }
                    continue;
                }
                let connection = &mut self.connections[event.token().0];
                if event.is_writable() {
                    connection.write(requests)?;
                }
                if event.is_readable() && connection.read(&mut self.buffer, self.answer)? {
                    latencies.push(connection.sent_at.elapsed());
                    free.push(event.token().0);
                }
            }
            while sent < due.min(count)
                && let Some(place) = free.pop()
            {
                sent += 1;
                let connection = &mut self.connections[place];
                connection.begin(sent, requests)?;
                connection.sent_at = began + interval * u32::try_from(sent)?;
            }
        }
        let registry = self.poll.registry();
        registry.deregister(&mut SourceFd(&source))?;
        let wall = began.elapsed();
        latencies.sort_unstable();
        Ok(Run { wall, latencies })
    }
}

impl Run {
    /// The latency that `percent` of the requests did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len() - 1;
        self.latencies[(self.latencies.len() * percent / 100).min(last)]
    }
}

impl Connection {
    fn begin(&mut self, request: usize, requests: &Requests) -> Result<(), Box<dyn Error>> {
        self.request = request;
        self.written = 0;
        self.sent_at = Instant::now();
        self.write(requests)
    }

    /// Writes what is left of the request in flight.
    fn write(&mut self, requests: &Requests) -> Result<(), Box<dyn Error>> {
        let request = requests.at(self.request);
        while self.written < request.len() {
            match self.stream.write(&request[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads; true when the response is whole.
    fn read(&mut self, buffer: &mut [u8], answer: Answer) -> Result<bool, Box<dyn Error>> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err("the proxy closed a connection".into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            if self.partial.is_empty() && is_whole(&buffer[..length], answer)? {
                return Ok(true);
            }
            self.partial.extend_from_slice(&buffer[..length]);
            if is_whole(&self.partial, answer)? {
                self.partial.clear();
                return Ok(true);
            }
        }
    }
}

/// Whether `response` is a whole response; an error where it is not the expected one.
fn is_whole(response: &[u8], answer: Answer) -> Result<bool, Box<dyn Error>> {
    let Some(end) = memmem::find(response, b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = response.split_at(end + 4);
    let length = content_length(head);
    let (status, is_expected) = match answer {
        Answer::App => ("HTTP/1.1 200 ", length == Some(BODY_LENGTH)),
        Answer::Registered => ("HTTP/1.1 201 ", true),
    };
    let is_expected = is_expected && head.starts_with(status.as_bytes());
    let Some(length) = length.filter(|_| is_expected) else {
        let head = String::from_utf8_lossy(head);
        return Err(format!("not the expected response:\n{head}").into());
    };
    if body.len() > length {
        return Err("more bytes than the response has".into());
    }
    Ok(body.len() == length)
}

fn content_length(head: &[u8]) -> Option<usize> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(CONTENT_LENGTH.len())?;
        name.eq_ignore_ascii_case(CONTENT_LENGTH).then_some(value)
    })?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Paces requests.
const CLOCK: Token = Token(usize::MAX);
const CONTENT_LENGTH: &[u8] = b"content-length:";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_TIMEOUT: Duration = Duration::from_secs(1);
const RUN_LIMIT: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests {
    use super::{Answer, is_whole as is_whole_of};

    fn is_whole(response: &[u8]) -> Result<bool, Box<dyn std::error::Error>> {
        is_whole_of(response, Answer::App)
    }

    fn response(length: usize, body: usize) -> Vec<u8> {
        let head = format!("HTTP/1.1 200 OK\r\nServer: x\r\ncontent-Length: {length}\r\n\r\n");
        let mut response = head.into_bytes();
        response.resize(response.len() + body, b'x');
        response
    }

    #[test]
    fn a_response_in_parts_is_waited_for() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nCont").expect("no verdict yet"));
        assert!(!is_whole(&response(200, 199)).expect("no verdict yet"));
        assert!(is_whole(&response(200, 200)).expect("whole"));
    }

    #[test]
    fn a_wrong_response_voids_the_run() {
        assert!(is_whole(&response(200, 201)).is_err());
        assert!(is_whole(&response(20, 20)).is_err());
        assert!(is_whole(b"HTTP/1.1 302 Found\r\nContent-Length: 200\r\n\r\n").is_err());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nX: content-length: 200\r\n\r\n").is_err());
    }

    #[test]
    fn a_registration_is_as_long_as_it_says() {
        let created = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        let whole = |response: &[u8]| is_whole_of(response, Answer::Registered);
        assert!(whole(created).expect("whole"));
        assert!(!whole(&created[..created.len() - 1]).expect("a part"));
        assert!(whole(&response(2, 2)).is_err());
        assert!(whole(b"HTTP/1.1 201 Created\r\n\r\n").is_err());
    }
}
