//! Asks providers about tokens that have another way than RFC 7662, and puts their answers into its words.
//!
//! Each of these ways says whose app the token is of. That is the point: a token of another app, though of the same person, is
//! in that app's hands, and opens nothing here.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::{Call, HttpClient, ProviderError, bearer::TokenFlaw, http::HttpError};
use crate::clock::Timestamp;

/// A provider's own way.
#[derive(Clone, Copy)]
pub(super) struct TokenCheck {
    /// The question.
    pub(super) request: fn(&Question<'_>) -> http::Result<Request<Bytes>>,
    /// What an answer of status 200 says, in the words of RFC 7662 §2.2.
    pub(super) read: Reader,
    /// The statuses that say that there is no such token.
    pub(super) unknown: &'static [StatusCode],
    /// Whether a token looks like this provider's, and like no other's.
    pub(super) recognises: fn(&str) -> bool,
}

/// Reads a provider's answer.
type Reader = fn(&Map<String, Value>, Timestamp) -> Option<Map<String, Value>>;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) url: &'a Url,
    pub(super) token: &'a str,
    pub(super) client_id: &'a str,
    pub(super) client_secret: Option<&'a str>,
}

impl TokenCheck {
    /// What the provider says of a token.
    pub(super) async fn ask(
        &self,
        http: &HttpClient,
        question: &Question<'_>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let failed = |error| ProviderError::Http {
            call: Call::Introspection,
            error,
        };
        let request = (self.request)(question).map_err(|_| failed(HttpError::ForbiddenUrl))?;
        let response = http.send(request).await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            status if self.unknown.contains(&status) => return Err(TokenFlaw::Inactive.into()),
            status => return Err(failed(HttpError::Status(status))),
        }
        let answer: Option<Map<String, Value>> = serde_json::from_slice(response.body()).ok();
        let answer = answer.and_then(|answer| (self.read)(&answer, now));
        answer.ok_or_else(|| TokenFlaw::Unreadable.into())
    }
}

/// An answer that calls a token active.
pub(super) fn active(
    members: impl IntoIterator<Item = (&'static str, Value)>,
) -> Map<String, Value> {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    let members = members.map(|(name, value)| (name.to_owned(), value));
    [("active".to_owned(), Value::Bool(true))]
        .into_iter()
        .chain(members)
        .collect()
}

/// A whole number, also where it is written as text.
pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

/// Names that a list has, joined as `scope` is.
pub(super) fn joined(value: Option<&Value>) -> Value {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = list.filter_map(Value::as_str).collect();
    Value::String(names.join(" "))
}
