//! One line for each request, written when the request has ended: its last byte was sent, or it was broken off. The record is filled as
//! facts become known; decisions never read it.

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use tracing::Level;

use super::{
    Ended, Verdict,
    access_line::{AccessLine, TARGET},
    log,
    metrics::{Counted, Requests},
};
use crate::{access::Principal, credential::Proof, identity::Identity, random, text::Text};

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

/// Names the requests of one worker and records them: a random number per worker, and a count. Names are unique, not
/// secret.
#[derive(Debug)]
pub struct Recorder {
    process: u64,
    count: AtomicU64,
    shared: Arc<Shared>,
}

/// What a recorder and its records share.
#[derive(Debug)]
struct Shared {
    requests: Arc<Requests>,
    /// Whether the grace of a stop is over, which all recorders of the process share.
    is_over: Arc<AtomicBool>,
}

impl Recorder {
    /// A fresh row of names; what is recorded is counted in `requests`. Once `is_over`, what is let go of ends by a stop.
    pub(super) fn new(requests: Arc<Requests>, is_over: Arc<AtomicBool>) -> Self {
        Self {
            process: u64::from_be_bytes(random::bytes()),
            count: AtomicU64::new(0),
            shared: Arc::new(Shared { requests, is_over }),
        }
    }

    /// The grace of a stop is over: what is let go of from here on ends by that, at the listeners apart as well.
    pub fn end(&self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }

    /// Begins a record, in a box that goes with the request to its answer's last byte: it is moved from hand to hand. Where
    /// access lines are off, nothing is copied.
    pub fn begin(&self, method: &Method, path: &str) -> Box<Record> {
        // Any request may go wrong yet.
        let line = tracing::enabled!(target: TARGET, Level::WARN).then(|| {
            Box::new(Line {
                method: method.clone(),
                path: path.to_owned(),
                user: None,
                original: None,
            })
        });
        Box::new(Record {
            line,
            shared: Arc::clone(&self.shared),
            began: Instant::now(),
            id: RequestId {
                process: self.process,
                count: self.count.fetch_add(1, Ordering::Relaxed),
            },
            given_id: None,
            // Where nothing is decided yet, nobody waits for it any more.
            verdict: Verdict::ClientGone,
            status: None,
            answered: None,
            detail: None,
            dry_run: None,
            remedy: None,
            client: None,
            upstream: None,
            received: None,
            sent: 0,
            ended: None,
            app_broke_off: false,
            has_body: *method != Method::HEAD,
        })
    }

    /// Records what was refused with `status` before it was a request: no method, no path, no name. `reason` is for the
    /// log; it may hold what a stranger sent.
    pub fn refused(&self, client: Option<IpAddr>, status: StatusCode, reason: &str) {
        let verdict = Verdict::BadRequest;
        self.shared.requests.count(Counted {
            verdict,
            status: Some(status),
            total: Duration::ZERO,
            upstream: None,
            received: 0,
            sent: 0,
        });
        if tracing::enabled!(target: TARGET, Level::INFO) {
            log::access(&AccessLine {
                status: status.as_u16(),
                client,
                verdict,
                detail: Some(reason),
                ..AccessLine::default()
            });
        }
    }
}

/// Counts the bytes of a request's body, wherever that is read. Travels in the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<AtomicU64>);

impl Received {
    /// Counts `bytes` more.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What the app had to do with a request.
#[derive(Clone, Copy, Debug)]
struct UpstreamUse {
    /// Until its answer began, or until it was clear that none comes.
    time: Duration,
    /// Whether the connection had served another request before; none where there was no answer.
    is_reused: Option<bool>,
}

/// What is known of a request. It is counted, and its line written, when it is dropped, so that a client that went away
/// leaves a line too.
#[derive(Debug)]
pub struct Record {
    /// Boxed: some gates write no access lines, and each request in flight keeps a record.
    line: Option<Box<Line>>,
    shared: Arc<Shared>,
    began: Instant,
    id: RequestId,
    /// The name that a trusted proxy has given it, which takes the place of its own.
    pub given_id: Option<Text>,
    /// What the gate decided.
    pub verdict: Verdict,
    /// The answer's status; none while there is no answer.
    status: Option<StatusCode>,
    /// From the beginning to the answer's head.
    answered: Option<Duration>,
    /// What a person debugging needs beside the verdict: the rule that refused, what broke.
    pub detail: Option<String>,
    /// What would have refused it, if the route were no dry run.
    dry_run: Option<String>,
    /// What to do about it.
    pub remedy: Option<&'static str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    upstream: Option<UpstreamUse>,
    /// None where the request has no body.
    received: Option<Received>,
    sent: u64,
    ended: Option<Ended>,
    /// Whether the app is to blame for that.
    app_broke_off: bool,
    /// Whether an answer may have a body at all.
    has_body: bool,
}

#[derive(Debug)]
struct Line {
    method: Method,
    path: String,
    /// Who sends it, by which provider, and by what that was proven.
    user: Option<(Text, Text, Proof)>,
    /// Method and path of the request that a proxy asks about.
    original: Option<(Option<Method>, String)>,
}

impl Record {
    /// The gate's own name of the request.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The name of the request, as the upstream is told it.
    pub fn request_id(&self) -> Cow<'_, str> {
        match &self.given_id {
            Some(given) => Cow::Borrowed(given),
            None => Cow::Owned(self.id.to_string()),
        }
    }

    /// Notes that it may pass, and whether the app is told as whom.
    pub fn note_passing(&mut self, is_shown: bool) {
        self.verdict = if is_shown {
            Verdict::Pass
        } else {
            Verdict::Public
        };
    }

    /// Notes who is signed in by a session, where it will be read.
    pub fn note_identity(&mut self, identity: Option<&Identity>) {
        self.note_user(identity.map(|identity| (identity, Proof::Session)));
    }

    /// Notes who sends it, and by what that was proven, where it will be read.
    pub fn note_principal(&mut self, principal: Option<Principal<'_>>) {
        self.note_user(principal.map(|principal| (principal.identity, principal.proof)));
    }

    fn note_user(&mut self, user: Option<(&Identity, Proof)>) {
        if let Some(line) = &mut self.line {
            line.user = user.map(|(who, proof)| (who.user().clone(), who.provider.clone(), proof));
        }
    }

    /// Notes which request a proxy asks about, where it will be read. The query, which may hold secrets, is left out.
    pub fn note_original(&mut self, method: Option<&Method>, target: &str) {
        if let Some(line) = &mut self.line {
            let path = target.split(['?', '#']).next().unwrap_or_default();
            line.original = Some((method.cloned(), path.to_owned()));
        }
    }

    /// Notes what would have refused it, if the route were no dry run. Of several rules the first.
    pub fn note_dry_run(&mut self, denial: Option<String>) {
        if self.dry_run.is_none() {
            self.dry_run = denial;
        }
    }

    /// Notes that the answer begins, or that none comes, of an app that was `asked` then; and whether its connection had
    /// served another request before (none where there was no answer).
    pub fn note_upstream(&mut self, sent_at: Instant, is_reused: Option<bool>) {
        let now = Instant::now();
        let time = now - sent_at;
        self.upstream = Some(UpstreamUse { time, is_reused });
        self.answered = Some(now - self.began);
    }

    /// What counts the bytes of the request's body.
    pub fn received(&mut self) -> Received {
        self.received.get_or_insert_default().clone()
    }

    /// Notes that the answer's head is there.
    pub fn note_answer(&mut self, status: StatusCode) {
        self.status = Some(status);
        // What an app has answered goes on at once.
        self.answered.get_or_insert_with(|| self.began.elapsed());
        let never = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        self.has_body &= !never.contains(&status) && !status.is_informational();
    }

    /// Whether the answer may have a body, by method and status (RFC 9110 §6.4.1). What has none is complete with its
    /// head.
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// Notes that the client was sent `bytes` more of the answer's body.
    pub fn note_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Notes who broke the request off, `why`, and what to do about it. The first to say so knows best.
    pub fn note_break(
        &mut self,
        ended: Ended,
        why: impl fmt::Display,
        remedy: Option<&'static str>,
    ) {
        if self.ended.is_none() {
            self.ended = Some(ended);
            self.detail.get_or_insert_with(|| why.to_string());
            self.remedy = self.remedy.or(remedy);
        }
    }

    /// The same of an app that broke its answer off, or stopped in the middle of it.
    pub fn note_broken_by_app(
        &mut self,
        ended: Ended,
        why: impl fmt::Display,
        remedy: Option<&'static str>,
    ) {
        self.app_broke_off |= self.ended.is_none();
        self.note_break(ended, why, remedy);
    }

    /// Notes that the request is let go of unfinished. Where nobody has said why, its client has left, or the grace of a
    /// stop is over.
    pub fn note_lost(&mut self) {
        if self.shared.is_over.load(Ordering::Relaxed) {
            self.note_break(
                Ended::Stop,
                "`shutdown_grace` was over",
                Some("if answers may take so long, raise shutdown_grace"),
            );
        } else {
            self.ended.get_or_insert(Ended::Client);
        }
    }

    /// Counts the request; tells how many bytes its client sent.
    fn count(&self, total: Duration) -> u64 {
        let received = self.received.as_ref();
        let received = received.map_or(0, |received| received.0.load(Ordering::Relaxed));
        let upstream = self
            .upstream
            .filter(|upstream| upstream.is_reused.is_some());
        self.shared.requests.count(Counted {
            verdict: self.verdict,
            status: self.status,
            total,
            upstream: upstream.map(|upstream| upstream.time),
            received,
            sent: self.sent,
        });
        received
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.verdict = Verdict::ClientGone;
            self.note_lost();
        }
        let total = self.began.elapsed();
        let received = self.count(total);
        let Some(line) = &self.line else { return };
        let user = line.user.as_ref();
        let original = line.original.as_ref();
        // Not `request_id`, which would cost every line an allocation.
        let own_id = self.id.hex();
        let request_id = match &self.given_id {
            Some(given) => given,
            None => std::str::from_utf8(&own_id).unwrap_or("-"),
        };
        let written = AccessLine {
            method: Some(line.method.as_str()),
            path: Some(&line.path),
            // nginx's 499: the client closed the request.
            status: self.status.map_or(499, |status| status.as_u16()),
            milliseconds: Some(milliseconds(self.answered.unwrap_or(total))),
            total_milliseconds: Some(milliseconds(total)),
            upstream_milliseconds: self.upstream.map(|upstream| milliseconds(upstream.time)),
            upstream_reused: self.upstream.and_then(|upstream| upstream.is_reused),
            bytes_received: Some(received),
            bytes_sent: Some(self.sent),
            ended: self.ended,
            app_broke_off: self.app_broke_off,
            client: self.client,
            user: user.map(|(user, ..)| &**user),
            provider: user.map(|(_, provider, _)| &**provider),
            credential: user.map(|(.., proof)| proof.name()),
            original_method: original.and_then(|(method, _)| Some(method.as_ref()?.as_str())),
            original_path: original.map(|(_, path)| path.as_str()),
            verdict: self.verdict,
            detail: self.detail.as_deref(),
            dry_run: self.dry_run.as_deref(),
            remedy: self.remedy,
            request_id: Some(request_id),
        };
        if written.level() == Level::WARN || tracing::enabled!(target: TARGET, Level::INFO) {
            log::access(&written);
        }
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    #[test]
    fn the_end_of_a_stop_is_that_of_every_listener() {
        let metrics = Metrics::default();
        let (worker, aside) = (metrics.recorder(), metrics.recorder());
        let lost = || {
            let mut record = aside.begin(&Method::GET, "/");
            record.note_lost();
            record.ended
        };
        assert_eq!(lost(), Some(Ended::Client));
        worker.end();
        assert_eq!(lost(), Some(Ended::Stop));
    }
}
