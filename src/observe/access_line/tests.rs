use std::{
    io::{self, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use serde_json::{Value, json};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

use super::*;
use crate::observe::documented;

const TIME: &str = "2026-11-22T07:50:00.000123Z";
const ID: &str = "0123456789abcdef0123456789abcdef";

/// What `tracing` wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A clock that stands.
struct Standing;

impl FormatTime for Standing {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(TIME)
    }
}

fn json_line(line: &AccessLine<'_>) -> String {
    let mut lines = Vec::new();
    line.write_json(TIME, &mut lines);
    String::from_utf8(lines).unwrap()
}

fn through_tracing(line: &AccessLine<'_>) -> String {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_timer(Standing)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || line.tell());
    written.text()
}

fn text_line(line: &AccessLine<'_>) -> String {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_timer(Standing)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || line.tell());
    written.text()
}

fn line<'a>(path: &'a str, user: Option<&'a str>, detail: Option<&'a str>) -> AccessLine<'a> {
    AccessLine {
        method: Some("GET"),
        path: Some(path),
        status: 200,
        milliseconds: Some(0.25),
        client: Some(Ipv4Addr::LOCALHOST.into()),
        user,
        verdict: Verdict::Pass,
        detail,
        request_id: Some(ID),
        ..AccessLine::default()
    }
}

#[test]
fn a_line_has_these_fields_in_this_order() {
    let line = line("/a\"b", Some("ada"), None);
    assert_eq!(
        json_line(&line),
        format!(
            "{{\"timestamp\":\"{TIME}\",\"level\":\"INFO\",\"method\":\"GET\",\"path\":\"/a\\\"b\",\"status\":200,\
             \"milliseconds\":0.25,\"client\":\"127.0.0.1\",\"user\":\"ada\",\"verdict\":\"pass\",\
             \"request_id\":\"{ID}\",\"target\":\"sidegate::access\"}}\n"
        )
    );
}

#[test]
fn a_line_about_another_request_says_which() {
    let line = AccessLine {
        provider: Some("corp"),
        original_method: Some("PUT"),
        original_path: Some("/page\u{1b}"),
        ..line("/oauth2/auth", Some("ada"), None)
    };
    let text = json_line(&line);
    let expected = r#""user":"ada","provider":"corp","original_method":"PUT","original_path":"/page\u001b","verdict""#;
    assert!(text.contains(expected), "{text}");
    assert_eq!(text, through_tracing(&line));
}

#[test]
fn every_field_is_explained() {
    let line = AccessLine {
        total_milliseconds: Some(5.0),
        upstream_milliseconds: Some(0.125),
        upstream_reused: Some(true),
        bytes_received: Some(3),
        bytes_sent: Some(70_000),
        ended: Some(Ended::Session),
        provider: Some("corp"),
        credential: Some("session"),
        original_method: Some("PUT"),
        original_path: Some("/page"),
        dry_run: Some("routes[0]"),
        remedy: Some("what to do"),
        ..line("/oauth2/auth", Some("ada"), Some("why"))
    };
    let text = json_line(&line);
    let keys = text.split(['{', ',']).filter_map(|part| {
        let (key, _) = part.strip_prefix('"')?.split_once("\":")?;
        Some(key)
    });
    let keys: Vec<_> = keys.collect();
    let documented_keys = documented("docs/logging.md", "## The fields of a request's line");
    let documented_keys: Vec<_> = documented_keys
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(documented_keys, keys);
    assert_eq!(text, through_tracing(&line));
}

#[test]
fn what_went_wrong_is_a_warning() {
    for (status, verdict, level) in [
        (200, Verdict::Pass, "INFO"),
        (500, Verdict::Pass, "WARN"),
        (503, Verdict::Own, "WARN"),
        (302, Verdict::SignIn, "INFO"),
        (401, Verdict::SignIn, "INFO"),
        (403, Verdict::Forbidden, "INFO"),
        (400, Verdict::BadRequest, "INFO"),
        (499, Verdict::ClientGone, "INFO"),
        (400, Verdict::LoginFailed, "WARN"),
        (403, Verdict::LoginFailed, "WARN"),
        // As gRPC's clients get them.
        (200, Verdict::BadGateway, "WARN"),
        (200, Verdict::GatewayTimeout, "WARN"),
        (200, Verdict::Unavailable, "WARN"),
        (200, Verdict::LoginFailed, "WARN"),
    ] {
        let line = AccessLine {
            status,
            verdict,
            ..line("/", None, None)
        };
        let value: Value = serde_json::from_str(&json_line(&line)).unwrap();
        assert_eq!(value["level"], level, "{status} {verdict}");
        assert_eq!(json_line(&line), through_tracing(&line));
    }
}

#[test]
fn no_number_makes_a_line_that_is_not_json() {
    for milliseconds in [f64::NAN, f64::INFINITY, 0.0, 1e300, 1e-300] {
        let line = AccessLine {
            milliseconds: Some(milliseconds),
            ..line("/", None, None)
        };
        assert_eq!(json_line(&line), through_tracing(&line));
        serde_json::from_str::<Value>(&json_line(&line)).unwrap();
    }
}

#[test]
fn a_terminal_finds_nothing_to_obey() {
    let line = line("/\u{1b}[2J\u{7f}", Some("\u{9b}31m\u{85}é"), Some("a\r\nb"));
    let text = json_line(&line);
    for escaped in [
        r#""path":"/\u001b[2J\u007f""#,
        r#""user":"\u009b31m\u0085é""#,
        r#""detail":"a\r\nb""#,
    ] {
        assert!(text.contains(escaped), "{text}");
    }
}

#[test]
fn a_stamp_is_as_tracing_has_it() {
    let mut stamp = Stamp::new();
    let at = |stamp: &mut Stamp, seconds, nanos| stamp.at(Duration::new(seconds, nanos)).to_owned();
    assert_eq!(at(&mut stamp, 0, 0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(
        at(&mut stamp, 1_795_333_800, 123_999),
        "2026-11-22T07:50:00.000123Z"
    );
    assert_eq!(
        at(&mut stamp, 1_795_333_800, 999_999_999),
        "2026-11-22T07:50:00.999999Z"
    );
    assert_eq!(
        at(&mut stamp, 1_795_333_801, 0),
        "2026-11-22T07:50:01.000000Z"
    );
    // A clock that was set back.
    assert_eq!(
        at(&mut stamp, 1_709_251_199, 5_000),
        "2024-02-29T23:59:59.000005Z"
    );
}

/// Any words, with more than their share of those that do harm.
fn words() -> impl Strategy<Value = String> {
    let harmful = prop::sample::select(vec![
        '\0', '\t', '\n', '\r', '\u{1b}', '"', '\\', '/', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}',
        '{', '}', '\u{202e}', '\u{feff}',
    ]);
    let character = prop_oneof![any::<char>(), harmful, prop::char::range(' ', '~')];
    prop::collection::vec(character, 0..40).prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #[test]
    fn one_line_is_one_object_with_these_fields(
        path in words(),
        user in prop::option::of(words()),
        detail in prop::option::of(words()),
        status in 100_u16..1000,
        eighths in any::<u32>(),
        address in any::<Option<IpAddr>>(),
    ) {
        // serde_json reads other fractions almost as they are.
        let milliseconds = f64::from(eighths) / 8.0;
        let line = AccessLine { status, milliseconds: Some(milliseconds), client: address, ..line(&path, user.as_deref(), detail.as_deref()) };
        let text = json_line(&line);
        let content = text.strip_suffix('\n').unwrap();
        prop_assert!(!content.contains(char::is_control), "{content:?}");
        let mut expected = json!({
            "timestamp": TIME,
            "level": if status >= 500 { "WARN" } else { "INFO" },
            "method": "GET",
            "path": path,
            "status": status,
            "milliseconds": milliseconds,
            "verdict": "pass",
            "request_id": ID,
            "target": "sidegate::access",
        });
        let optional = [("client", address.map(|address| address.to_string())), ("user", user), ("detail", detail)];
        for (name, value) in optional {
            if let Some(value) = value {
                expected[name] = value.into();
            }
        }
        prop_assert_eq!(serde_json::from_str::<Value>(content).unwrap(), expected);
    }

    #[test]
    fn a_line_is_as_tracing_writes_it(
        path in words(),
        user in prop::option::of(words()),
        detail in prop::option::of(words()),
        milliseconds in 0.0..1e9,
    ) {
        let line = AccessLine { milliseconds: Some(milliseconds), ..line(&path, user.as_deref(), detail.as_deref()) };
        let mut expected = through_tracing(&line);
        // Those that it leaves to the terminal.
        for code in 0x7f..0xa0 {
            expected = expected.replace(char::from(code), &format!("\\u{code:04x}"));
        }
        prop_assert_eq!(json_line(&line), expected);
    }

    #[test]
    fn text_is_one_line_without_control_characters(
        path in words(),
        user in prop::option::of(words()),
        detail in prop::option::of(words()),
    ) {
        let text = text_line(&line(&path, user.as_deref(), detail.as_deref()));
        let content = text.strip_suffix('\n').unwrap();
        prop_assert!(!content.contains(char::is_control), "{content:?}");
    }
}
