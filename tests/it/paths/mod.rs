//! One canonical path: what was judged is what is forwarded, and what is ambiguous is 400.

mod ambiguity;
mod rules;
mod spellings;

use crate::support::{House, ScriptedProvider, Upstream, raw, standard_with};

const RULES: &str = "
[[routes]]
path = \"/public/**\"
access = \"public\"

[[routes]]
path = \"/admin/**\"
access = \"deny\"

[[routes]]
path = \"/read\"
methods = [\"GET\"]
access = \"public\"

[[routes]]
path = \"/exact\"
access = \"public\"
";

async fn house() -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| plan.tables(RULES)).await
}

/// Sends a target byte for byte and gives the status.
async fn target(house: &House, target: &str, cookies: &str) -> u16 {
    let cookie = if cookies.is_empty() {
        String::new()
    } else {
        format!("Cookie: {cookies}\r\n")
    };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\n{cookie}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Connection: close\r\n\r\n",
        house.address
    );
    raw::status(&raw::exchange(house, request.as_bytes()).await)
}
