//! Where tokens are kept: a file that outlives the process, however that ends.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use sidegate::{
    clock,
    kv::{File, Key, OpenError, Store as _, Value},
};

use super::{TABLE, bearer, home, list, make, signed_in, state};
use crate::support::{House, house, process::Process};

#[tokio::test]
async fn a_restart_and_a_crash_keep_them() {
    let mut home = home(|plan| plan.public_url("http://app.test")).await;
    let (browser, first, _) = signed_in(&home).await;
    for signal in ["TERM", "KILL"] {
        home.house.process.signal(signal);
        home.house.process.ended(Duration::from_secs(20)).await;
        home.house = House::plan()
            .public_url("http://app.test")
            .upstream(&home.upstream)
            .provider(&home.provider)
            .top(&state(&home.folder))
            .tables(TABLE)
            .start()
            .await;
        assert_eq!(
            bearer(&home.house, &first, "/").await.status,
            StatusCode::OK
        );
        let browser = browser.moved_to(&home.house);
        assert_eq!(list(&browser).await.len(), 1, "after SIG{signal}");
        let (second, id) = make(&browser, &json!({"name": "b"})).await;
        assert_eq!(
            bearer(&home.house, &second, "/").await.status,
            StatusCode::OK
        );
        let path = format!("/oauth2/account/tokens/{id}");
        browser.fetch(http::Method::DELETE, &path).send().await;
    }
}

/// Whatever stands in it: the gate says so in its own words, and no page of it is one at which it panics.
#[tokio::test]
async fn a_damaged_file_is_told_in_plain_words() {
    let mut home = home(|plan| plan).await;
    signed_in(&home).await;
    home.house.process.terminate();
    home.house.process.ended(Duration::from_secs(20)).await;
    let path = home.folder.path().join("state/state.redb");
    let whole = std::fs::read(&path).expect("read");
    for at in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        let page = &mut bytes[at * 4096..][..4096];
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        page.fill(0);
        std::fs::write(&path, bytes).expect("written");
        let mut command = house::sidegate();
        command.args(["run", "-c"]).arg(home.house.configuration());
        let mut process = Process::start(command);
        let end = Instant::now() + Duration::from_secs(20);
        while process.try_wait().is_none()
            && !process.log().contains("\"listening\"")
            && !process.log().contains(" listening")
        {
            assert!(Instant::now() < end, "{}", process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if process.try_wait().is_none() {
            process.terminate();
        }
        process.ended(Duration::from_secs(20)).await;
        let log = process.whole_log();
        assert!(!log.contains("panicked"), "{log}");
        // What need not be read to begin with is told later, and what redb itself can mend is mended.
        assert!(
            log.contains("is damaged") || log.contains("listening"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_second_process_says_why_it_does_not_start() {
    let home = home(|plan| plan).await;
    let file = home.folder.path().join("second.toml");
    let text = std::fs::read_to_string(home.house.configuration()).expect("read");
    let address = crate::support::ports::free_address();
    let text = text.replace(&home.house.address.to_string(), &address.to_string());
    std::fs::write(&file, text).expect("written");
    let mut command = house::sidegate();
    let output = command
        .args(["run", "-c"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("state.redb is open in another process"),
        "{said}"
    );
    // `check` needs no lock.
    let mut command = house::sidegate();
    let output = command
        .args(["check", "-c"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

/// Names the folder to a child that writes until it is killed.
const FOLDER: &str = "SIDEGATE_TEST_STATE_WRITER";
const CHILD: &str = "tokens::state::killed_fifty_times_in_mid_write_it_loses_nothing";

/// Writes one value after the other, several at once, and says which are acknowledged.
async fn write_until_killed(path: &Path) {
    let store = std::sync::Arc::new(File::open(path).expect("opened"));
    let first: u64 = std::env::var("FIRST")
        .expect("a number")
        .parse()
        .expect("a number");
    let writers = (0..4_u64).map(|writer| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            for number in (first..).step_by(4).map(|number| number + writer) {
                let value = Value {
                    bytes: Bytes::from(vec![b'x'; 600]),
                    end: clock::now().after(Duration::from_hours(1)),
                };
                let key = Key::new("crash", number.to_string());
                store.put(key, value).await.expect("written");
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {number}").expect("told");
                out.flush().expect("told");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it writes for ever");
    }
}

#[tokio::test]
async fn killed_fifty_times_in_mid_write_it_loses_nothing() {
    if let Some(path) = std::env::var_os(FOLDER) {
        return write_until_killed(Path::new(&path)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let mut acknowledged = Vec::new();
    for round in 0..50_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", CHILD, "--nocapture"])
            .env(FOLDER, &path)
            .env("FIRST", (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut heard = 0;
        for line in lines.map_while(Result::ok) {
            let Some((_, number)) = line.split_once("acknowledged ") else {
                continue;
            };
            acknowledged.push(number.to_owned());
            heard += 1;
            if heard == 3 + round % 7 {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("it has ended");
        assert!(heard > 0, "round {round} wrote nothing");
    }
    let store = File::open(&path).expect("it opens");
    let found = store
        .scan("crash".to_owned(), usize::MAX)
        .await
        .expect("it reads");
    let found: HashMap<_, _> = found.into_iter().collect();
    assert!(acknowledged.len() >= 150, "{}", acknowledged.len());
    for number in acknowledged {
        let value = found.get(number.as_bytes());
        assert!(
            value.is_some_and(|value| value.len() == 600),
            "{number} is lost"
        );
    }
    assert!(matches!(File::open(&path), Err(OpenError::InUse(_))));
}
