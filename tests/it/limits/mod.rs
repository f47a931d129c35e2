//! What one client, and all of them together, may take: each bound with a small value, and who is served meanwhile.

mod abuse;
mod connections;
mod descriptors;
mod documented;
mod frames;
mod http2;
mod malformed;
mod parked;
mod parking;
mod stop;
mod times;
mod told;

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use crate::support::{House, Stream, Upstream, house::Plan};

/// Long enough for a debug binary on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// A gate whose every path is public, with these lines of `[limits]`.
async fn limited(lines: &str) -> (House, Upstream) {
    limited_with(lines, |plan| plan).await
}

async fn limited_with(lines: &str, change: impl FnOnce(Plan) -> Plan) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let plan = House::plan()
        .upstream(&upstream)
        .route("/**", "public")
        .tables(&format!("[limits]\n{lines}"));
    let house = change(plan).start().await;
    (house, upstream)
}

/// What comes until the gate closes the connection.
async fn until_closed(stream: &mut Stream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    // A reset is a close, too.
    let _ = read.expect("the gate closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}
