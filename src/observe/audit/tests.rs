use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use super::*;
use crate::{identity::Identity, observe::documented};

fn to_file(path: &Path, required: bool) -> Audit {
    let audit = Audit::default();
    audit.adopt(Some(&AuditSettings {
        to: Destination::File(path.to_owned()),
        required,
    }));
    audit
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn every_event_is_documented_with_its_meaning() {
    let documented_names = documented("docs/audit.md", "## Events");
    let each = Event::ALL.iter();
    let expected: Vec<_> = each
        .map(|event| (event.name().to_owned(), event.meaning().trim().to_owned()))
        .collect();
    assert_eq!(documented_names, expected);
}

/// Every field of the schema is in the table of the page, in the order of the lines.
#[test]
fn every_field_is_documented() {
    let entry = Entry {
        outcome: Some("x"),
        user: Some("x".into()),
        user_id: Some("x".into()),
        provider: Some("x".into()),
        credential: Some("x"),
        client: Some([127, 0, 0, 1].into()),
        method: Some("GET"),
        path: Some("/".into()),
        rule: Some("x".into()),
        object: Some("x".into()),
        count: Some(1),
        detail: Some("x".into()),
        request_id: Some("x".into()),
        ..Entry::of(Event::Login)
    };
    let line: Value = serde_json::from_slice(&entry.line()).unwrap();
    let mut fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
    let mut documented_names: Vec<_> = documented("docs/audit.md", "## Fields")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    fields.sort();
    documented_names.sort();
    assert_eq!(documented_names, fields);
}

#[test]
fn a_line_is_one_line_whatever_a_stranger_wrote() {
    let identity = Identity::of("corp", "a\n\u{9b}31mb");
    let path = format!("/{}", "ä".repeat(2_000));
    let entry = Entry {
        path: Some(path.as_str().into()),
        ..Entry::of(Event::Denied).about(&identity)
    };
    let line = String::from_utf8(entry.line()).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.trim_end().contains(char::is_control), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["user_id"], "corp:a\n\u{9b}31mb");
    assert!(value["path"].as_str().unwrap().len() <= 1_024);
}

#[test]
fn without_settings_events_are_counted_and_go_nowhere() {
    let audit = Audit::default();
    audit.record(&Entry::of(Event::Login));
    let counted: Vec<_> = audit.counts().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(Event::Login, 1)]);
    assert_eq!((audit.lost(), audit.is_written()), (0, None));
}

#[tokio::test]
async fn a_rotated_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("trail"), folder.path().join("trail.1"));
    let audit = to_file(&path, true);
    audit.admit(&Entry::of(Event::Login)).await.unwrap();
    fs::rename(&path, &moved).unwrap();
    audit.admit(&Entry::of(Event::SignOut)).await.unwrap();
    audit.reopen();
    audit.admit(&Entry::of(Event::Reload)).await.unwrap();
    let events = |path| -> Vec<_> {
        let lines = lines(path).into_iter();
        lines.map(|line| line["event"].clone()).collect()
    };
    assert_eq!(events(&moved), ["login", "sign_out"]);
    assert_eq!(events(&path), ["reload"]);
}

#[tokio::test]
async fn what_cannot_be_written_is_told_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/trail");
    let audit = to_file(&path, true);
    assert_eq!(audit.is_written(), Some(false));
    for _ in 0..3 {
        assert_eq!(audit.admit(&Entry::of(Event::Login)).await, Err(NotWritten));
    }
    assert!(audit.lost() >= 3);
    fs::create_dir(folder.path().join("later")).unwrap();
    audit.admit(&Entry::of(Event::Login)).await.unwrap();
    assert_eq!(audit.is_written(), Some(true));
    let lines = lines(&path);
    assert_eq!(lines[0]["event"], "lost");
    assert_eq!(lines[0]["count"], 3);
    assert_eq!(lines[1]["event"], "login");
}

#[test]
fn the_queue_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trail");
    // A pipe that nobody reads holds the writer up.
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let audit = to_file(&path, false);
    for _ in 0..20_000 {
        audit.record(&Entry {
            detail: Some("x".repeat(900).into()),
            ..Entry::of(Event::Denied)
        });
    }
    assert!(audit.lost() > 10_000);
    drop(reader);
}

#[test]
fn the_end_waits_for_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trail");
    let audit = to_file(&path, false);
    for _ in 0..1_000 {
        audit.record(&Entry::of(Event::Denied));
    }
    audit
        .0
        .writer
        .load()
        .as_ref()
        .unwrap()
        .finish(Duration::from_secs(20));
    assert_eq!(lines(&path).len(), 1_000);
}
