//! `/ping` and `/ready`: alive, and able to let people in.

use http::{Response, StatusCode};

use crate::{answer::reply, body::Body, gate::Gate};

/// The process answers. Says nothing of providers: restarting the gate does not mend them.
pub fn ping() -> Response<Body> {
    reply::text(StatusCode::OK, "OK\n")
}

/// Whether sessions can be found and somebody could sign in, and which providers are not there (by name alone).
pub fn ready(gate: &Gate) -> Response<Body> {
    let providers = &gate.providers;
    let has_store = gate.sessions.is_ready();
    let (status, word) = if has_store && providers.ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let mut text = word.to_owned();
    if !has_store {
        text.push_str(if gate.sessions.is_refused() {
            "the session store refuses the user or password in session.store (or session.shared)\n"
        } else {
            "waiting for the session store\n"
        });
    }
    if gate.sessions.secrets_differ() {
        text.push_str(
            "another replica seals sessions with a secret that this one does not have: give all replicas the same session.secret\n",
        );
    }
    for provider in providers.iter().filter(|provider| !provider.is_ready()) {
        text.push_str("waiting for provider ");
        text.push_str(&provider.profile().name);
        text.push('\n');
    }
    reply::text(status, text)
}
