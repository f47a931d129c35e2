//! A line of the access log. Pure: the facts of a request become bytes.
//!
//! Strangers choose the path and the user name. In JSON everything that could end the line, or that a terminal would obey, is escaped. At a
//! terminal `tracing` quotes it.

use std::{fmt::Write as _, io, net::IpAddr, time::Duration};

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};
use tracing::Level;

use super::{Ended, Verdict};
use crate::{clock::Timestamp, when};

/// The target of access lines in `log` and `RUST_LOG`: `sidegate::access=off` turns them off alone.
pub const TARGET: &str = "sidegate::access";

/// What a line says of a request. What is not known is left out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AccessLine<'a> {
    /// The request's method; none where it was refused before it was a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// Its path, without the query, which may hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// The answer's status.
    pub status: u16,
    /// How long it took until the answer's head, or until the client went away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
    /// How long it took in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_milliseconds: Option<f64>,
    /// How long the app took until its answer began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_milliseconds: Option<f64>,
    /// Whether the connection to the app had served another request before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_reused: Option<bool>,
    /// Bytes of the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Bytes of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Who broke it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Whether the app is to blame for that.
    #[serde(skip)]
    pub app_broke_off: bool,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Who is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// By which provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'a str>,
    /// By what it was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<&'static str>,
    /// The method of the request that a proxy asks about, where that tells one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_method: Option<&'a str>,
    /// Its path, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_path: Option<&'a str>,
    /// What the gate decided.
    pub verdict: Verdict,
    /// What a person debugging needs beside the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// What would have refused it, if the route were no dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<&'a str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
    /// The name of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
}

impl Default for AccessLine<'_> {
    /// A line that knows nothing.
    fn default() -> Self {
        Self {
            method: None,
            path: None,
            status: 0,
            milliseconds: None,
            total_milliseconds: None,
            upstream_milliseconds: None,
            upstream_reused: None,
            bytes_received: None,
            bytes_sent: None,
            ended: None,
            app_broke_off: false,
            client: None,
            user: None,
            provider: None,
            credential: None,
            original_method: None,
            original_path: None,
            verdict: Verdict::ClientGone,
            detail: None,
            dry_run: None,
            remedy: None,
            request_id: None,
        }
    }
}

/// A line as `tracing` would write it, fields, order and all: users have one parser for both.
#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: &'a str,
    level: &'static str,
    #[serde(flatten)]
    line: &'a AccessLine<'a>,
    target: &'static str,
}

impl AccessLine<'_> {
    /// WARN for what a person on call looks for: something broke, somebody could not log in, or would not pass if a dry run
    /// were none. A refusal that is the answer it should be is INFO.
    pub fn level(&self) -> Level {
        let went_wrong = self.status >= 500 || self.verdict.is_failure();
        if went_wrong || self.app_broke_off || self.dry_run.is_some() {
            Level::WARN
        } else {
            Level::INFO
        }
    }

    /// Appends the line to `lines` as JSON, at a quarter of what it costs through `tracing`.
    pub fn write_json(&self, timestamp: &str, lines: &mut Vec<u8>) {
        let begin = lines.len();
        let mut serializer = Serializer::with_formatter(&mut *lines, Inert);
        let line = JsonLine {
            timestamp,
            level: self.level().as_str(),
            line: self,
            target: TARGET,
        };
        // Memory takes everything, and none of the fields can fail; half a line would be worse than none.
        match line.serialize(&mut serializer) {
            Ok(()) => lines.push(b'\n'),
            Err(_) => lines.truncate(begin),
        }
    }

    /// Hands the line to `tracing`, which makes text of it.
    pub fn tell(&self) {
        // A level belongs to the place in the code.
        macro_rules! tell_at {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    method = self.method,
                    path = self.path,
                    status = self.status,
                    milliseconds = self.milliseconds,
                    total_milliseconds = self.total_milliseconds,
                    upstream_milliseconds = self.upstream_milliseconds,
                    upstream_reused = self.upstream_reused,
                    bytes_received = self.bytes_received,
                    bytes_sent = self.bytes_sent,
                    ended = self.ended.map(Ended::name),
                    client = self.client.map(tracing::field::display),
                    user = self.user,
                    provider = self.provider,
                    credential = self.credential,
                    original_method = self.original_method,
                    original_path = self.original_path,
                    verdict = self.verdict.name(),
                    detail = self.detail,
                    dry_run = self.dry_run,
                    remedy = self.remedy,
                    request_id = self.request_id,
                )
            };
        }
        if self.level() == Level::WARN {
            tell_at!(Level::WARN);
        } else {
            tell_at!(Level::INFO);
        }
    }
}

/// Appends `line`, a struct, as JSON that begins with the time of day.
pub(super) fn write_stamped(since_epoch: Duration, line: &impl Serialize, lines: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Stamped<'a, T> {
        timestamp: &'a str,
        #[serde(flatten)]
        line: &'a T,
    }
    let begin = lines.len();
    let mut stamp = Stamp::new();
    let timestamp = stamp.at(since_epoch);
    let mut serializer = Serializer::with_formatter(&mut *lines, Inert);
    match (Stamped { timestamp, line }).serialize(&mut serializer) {
        Ok(()) => lines.push(b'\n'),
        Err(_) => lines.truncate(begin),
    }
}

/// Compact JSON that is safe to print: beside what JSON has to escape also DEL and the control characters
/// beyond ASCII, among which a terminal finds a second ESC `[`.
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Nearly always: what is below the space never comes here. Many bytes are compared at once this way.
        if fragment.bytes().fold(0, u8::max) < 0x7f {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(place) = rest.find(char::is_control) {
            let (plain, control) = rest.split_at(place);
            let mut following = control.chars();
            let code = following.next().map_or(0, u32::from);
            write!(writer, "{plain}\\u{code:04x}")?;
            rest = following.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// The time of day as lines begin with it. All but its fraction is made once a second.
#[derive(Debug)]
pub struct Stamp {
    second: Option<u64>,
    text: String,
}

impl Stamp {
    /// One that has seen no time yet.
    pub const fn new() -> Self {
        Self {
            second: None,
            text: String::new(),
        }
    }

    /// `2026-11-22T07:50:00.000123Z`, in UTC.
    pub fn at(&mut self, since_epoch: Duration) -> &str {
        if self.second != Some(since_epoch.as_secs()) {
            self.second = Some(since_epoch.as_secs());
            self.text = when::rfc3339(Timestamp(since_epoch.as_secs()));
        }
        // Up to the second; the rest is the last one's fraction, or the zone.
        self.text.truncate("2026-11-22T07:50:00".len());
        _ = write!(self.text, ".{:06}Z", since_epoch.subsec_micros());
        &self.text
    }
}

#[cfg(test)]
mod tests;
