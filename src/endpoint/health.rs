//! `/ping` and `/ready`: alive, and able to let people in.

use http::{Response, StatusCode};

use crate::{answer::reply, body::Body, provider::Providers};

/// The process answers. Says nothing of providers: restarting the gate does not mend them.
pub fn ping() -> Response<Body> {
    reply::text(StatusCode::OK, "OK\n")
}

/// Whether somebody could sign in, and which providers are not there (by name alone).
pub fn ready(providers: &Providers) -> Response<Body> {
    let (status, word) = if providers.ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let mut text = word.to_owned();
    for provider in providers.iter().filter(|provider| !provider.is_ready()) {
        text.push_str("waiting for provider ");
        text.push_str(&provider.profile().name);
        text.push('\n');
    }
    reply::text(status, text)
}
