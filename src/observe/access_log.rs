//! One request, one line. Filled as facts are found; decisions never read it.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use http::{Method, StatusCode};
use serde::{Serialize, Serializer};

use super::{
    access_line::{AccessLine, TARGET},
    log, metrics,
};
use crate::{random, text::Text};

/// The name of a request, told to the upstream, the log and whoever is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    process: u64,
    count: u64,
}

impl RequestId {
    /// As `X-Request-Id` has it.
    pub fn hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        let bytes = [self.process.to_be_bytes(), self.count.to_be_bytes()];
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes.as_flattened()) {
            *pair = HEX_PAIRS[usize::from(*byte)];
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.hex()).unwrap_or("-"))
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.hex()).unwrap_or("-"))
    }
}

/// The two digits of each byte.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Names requests: a random number per worker, and a count. Unique, not secret.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// A fresh row of names.
    pub fn new() -> Self {
        Self {
            process: u64::from_be_bytes(random::bytes()),
            count: AtomicU64::new(0),
        }
    }

    /// The next name.
    pub fn next(&self) -> RequestId {
        RequestId {
            process: self.process,
            count: self.count.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of a request. Its line is written when it is dropped, so that a client that went away
/// leaves a line too.
#[derive(Debug)]
pub struct Record {
    /// Boxed: most gates write no access lines, and each request in flight keeps a record.
    line: Option<Box<Line>>,
    /// The name of the request.
    pub id: RequestId,
    /// Who is signed in.
    pub user: Option<Text>,
    /// What the gate decided.
    pub verdict: &'static str,
    /// The answer's status; none when the client went away before.
    pub status: Option<StatusCode>,
    /// What a person debugging needs beside the verdict: the rule that refused, what broke.
    pub detail: Option<String>,
    /// The client's address.
    pub client: Option<std::net::IpAddr>,
}

#[derive(Debug)]
struct Line {
    method: Method,
    path: String,
    began: Instant,
}

impl Record {
    /// Begins a record. Where access lines are off, nothing is copied.
    pub fn begin(id: RequestId, method: &Method, path: &str) -> Self {
        let line = tracing::enabled!(target: TARGET, tracing::Level::INFO).then(|| {
            Box::new(Line {
                method: method.clone(),
                path: path.to_owned(),
                began: Instant::now(),
            })
        });
        Self {
            line,
            id,
            user: None,
            verdict: "none",
            status: None,
            detail: None,
            client: None,
        }
    }

    /// Notes who is signed in, where it will be read.
    pub fn note_user(&mut self, user: Option<&Text>) {
        if self.line.is_some() {
            self.user = user.cloned();
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let verdict = match self.status {
            Some(_) => self.verdict,
            None => "client_gone",
        };
        metrics::REQUESTS.count(verdict, self.status);
        let Some(line) = &self.line else { return };
        log::access(&AccessLine {
            method: line.method.as_str(),
            path: &line.path,
            // nginx's 499: the client closed the request.
            status: self.status.map_or(499, |status| status.as_u16()),
            milliseconds: (line.began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            client: self.client,
            user: self.user.as_deref(),
            verdict,
            detail: self.detail.as_deref(),
            request_id: self.id,
        });
    }
}
