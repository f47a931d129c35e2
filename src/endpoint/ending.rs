//! The shared part of ending one's own tokens and grants.

use http::{Response, StatusCode};
use serde::Serialize;

use super::form::Form;
use crate::{
    answer::{Reject, reply},
    response::Body,
};

/// Which one a form names by `id`; none where it means all of them.
pub(super) fn which<T>(
    form: &Form,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Reject> {
    match (form.field("id"), form.field("scope")) {
        (Some(id), None) => parse(id).map(Some).ok_or(Reject::NotFound),
        (None, Some("all")) => Ok(None),
        _ => {
            let sentence = "the form says neither which `id` nor a `scope` of `all`";
            Err(Reject::BadRequest(sentence.into()))
        }
    }
}

/// How many have ended, for programs.
pub(super) fn ended(count: usize) -> Response<Body> {
    #[derive(Serialize)]
    struct Ended {
        ended: usize,
    }
    reply::json(StatusCode::OK, &Ended { ended: count })
}
