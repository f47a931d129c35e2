//! A person's journey through the demo, in a real browser.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{
    house::{self, sidegate},
    node_provider, ports,
    process::Process,
};

#[tokio::test]
async fn a_newcomer_signs_in_at_the_demo() {
    let chromium = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
    .expect("the browser journey needs Chromium: apt-get install chromium (`tests/run` does it)");
    let port = ports::free_address().port().to_string();
    let mut demo = sidegate();
    demo.args(["demo", "--port", &port]);
    let mut demo = Process::start(demo);
    let open = demo
        .wait_for("the address to open", |line| {
            let (_, address) = line.split_once("Open ")?;
            Some(address.trim().to_owned())
        })
        .await;
    assert!(
        demo.log().to_lowercase().contains("demo"),
        "it says that it is a demo"
    );

    let screens = house::root().join("target/artifacts/screens");
    std::fs::create_dir_all(&screens).expect("a folder for the screenshots");
    let begin = Instant::now();
    let mut journey: Command = node_provider::node("journey.mjs");
    journey.arg(&open).arg(&screens).arg(chromium);
    let mut journey = Process::start(journey);
    let status = journey.ended(Duration::from_secs(100)).await;
    assert!(
        status.success(),
        "after {:?}:\n{}\n--- demo:\n{}",
        begin.elapsed(),
        journey.log(),
        demo.log()
    );
    let pictures = std::fs::read_dir(&screens).expect("the folder").count();
    assert!(
        pictures >= 8,
        "{pictures} screenshots in {}",
        screens.display()
    );
}
