//! One request, one line. Filled as facts are found; decisions never read it.

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use http::{Method, StatusCode};
use tracing::Level;

use super::{
    Verdict,
    access_line::{AccessLine, TARGET},
    log, metrics,
};
use crate::{random, session::Identity, text::Text};

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
    id: RequestId,
    /// The name that a trusted proxy has given it, which takes the place of its own.
    pub given_id: Option<Text>,
    /// What the gate decided.
    pub verdict: Verdict,
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
    /// Who is signed in, and by which provider.
    user: Option<(Text, Text)>,
    /// Method and path of the request that a proxy asks about.
    original: Option<(Option<Method>, String)>,
}

impl Record {
    /// Begins a record. Where access lines are off, nothing is copied.
    pub fn begin(id: RequestId, method: &Method, path: &str) -> Self {
        // Any request may go wrong yet.
        let line = tracing::enabled!(target: TARGET, Level::WARN).then(|| {
            Box::new(Line {
                method: method.clone(),
                path: path.to_owned(),
                began: Instant::now(),
                user: None,
                original: None,
            })
        });
        Self {
            line,
            id,
            given_id: None,
            // Where nothing is decided yet, nobody waits for it any more.
            verdict: Verdict::ClientGone,
            status: None,
            detail: None,
            client: None,
        }
    }

    /// The name of the request, as the upstream is told it.
    pub fn request_id(&self) -> Cow<'_, str> {
        match &self.given_id {
            Some(given) => Cow::Borrowed(given),
            None => Cow::Owned(self.id.to_string()),
        }
    }

    /// Notes who is signed in, where it will be read.
    pub fn note_identity(&mut self, identity: Option<&Identity>) {
        if let Some(line) = &mut self.line {
            line.user = identity.map(|who| (who.user().clone(), who.provider.clone()));
        }
    }

    /// Notes which request a proxy asks about, where it will be read. The query, which may hold secrets, is left out.
    pub fn note_original(&mut self, method: Option<&Method>, target: &str) {
        if let Some(line) = &mut self.line {
            let path = target.split(['?', '#']).next().unwrap_or_default();
            line.original = Some((method.cloned(), path.to_owned()));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let verdict = match self.status {
            Some(_) => self.verdict,
            None => Verdict::ClientGone,
        };
        metrics::REQUESTS.count(verdict, self.status);
        let Some(line) = &self.line else { return };
        let user = line.user.as_ref();
        let original = line.original.as_ref();
        // Not `request_id`, which would cost every line an allocation.
        let own_id = self.id.hex();
        let request_id = match &self.given_id {
            Some(given) => given,
            None => std::str::from_utf8(&own_id).unwrap_or("-"),
        };
        let told = AccessLine {
            method: line.method.as_str(),
            path: &line.path,
            // nginx's 499: the client closed the request.
            status: self.status.map_or(499, |status| status.as_u16()),
            milliseconds: (line.began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            client: self.client,
            user: user.map(|(user, _)| &**user),
            provider: user.map(|(_, provider)| &**provider),
            original_method: original.and_then(|(method, _)| Some(method.as_ref()?.as_str())),
            original_path: original.map(|(_, path)| path.as_str()),
            verdict,
            detail: self.detail.as_deref(),
            request_id,
        };
        if told.level() == Level::WARN || tracing::enabled!(target: TARGET, Level::INFO) {
            log::access(&told);
        }
    }
}
