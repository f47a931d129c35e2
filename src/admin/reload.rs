//! `/reload`: whether the configuration in force is the one in the files.

use http::{Response, StatusCode};
use serde::Serialize;

use crate::{answer::reply, observe::metrics::LastReload, response::Body};

/// What came of the last time that the configuration was read.
#[derive(Serialize)]
struct State<'a> {
    /// Whether what was read last is in force.
    current: bool,
    /// When it was read again, in seconds since 1970; none where it was read at the start alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<u64>,
    /// Why it is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a str>,
    /// Keys that have changed and wait for a restart.
    waiting_for_restart: &'a [&'static str],
}

/// Says so.
pub(super) fn serve(last: &LastReload) -> Response<Body> {
    let state = State {
        current: last.refused.is_none(),
        read_at: last.at.map(|at| at.0),
        errors: last.refused.as_deref(),
        waiting_for_restart: &last.waiting,
    };
    reply::json(StatusCode::OK, &state)
}
