//! Connections themselves: how many there may be.

use std::time::Duration;

use http::StatusCode;

use crate::support::{House, Upstream};

/// Most systems give a program 1,024 open files, and more to one that asks.
#[tokio::test]
async fn connections_are_not_bounded_by_what_the_system_gives_unasked() {
    const GIVEN: u32 = 100;
    let upstream = Upstream::start().await;
    let plan = House::plan().upstream(&upstream).route("/", "public");
    let house = plan.open_files(GIVEN).start().await;
    let mut idle = Vec::new();
    for _ in 0..2 * GIVEN {
        idle.push(house.connect().await);
    }
    let asked = house.browser();
    let reply = tokio::time::timeout(Duration::from_secs(5), asked.get("/")).await;
    assert_eq!(reply.expect("an answer").status, StatusCode::OK);
    drop(idle);
}
