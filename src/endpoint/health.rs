//! `ping` and `ready`: alive, and able to serve users. Below the prefix they only say yes or no, because anybody can ask. The admin
//! listener says what is missing.

use http::{Response, StatusCode};

use crate::{answer::reply, response::Body, snapshot::Snapshot};

/// The process answers. Says nothing of providers: restarting the gate does not mend them.
pub fn ping() -> Response<Body> {
    reply::text(StatusCode::OK, "OK\n")
}

/// Whether sessions can be found and kept. A provider that is away keeps people from signing in and nobody else from
/// anything, so a gate is not taken out of service for it: whoever is signed in would lose the app.
pub fn ready(snapshot: &Snapshot) -> Response<Body> {
    let (status, word) = readiness(snapshot);
    reply::text(status, word)
}

/// As [`ready`], and what is missing in words: of the store, and which providers are away.
pub fn ready_in_detail(snapshot: &Snapshot) -> Response<Body> {
    let (status, word) = readiness(snapshot);
    let mut text = word.to_owned();
    if !snapshot.sessions.is_ready() {
        text.push_str(if snapshot.sessions.is_refused() {
            "the session store refuses the user or password in session.store (or session.shared)\n"
        } else {
            "waiting for the session store\n"
        });
    }
    if snapshot.sessions.secrets_differ() {
        text.push_str(
            "another replica seals sessions with a secret that this one does not have: give all replicas the same session.secret\n",
        );
    }
    for provider in snapshot
        .providers
        .iter()
        .filter(|provider| !provider.is_ready())
    {
        text.push_str("waiting for provider ");
        text.push_str(&provider.profile().name);
        text.push_str("; nobody can sign in there yet\n");
    }
    if snapshot.metrics.reloads.last().refused.is_some() {
        text.push_str(
            "the configuration has errors and the earlier one is in force: see /reload\n",
        );
    }
    reply::text(status, text)
}

fn readiness(snapshot: &Snapshot) -> (StatusCode, &'static str) {
    if snapshot.sessions.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
