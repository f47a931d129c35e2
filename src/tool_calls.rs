//! Reads which tool a request calls, if its route has rules for tools ([`mcp`](crate::mcp)).

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::{
    answer::Reject,
    clean::CleanRequest,
    mcp::{Called, Refusal, ToolRules, judge},
};

/// Reads the body of `request`, and keeps it for the app. Why it must not go there, where it must not.
///
/// # Errors
/// When the body cannot be read.
pub async fn check(
    rules: &ToolRules,
    request: &mut CleanRequest,
) -> Result<Option<Refusal>, Reject> {
    if request.upgrade.is_some() {
        return Err(Reject::Forbidden(
            "tools: what a tunnel carries is not seen",
        ));
    }
    let body = Limited::new(&mut request.body, LARGEST).collect();
    let body = match timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Reject::ContentTooLarge),
        Ok(Err(_)) => {
            return Err(Reject::BadRequest(
                "its body is malformed, or was not sent to its end".into(),
            ));
        }
        Err(_) => return Err(Reject::RequestTimeout(None)),
    };
    let called = Called {
        method: &request.head.method,
        headers: &request.head.headers,
        body: &body,
    };
    let judged = judge(rules, &called).err();
    request.read_body = Some(body);
    Ok(judged)
}

/// Bytes of a request whose route has rules for tools.
const LARGEST: usize = 1024 * 1024;
/// How long such a request may take to come. The log says it, too.
const PATIENCE: Duration = Duration::from_secs(30);
