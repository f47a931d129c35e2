//! Answers to clients: JSON as RFC 6749 §5 has it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, PRAGMA,
        RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    answer::reply,
    clean::CleanRequest,
    issuer::{
        NotBegun,
        error::{Code, OAuthError, invalid_request},
        parameters::Parameters,
    },
    kv,
    login::{LoginClient, throttle::Throttle},
    observe::{Record, audit::NotWritten},
    response::Body,
};

/// Why a client gets nothing.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: OAuthError,
    /// Whether it authenticated by `Authorization`, and is asked to do so again (RFC 6749 §5.2).
    is_basic: bool,
    retry_after: Option<Duration>,
    /// What only the log may say.
    reason: Option<String>,
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        let status = match error.code {
            Code::InvalidClient => StatusCode::UNAUTHORIZED,
            Code::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self {
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(PAUSE),
            status,
            error,
            is_basic: false,
            reason: None,
        }
    }
}

impl From<kv::Error> for Failure {
    fn from(error: kv::Error) -> Self {
        tracing::warn!(%error, "grants cannot be reached");
        Self::away()
    }
}

impl From<NotBegun> for Failure {
    fn from(error: NotBegun) -> Self {
        match error {
            NotBegun::Again => Self::away(),
            NotBegun::TooMany(wait) => Self::throttled(wait),
            NotBegun::Unavailable(error) => error.into(),
        }
    }
}

/// Nobody signs in while the audit trail cannot be written.
impl From<NotWritten> for Failure {
    fn from(_: NotWritten) -> Self {
        Self::away()
    }
}

impl Failure {
    /// Who does not prove who they are, by `Authorization` or otherwise.
    pub(super) fn of_client(description: &'static str, is_basic: bool) -> Self {
        Self {
            is_basic,
            ..OAuthError::new(Code::InvalidClient, description).into()
        }
    }

    /// Too often.
    pub(super) fn throttled(wait: Duration) -> Self {
        let error = OAuthError::new(Code::SlowDown, "too many requests from there");
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            error,
            is_basic: false,
            retry_after: Some(wait),
            reason: None,
        }
    }

    /// What has to be asked before an answer cannot be asked now.
    pub(super) fn away() -> Self {
        OAuthError::new(Code::TemporarilyUnavailable, "try again in a moment").into()
    }

    /// The rules of a route do not let whoever the token is about pass (RFC 8693 §2.2.2).
    pub(super) fn denied() -> Self {
        let why = "the rules of that resource do not let them pass";
        OAuthError::new(Code::InvalidTarget, why).into()
    }

    /// The same with a reason for the log.
    pub(super) fn because(self, reason: String) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// Whether a program is told to ask again: that is no guess.
    pub(super) fn is_patience(&self) -> bool {
        self.error.code == Code::AuthorizationPending
    }

    /// The answer; the log says the same, and its reason.
    pub(super) fn answer(&self, record: &mut Record) -> Response<Body> {
        let (code, description) = (self.error.code.name(), &self.error.description);
        record.detail = Some(match &self.reason {
            Some(reason) => format!("{code}: {description}: {reason}"),
            None => format!("{code}: {description}"),
        });
        let mut response = json(
            self.status,
            &json!({ "error": code, "error_description": plain(description) }),
        );
        let headers = response.headers_mut();
        if self.is_basic {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"token\""),
            );
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

/// RFC 6749 §5.2: printable ASCII without quotes and backslashes.
pub(super) fn plain(text: &str) -> String {
    let is_plain = |letter: &char| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\');
    text.chars().filter(is_plain).collect()
}

/// JSON that nobody keeps (RFC 6749 §5.1).
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = reply::json(status, value);
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Lets any page read an answer: it came without cookies.
pub(super) fn allow_reading(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("WWW-Authenticate, Retry-After"),
    );
}

/// Reads a body of a type, and no other: a body that two readers take for two things says nothing.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    kind: &str,
    most: usize,
) -> Result<Bytes, OAuthError> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (given, another) = (kinds.next(), kinds.next());
    let essence = given
        .and_then(|given| given.to_str().ok())
        .unwrap_or_default();
    // A second type behind a comma is no parameter of the first.
    let is_one = another.is_none() && !essence.contains(',');
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if !is_one || !essence.eq_ignore_ascii_case(kind) {
        return Err(OAuthError::new(
            Code::InvalidRequest,
            format!("the body is not sent as {kind}"),
        ));
    }
    match timeout(LONGEST, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        _ => Err(invalid_request(
            "the body is too long, or did not come to its end",
        )),
    }
}

/// Reads a form (RFC 6749 §4.1.3). The query counts for nothing.
pub(super) async fn read_form(
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Parameters, OAuthError> {
    let body = read(
        headers,
        body,
        "application/x-www-form-urlencoded",
        LARGEST_FORM,
    )
    .await?;
    Parameters::parse(&body).map_err(|_| invalid_request("a parameter stands twice"))
}

/// Whether the sender may try once more; each try counts until it is [given back](Throttle::give_back).
pub(super) fn admit(throttle: &Throttle, client: &LoginClient) -> Result<(), Failure> {
    let taken = throttle.take(client, Instant::now());
    taken.map_err(Failure::throttled)
}

/// Who sends a request, as far as it is counted.
pub(super) fn sender(request: &CleanRequest) -> LoginClient {
    LoginClient {
        address: request.client.address,
        known: None,
    }
}

/// The bytes of a form: a client's assertion has some thousand.
const LARGEST_FORM: usize = 16 * 1024;
/// How long a client is told to wait where something cannot be asked.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a body may take.
const LONGEST: Duration = Duration::from_secs(10);
