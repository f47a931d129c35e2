//! `PREFIX/register`: dynamic registration (RFC 7591), which stores nothing.

use http::{Response, StatusCode};
use serde_json::Value;

use super::answer::{Failure, admit, json, read, sender};
use crate::{
    clean::CleanRequest,
    clock,
    issuer::{
        Issuer,
        error::{Code, OAuthError},
        registration::Registration,
    },
    observe::Record,
    random,
    response::Body,
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Response<Body> {
    match register(snapshot, issuer, request).await {
        Ok(answer) => json(StatusCode::CREATED, &answer),
        Err(failure) => failure.answer(record),
    }
}

async fn register(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
) -> Result<Value, Failure> {
    admit(&issuer.state.throttles.register, &sender(&request))?;
    let body = read(
        &request.head.headers,
        request.body,
        "application/json",
        LARGEST,
    )
    .await;
    let body =
        body.map_err(|error| OAuthError::new(Code::InvalidClientMetadata, error.description))?;
    let registration = Registration::read(&body)?;
    Ok(registration.register(&snapshot.sessions.keys, random::bytes(), clock::now()))
}

/// The bytes of a registration: twenty redirect URIs of the longest would not fit, and nobody has them.
const LARGEST: usize = 8 * 1024;
